"""Files in LIBSVM's format, against scikit-learn's writer, and files that are not."""

import bz2
import gzip

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file

from privrobust import RunSpec, train
from privrobust.data import get_dataset, registry
from privrobust.errors import SpecError
from privrobust.sweeps import load_sweep


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})


def drawn(count=60, width=7, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width)).round(3) * (random.random((count, width)) < 0.5)
    features[0] = 1.0  # every feature is there
    return features, np.where(np.arange(count) % 3, 1, -1)


def all_of(data):
    """Return every example and label, sorted, whichever split it is in."""
    parts = data.train, data.validation, data.test
    inputs = torch.cat([part.inputs for part in parts])
    labels = torch.cat([part.labels for part in parts]).unsqueeze(1)
    return sorted(map(tuple, torch.cat([inputs, labels.float()], dim=1).tolist()))


@pytest.mark.parametrize("from_0", [False, True])
def test_what_scikit_learn_writes_is_read(from_0, tmp_path):
    features, labels = drawn()
    dump_svmlight_file(features, labels, str(tmp_path / "some"), zero_based=from_0)
    data = get_dataset("libsvm(path='some')", str(tmp_path))
    codes = (labels > 0).astype(np.float32)[:, None]
    expected = np.hstack([features.astype(np.float32), codes])
    assert all_of(data) == sorted(map(tuple, expected.tolist()))
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 6, 12)
    assert data.test.labels.bincount().tolist() == [4, 8]  # stratified
    assert data.classes == 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=12, max_size=12))
def test_every_number_is_read_as_it_was_written(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("numbers") / "numbers"
    path.write_text("".join(f"{i % 2} 1:{value!r} 2:1\n" for i, value in enumerate(values)))
    data = get_dataset(f"libsvm(path={str(path)!r})")
    assert sorted(row[0] for row in all_of(data)) == sorted(values)


def test_packed_files_and_files_beside_a_sweep(tmp_path, monkeypatch):
    features, labels = drawn()
    dump_svmlight_file(features, labels, str(tmp_path / "some"))
    plain = (tmp_path / "some").read_bytes()
    (tmp_path / "some.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "some.bz2").write_bytes(bz2.compress(plain))
    found = [
        all_of(get_dataset(f"libsvm(path='{name}')", str(tmp_path)))
        for name in ("some", "some.gz", "some.bz2")
    ]
    assert found[0] == found[1] == found[2]
    (tmp_path / "sweep.yaml").write_text("dataset: libsvm(path='some')\nhonest: 2\n")
    monkeypatch.chdir(tmp_path.parent)
    (run,) = load_sweep(tmp_path / "sweep.yaml").runs()
    assert len(get_dataset(run.dataset, run.data_dir).train) == 42


def test_it_can_be_learnt(tmp_path):
    random = np.random.default_rng(1)
    features = random.normal(size=(600, 5))
    dump_svmlight_file(features, features.sum(1) > 0, str(tmp_path / "sum"))
    spec = RunSpec(
        dataset="libsvm(path='sum')", data_dir=str(tmp_path), honest=3, batch_size=32, steps=60,
        clip_norm=1.0, noise_scale=0.01, learning_rate=1.0,
    )  # fmt: skip
    assert train(spec).accuracy > 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no value"),
        ("\n\n", "holds no value"),
        ("1\n0\n", "holds no value"),
        ("a 1:1\n", "cannot be read (could not convert string"),
        ("1 1;1\n", "cannot be read"),
        ("1,2 1:1\n", "cannot be read"),
        ("1 2:1 1:1\n", "cannot be read"),
        ("1 -3:1\n", "cannot be read"),
        ("x,y\n1,2\n", "cannot be read"),
        ("\0\xff\xfe", "cannot be read"),
        ("1 1:nan\n0 1:1\n", "holds a number that is not finite"),
        ("1 1:inf\n0 1:1\n", "holds a number that is not finite"),
        ("1 1:1e39\n0 1:1\n", "holds a number that is not finite"),
        ("nan 1:1\n0 1:1\n", "holds a number that is not finite"),
        ("1 1:2\n1 1:3\n", "has the label 1 in every line; accepted: two classes or more"),
        ("1 1:2\n0 1073741824:3\n", "2 examples of 1073741824 features; accepted: up to"),
        ("1 1:1 20000000:2\n" * 20, "20 examples of 20000000 features; accepted: up to 67108864"),
        ("1 1:2\n0 99999999999999999999:3\n", "cannot be read"),
        ("1 1:2\n0 1:3\n", "labels:"),
        ("".join(f"{i}.5 1:{i}\n" for i in range(30)), "labels:"),
    ],
)
def test_files_that_are_not_libsvms(text, message, tmp_path):
    (tmp_path / "odd").write_text(text, encoding="latin-1")
    with pytest.raises(SpecError) as raised:
        get_dataset("libsvm(path='odd')", str(tmp_path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("path", ["nowhere", "x" * 5000, "."])
def test_paths_that_are_no_files(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"^dataset: path: there is no file") as raised:
        get_dataset(f"libsvm(path='{path}')", str(tmp_path))
    assert len(str(raised.value)) < 800
