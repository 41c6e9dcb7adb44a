"""Parts of datasets: how many of each class are kept, and of what."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.data.subset import Subset
from privrobust.errors import SpecError


def counts(text):
    return get_dataset(text).train.labels.bincount().tolist()


def test_classes_fall_geometrically_from_the_first_to_the_last():
    """Cui et al. 2019: n_k = n mu^k, the first over the last being the imbalance."""
    found = np.array(counts("subset(of='fashion_mnist', imbalance=50)"))
    assert found[0] == 5400  # all that there are
    expected = 5400 * 50.0 ** (-np.arange(10) / 9)
    assert abs(found - expected).max() < 1
    assert found[0] / found[-1] == pytest.approx(50, rel=0.01)


def test_what_is_held_out_stays_whole_and_what_is_kept_is_of_the_whole():
    whole, part = get_dataset("digits"), get_dataset("subset(size=100, imbalance=5)")
    for name in ("validation", "test"):
        assert torch.equal(getattr(part, name).inputs, getattr(whole, name).inputs)
        assert torch.equal(getattr(part, name).labels, getattr(whole, name).labels)
    rows = dict(zip(map(tuple, whole.train.inputs.tolist()), whole.train.labels, strict=True))
    kept = list(map(tuple, part.train.inputs.tolist()))
    assert len(set(kept)) == len(kept) == 100
    assert [rows[row] for row in kept] == part.train.labels.tolist()


@given(st.integers(40, 700), st.floats(1, 4))
def test_as_many_are_kept_as_are_asked_for(size, imbalance):
    there = np.full(10, 120)
    shares = imbalance ** (-np.arange(10) / 9)
    most = 120 * shares.sum() / shares.max()
    made = Subset(size=size, imbalance=imbalance)
    if size > most:
        with pytest.raises(SpecError, match=r"Subset\.size: .* at most"):
            made._counts(there)
        return
    found = made._counts(there)
    assert found.sum() == size
    assert abs(found - size * shares / shares.sum()).max() < 1
    assert (found <= there).all()


def test_all_that_can_be_kept_is_kept_by_default():
    assert counts("subset") == [121] * 10  # the rarest digit has so many


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subset(of='table')", "dataset: table needs path and label"),
        ("subset(of='subset')", r"Subset\.of: 'subset' is not accepted: a built-in dataset"),
        ("subset(of='my:data')", r"Subset\.of: 'my:data' is not accepted"),
        ("subset(of='digit')", "Subset.of: 'digit' is not accepted"),
        ("subset(size=0)", r"Subset\.size: 0"),
        ("subset(imbalance=0.5)", r"Subset\.imbalance: 0\.5"),
    ],
)
def test_what_has_no_parts(text, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(dataset=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subset(size=1300)", "at most 1210 with an imbalance of 1"),
        (f"subset(size={10**30})", "at most 1210"),
        ("subset(size=15, imbalance=100)", "leaves a class without examples"),
    ],
)
def test_parts_that_cannot_be(text, message):
    with pytest.raises(SpecError, match=message):
        get_dataset(text)


def test_a_table_of_a_file_has_no_parts(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n1,0\n2,1\n")
    with pytest.raises(SpecError, match="is not accepted: a built-in dataset"):
        Subset(of=f"table(path='{path}', label='y')")


def test_runs_train_on_a_part():
    spec = RunSpec(dataset="subset( size = 60, of='digits')", honest=5, steps=4, batch_size=4)
    assert spec.dataset == "subset(size=60)"
    assert np.isfinite(train(spec).train_loss)
