"""A store's results are never shown as those of other data of the same name."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from privrobust.cli.main import main
from privrobust.store import Store

SWEEP = """
dataset: table(path='people.csv', label='y')
honest: 2
steps: 2
batch_size: 4
clip_norm: 1.0
noise_scale: 1.0
"""
REFUSED = "is not the data that results.db has results of: its content changed"


def study(folder, moved):
    """A sweep beside its data, which `moved` makes other data."""
    folder.mkdir()
    numbers = np.random.default_rng(0).normal(size=(60, 2)) + moved
    pd.DataFrame({"a": numbers[:, 0], "b": numbers[:, 1], "y": [0, 1] * 30}).to_csv(
        folder / "people.csv", index=False
    )
    (folder / "sweep.yaml").write_text(SWEEP)
    return str(folder / "sweep.yaml")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, threads):
    """The command in this process, in a folder with two studies, of which one has run."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("PRIVROBUST_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    run.one, run.other = study(tmp_path / "one", 0.0), study(tmp_path / "other", 1.0)
    assert run("run", run.one, "--quiet")[0] == 0
    return run


READERS = [
    ["run", "SWEEP"],
    ["run", "SWEEP", "--dry-run"],
    ["run", "SWEEP", "--set", "seed=1"],
    ["table", "results.db", "--sweep", "SWEEP"],
    ["report", "results.db", "--sweep", "SWEEP"],
]


@pytest.mark.parametrize("arguments", READERS)
def test_a_sweep_of_other_data_is_refused(command, arguments):
    code, out, err = command(*(command.other if each == "SWEEP" else each for each in arguments))
    assert (code, out) == (2, "")
    assert REFUSED in err
    with Store("results.db", create=False) as store:
        assert len(store.runs()) == 1


@pytest.mark.parametrize("arguments", READERS[:2] + READERS[3:])
def test_the_same_data_and_data_that_are_gone_are_read(command, arguments, tmp_path):
    given = [command.one if each == "SWEEP" else each for each in arguments]
    assert command(*given)[0] == 0
    if "--dry-run" not in arguments:  # which checks the model on the data
        (tmp_path / "one" / "people.csv").unlink()
        assert command(*given)[0] == 0


def test_an_audit_of_a_stored_run_wants_its_data(command, tmp_path):
    with Store("results.db", create=False) as store:
        (row,) = store.runs().itertuples()
    given = ["audit", "--store", "results.db", "--run", row.Index, "--runs", "100", "--observer",
             "messages", "--set", f"dataset={row.dataset}", "--set"]  # fmt: skip
    code, out, err = command(*given, "data_dir=other")
    assert (code, out) == (2, "")
    assert REFUSED in err
    code, out, err = command(*given, "data_dir=one")
    assert code == 0, err
    assert "median" in out
