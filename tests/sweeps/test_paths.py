"""Paths in a sweep's file start from the folder that it lies in; what a run is does not."""

import sys

import numpy as np
import pandas as pd
import pytest

from privrobust import RunSpec
from privrobust.core.plugins import without_plugins
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.store import Store
from privrobust.sweeps import load_sweep, run_sweep
from privrobust.sweeps.planning import planned

PEOPLE = "table(path='people.csv', label='y')"
SWEEP = f"dataset: {PEOPLE}\nhonest: 2\nsteps: 2\nbatch_size: 4\n"


def people(folder, moved=0.0):
    """Write a table; `moved` makes it another."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0).normal(size=(60, 2)) + moved
    pd.DataFrame({"a": numbers[:, 0], "b": numbers[:, 1], "y": [0, 1] * 30}).to_csv(
        folder / "people.csv", index=False
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory, with an empty folder of data beside it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PRIVROBUST_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "here"


def loaded(path):
    (run,) = planned(load_sweep(path))
    return run, get_dataset(run.dataset, run.data_dir)


def written(folder, name="sweep.yaml", text=SWEEP):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_file_beside_the_sweep_is_found_from_anywhere(here, monkeypatch):
    people(here / "study")
    run, data = loaded(written(here / "study").relative_to(here))
    assert len(data.train) == 42  # 70 % of 60
    monkeypatch.chdir(here / "study")
    again, same = loaded(here / "study" / "sweep.yaml")
    assert same.fingerprint == data.fingerprint
    assert again.key == run.key


def test_the_key_is_that_of_the_name_as_written(here):
    people(here / "study")
    run, _ = loaded(written(here / "study"))
    plain = RunSpec(dataset=PEOPLE, honest=2, steps=2, batch_size=4)
    assert run.key == plain.key
    assert run.dataset == plain.dataset
    assert plain.data_dir is None


def test_the_folder_of_the_sweep_comes_before_that_of_data_and_the_working_directory(here):
    for place, folder in enumerate((here, here.parent / "data", here / "study")):
        people(folder, moved=float(place))
        _, data = loaded(written(here / "study"))
        assert data.train.inputs.mean() == pytest.approx(place, abs=0.3)


@pytest.mark.parametrize(
    "text",
    [
        f'grid: {{dataset: ["{PEOPLE}", digits]}}\nhonest: 2\nsteps: 2\nbatch_size: 4\n',
        f'cases: [{{dataset: "{PEOPLE}"}}, {{dataset: digits}}]\nhonest: 2\nbatch_size: 4\n',
        "cases: [{dataset: {name: table, path: people.csv, label: y}}, {dataset: digits}]\n"
        "honest: 2\nbatch_size: 4\n",
        f'zip: {{dataset: ["{PEOPLE}", digits], steps: [2, 3]}}\nhonest: 2\nbatch_size: 4\n',
    ],
)
def test_only_datasets_that_are_files_get_the_folder(here, text):
    people(here / "study")
    runs = planned(load_sweep(written(here / "study", text=text)))
    assert {run.dataset: run.data_dir for run in runs} == {
        PEOPLE: str(here / "study"), "digits": None
    }  # fmt: skip


def test_what_a_file_extends_starts_from_the_other_files_folder(here):
    people(here / "base")
    written(here / "base")
    own = written(here / "study", "own.yaml", "extends: ../base/sweep.yaml\nsteps: 3\n")
    run, _ = loaded(own)
    assert run.steps == 3


def test_a_data_dir_is_beside_the_file_else_as_it_is(here):
    people(here / "study" / "files")
    text = SWEEP + "data_dir: files\n"
    run, _ = loaded(written(here / "study", text=text))
    assert run.data_dir == str(here / "study" / "files")
    people(here / "elsewhere", moved=5.0)
    _, data = loaded(written(here / "study", text=SWEEP + "data_dir: elsewhere\n"))
    assert data.train.inputs.mean() == pytest.approx(5, abs=0.3)


def test_set_starts_from_the_working_directory(here):
    people(here / "files", moved=3.0)
    people(here / "study" / "files")
    (run,) = planned(load_sweep(written(here / "study"), ["data_dir=files"]))
    assert run.data_dir == "files"


def test_an_error_says_everywhere_that_it_looked(here):
    path = written(here / "study")
    with pytest.raises(SpecError, match=r"there is no file 'people\.csv'; looked in: ") as raised:
        loaded(path)
    folders = str(raised.value).partition("looked in: ")[2].split(", ")
    assert folders == [str(here / "study"), str(here.parent / "data"), str(here)]


def test_a_file_that_is_not_extended_is_told_by_its_whole_path(here):
    path = written(here / "study", text="extends: nowhere.yaml\n")
    with pytest.raises(SpecError, match=r"line 1: extends: 'nowhere.yaml' is no file; .*") as told:
        load_sweep(path)
    assert str(here / "study" / "nowhere.yaml") in str(told.value)


def test_results_are_reused_wherever_the_file_lies(here):
    people(here / "study")
    people(here / "copy")
    runs = planned(load_sweep(written(here / "study")))
    with Store(str(here / "results.db")) as store:
        run_sweep(runs, store)
        made = store.runs()["finished"].tolist()
        run_sweep(planned(load_sweep(written(here / "copy"))), store)
        assert store.runs()["finished"].tolist() == made
        assert len(store.runs()) == 1


def test_other_data_of_that_name_is_refused(here):
    people(here / "study")
    people(here / "copy", moved=1.0)
    with Store(str(here / "results.db")) as store:
        run_sweep(planned(load_sweep(written(here / "study"))), store)
        with pytest.raises(Exception, match=r"is not the data that .* has results of"):
            run_sweep(planned(load_sweep(written(here / "copy"))), store)


MODULE = "from privrobust.attacks import SignFlip\nclass Nudge(SignFlip):\n    'Nudges.'\n"
NAMED = "byzantine: 1\nattack: nudging_{0}:Nudge\n"


@pytest.mark.parametrize("place", ["study", "base"])
def test_a_module_is_found_beside_the_file_that_names_it(here, place):
    written(here / place, f"nudging_{place}.py", MODULE)
    if place == "base":
        written(here / "base", text=NAMED.format(place))
        path = written(here / "study", text="extends: ../base/sweep.yaml\nsteps: 3\n")
    else:
        path = written(here / place, text=NAMED.format(place))
    (run,) = planned(load_sweep(path))
    assert run.attack.name == f"nudging_{place}:Nudge"


def test_the_folder_of_a_file_is_not_looked_in_where_modules_are_refused(here):
    path, before = written(here / "study"), list(sys.path)
    with without_plugins():
        load_sweep(path)
    assert sys.path == before


def test_a_module_that_is_missing_says_where_it_was_looked_for(here):
    path = written(here / "study", text=NAMED.format("nowhere"))
    with pytest.raises(SpecError, match="there is no module 'nudging_nowhere'; looked in") as told:
        planned(load_sweep(path))
    assert str(told.value).startswith(f"{path}, line 2: attack: ")
    assert f"'{here / 'study'}'" in str(told.value)
