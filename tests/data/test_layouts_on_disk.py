"""LEAF's and FLamby's files, laid out as their own scripts leave them, and files that are not."""

import json
import re

import numpy as np
import pytest
import torch

from privrobust import RunSpec, train
from privrobust.data import get_dataset, registry
from privrobust.errors import SpecError
from privrobust.sweeps import load_sweep
from privrobust.training.shares import shares


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})


WRITERS = {"f0000_14": 20, "f0001_41": 30, "f3999_03": 10}


def pixels(writer: str, count: int) -> np.ndarray:
    random = np.random.default_rng(list(writer.encode()))
    return random.integers(0, 256, (count, 784))


def shard(writers=WRITERS, change=lambda written: None):
    """What LEAF's scripts write."""
    written = {
        "users": list(writers),
        "num_samples": list(writers.values()),
        "user_data": {
            writer: {
                "x": (pixels(writer, count) / 255).tolist(),
                "y": [(place * 7) % 62 for place in range(count)],
            }
            for writer, count in writers.items()
        },
    }
    change(written)
    return json.dumps(written)


def write(folder, names):
    for name, content in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_leafs_folders_of_training_and_test(tmp_path):
    write(
        tmp_path / "femnist",
        {
            "train/all_data_0_niid_0_keep_0_train_9.json": shard({"f0001_41": 30}),
            "train/all_data_1_niid_0_keep_0_train_9.json": shard({"f0000_14": 20, "f3999_03": 10}),
            "test/all_data_0_niid_0_keep_0_test_9.json": shard({"f0001_41": 3}),
            "test/all_data_1_niid_0_keep_0_test_9.json": shard({"f0000_14": 2, "f3999_03": 1}),
            "all_data/all_data_0.json": "not looked at",
        },
    )
    data = get_dataset("femnist", str(tmp_path))
    assert data.group_names == sorted(WRITERS)
    assert data.shape == (1, 28, 28)
    assert data.classes == 62
    assert [part.groups.bincount().tolist() for part in (data.train, data.validation)] == [
        [18, 27, 9],
        [2, 3, 1],
    ]
    assert data.test.groups.tolist() == [1, 1, 1, 0, 0, 2]
    assert data.test.labels.tolist() == [0, 7, 14, 0, 7, 0]
    first = torch.from_numpy(pixels("f0001_41", 3)).view(3, 1, 28, 28)
    assert torch.equal(data.test.inputs[:3].long(), first)  # the bytes that LEAF had divided
    held = get_dataset("femnist(validation=0)", str(tmp_path))
    assert held.train.groups.bincount().tolist() == [20, 30, 10]


@pytest.mark.parametrize("inside", ["", "all_data/"])
def test_leafs_files_before_they_are_split(inside, tmp_path):
    write(tmp_path / "data", {f"{inside}all_data_0.json": shard()})
    text = f"femnist(path='{tmp_path / 'data'}')"
    data = get_dataset(text)
    parts = [part.groups.bincount().tolist() for part in (data.train, data.validation, data.test)]
    assert parts == [[14, 21, 7], [2, 3, 1], [4, 6, 2]]
    spec = RunSpec(dataset=text, partition="natural", honest=3, batch_size=5, steps=2)
    assert [len(share) for share in shares(spec)] == [14, 21, 7]
    assert np.isfinite(train(spec).loss)
    fewer = RunSpec(dataset=text, partition="groups", honest=2, batch_size=5, steps=2)
    assert sorted(len(share) for share in shares(fewer)) == [21, 21]


def test_writers_of_test_alone_are_nobodys_workers(tmp_path):
    """As LEAF's `-t user` leaves them."""
    write(
        tmp_path,
        {
            "train/all_data_0_niid_0_keep_0_train_9.json": shard({"a": 20, "c": 20}),
            "test/all_data_0_niid_0_keep_0_test_9.json": shard({"b": 20}),
        },
    )
    text = f"femnist(path='{tmp_path}')"
    result = train(RunSpec(dataset=text, partition="natural", honest=2, batch_size=5, steps=2))
    assert np.isfinite(result.accuracy)
    assert result.accuracy_by_worker.isna().all()


def spoiled(writer, **changes):
    return lambda written: written["user_data"][writer].update(changes)


FIRST = "f0000_14"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no file of LEAF's (JSONDecodeError: "),
        ("[" * 100_000, "is no file of LEAF's (RecursionError: "),
        ("[]", "is no file of LEAF's (TypeError: "),
        ("{}", "is no file of LEAF's (KeyError: "),
        (shard(change=lambda w: w["user_data"].pop(FIRST)), "is no file of LEAF's (KeyError: "),
        (
            shard(change=lambda w: w["num_samples"].pop()),
            "is no file of LEAF's (zip() argument 2 is shorter",
        ),
        (shard(change=lambda w: w.update(num_samples=[9, 30, 10])), "and num_samples 9; accepted"),
        (shard(change=spoiled(FIRST, y=[1])), "has 20 images, 1 labels, and num_samples 20;"),
        (shard(change=spoiled(FIRST, x=[[0.5] * 783] * 20)), "other images than 784 numbers"),
        (shard(change=spoiled(FIRST, x=[[0.5] * 784] * 19 + [[]])), "no rows of numbers"),
        (shard(change=spoiled(FIRST, x=[["a"] * 784] * 20)), "no rows of numbers"),
        (shard(change=spoiled(FIRST, x=[[None] * 784] * 20)), "other images than 784 numbers"),
        (shard(change=spoiled(FIRST, x=[[float("nan")] * 784] * 20)), "other images than 784"),
        (shard(change=spoiled(FIRST, x=[[1e400] * 784] * 20)), "other images than 784 numbers"),
        (shard(change=spoiled(FIRST, x=[[255] * 784] * 20)), "from 0 to 1 each"),
        (shard(change=spoiled(FIRST, y=[62] * 20)), "other labels than whole numbers from 0 to 61"),
        (shard(change=spoiled(FIRST, y=[-1] * 20)), "other labels than whole numbers"),
        (shard(change=spoiled(FIRST, y=[0.5] * 20)), "other labels than whole numbers"),
        (shard(change=spoiled(FIRST, y=[True] * 20)), "other labels than whole numbers"),
        (shard(change=spoiled(FIRST, y=[10**30] * 20)), "other labels than whole numbers"),
        (shard(change=spoiled(FIRST, y=[[1]] * 20)), "other labels than whole numbers"),
        (shard({"a": 0}), "no writer has an image"),
        (shard({"a\n" * 999: 1}, lambda w: w.update(num_samples=[2])), "and num_samples 2"),
        (shard({"a\n" * 999: 1}, lambda w: w.update(user_data={})), "(KeyError: "),
    ],
)
def test_files_that_are_not_leafs(content, message, tmp_path):
    write(tmp_path, {"all_data_0.json": content})
    with pytest.raises(SpecError) as raised:
        get_dataset(f"femnist(path='{tmp_path}')")
    assert str(raised.value).startswith(f"data: {tmp_path}")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(tmp_path))


def test_a_folder_without_files_of_leafs(tmp_path):
    (tmp_path / "train").mkdir()
    write(tmp_path, {"test/a.json": shard()})
    with pytest.raises(
        SpecError, match=r"no JSON files of LEAF's; .*train/ and test/, or all_data/"
    ):
        get_dataset(f"femnist(path='{tmp_path}')")
    told = f"there is no folder 'femnist'; looked in: {re.escape(str(tmp_path))}, "
    with pytest.raises(SpecError, match=f"^dataset: path: {told}"):
        get_dataset("femnist", str(tmp_path))


def test_a_folder_lies_beside_the_sweep_that_names_it(tmp_path, monkeypatch):
    """As the file of a table does; and ~ is the home folder."""
    write(tmp_path / "sweeps", {"mine/all_data/a.json": shard()})
    sweep = tmp_path / "sweeps" / "a.yaml"
    sweep.write_text("{dataset: femnist(path='mine'), honest: 2}")
    (run,) = load_sweep(sweep).runs()
    assert run.data_dir == str(tmp_path / "sweeps")
    monkeypatch.setenv("HOME", str(tmp_path))
    beside = get_dataset(run.dataset, run.data_dir).fingerprint
    assert get_dataset("femnist(path='~/sweeps/mine')").fingerprint == beside


@pytest.mark.parametrize("path", ["x" * 5000, "a\\0b", "/dev/null", ""])
@pytest.mark.parametrize("name", ["femnist", "heart_disease"])
def test_paths_that_are_no_folders(name, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SpecError, match=r"^dataset: path: (there is no folder|.* has no (JSON|processed.clevel))"
    ) as raised:
        get_dataset(f"{name}(path='{path}')", str(tmp_path))
    assert len(str(raised.value)) < 500


# Rows as UCI's archive has them: 14 columns, "?" for what is missing.
ROW = "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0"
SICK = "67,0,4,160,286,0,0,108,1,1.5,?,?,?,2"
MISSING = "28,1,2,130,?,0,2,185,0,0,?,?,?,0"
CENTRES = ("cleveland", "hungarian", "switzerland", "va")


def hospitals(folder, **changes):
    files = {centre: "\n".join([ROW, SICK] * 10 + [MISSING]) for centre in CENTRES} | changes
    write(folder, {f"processed.{centre}.data": rows for centre, rows in files.items() if rows})


def test_flambys_files(tmp_path):
    hospitals(tmp_path / "fed_heart_disease", va="\n".join([SICK] * 50))
    data = get_dataset("heart_disease", str(tmp_path))
    assert data.group_names == list(CENTRES)
    assert data.shape == (13,)
    counts = [part.groups.bincount().tolist() for part in (data.train, data.validation, data.test)]
    assert np.sum(counts, axis=0).tolist() == [20, 20, 20, 50]  # a missing value is left out
    assert counts[2] == [4, 4, 4, 10]
    examples = {
        (label, *(round(value, 4) for value in features))
        for features, label in zip(
            data.train.inputs.tolist(), data.train.labels.tolist(), strict=True
        )
    }
    assert examples == {
        # years, mm Hg, mg/dl, beats, mm of the ST; male, sugar, angina; pain 2 to 4; ECG 1 and 2
        (0, 1.3, 0.75, 0.33, 0.4, 1.3, 1, 1, 0, 0, 0, 0, 0, 1),
        (1, 1.7, 1.5, 0.86, -1.28, 0.5, 0, 0, 1, 0, 0, 1, 0, 0),
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "has no processed.va.data; accepted: the folder that FLamby's"),
        ("", "has no processed.va.data"),
        ("\n", "cannot be read (No columns"),
        (ROW + ",1", "has 15 columns; accepted: 14, without a header"),
        (f"{ROW}\n{ROW},1", "cannot be read (Error tokenizing"),
        (MISSING, "has no patient without a missing value"),
        (f"{ROW}\n{ROW.replace('63.0', 'old')}", "cannot be read (could not convert string"),
        (f"{ROW}\n{ROW.replace('63.0', 'inf')}", "has inf in column 1 of line 2; accepted: finite"),
        (ROW.replace("1.0,1.0,145", "1.0,5.0,145"), "has 5 in column 3 of line 1; accepted: 1, 2"),
        (ROW.replace("63.0,1.0", "63.0,0.5"), "has 0.5 in column 2 of line 1; accepted: 0, 1"),
        (f"{MISSING}\n\n{ROW}9", "has 9 in column 14 of line 3; accepted: 0, 1, 2, 3, 4"),
    ],
)
def test_files_that_are_not_flambys(rows, message, tmp_path):
    hospitals(tmp_path, va=rows)
    with pytest.raises(SpecError) as raised:
        get_dataset(f"heart_disease(path='{tmp_path}')")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
