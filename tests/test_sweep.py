import io
import sqlite3

import pandas as pd
import pytest
from rich.console import Console

from privrobust import RunSpec, sweep, train
from privrobust.errors import PrivRobustError, SpecError
from privrobust.grid import expand
from privrobust.schedules import Schedule
from privrobust.store import Store
from privrobust.sweep import check, run_sweep

RUNS = expand(
    {
        "honest": 5,
        "steps": 12,
        "clip_norm": 1.0,
        "grid": {
            "noise_scale": [0, 0.1],
            "byzantine": [0, 1],
            "attack": ["sign_flip", "large_value"],
            "seed": [0, 1],
        },
    }
)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(sweep, "LANES", 5)


def test_what_is_stored_is_what_training_alone_gives(tmp_path, console):
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS, store, console)
        stored = store.runs()
        histories = {run.key: store.history(run.key) for run in RUNS[:3]}
    assert set(stored.index) == {run.key for run in RUNS}
    for run in RUNS[:3]:
        alone = train(run)
        row = stored.loc[run.key]
        assert row["accuracy"] == pytest.approx(alone.accuracy, abs=1e-6)
        assert row["final_loss"] == pytest.approx(alone.loss, rel=1e-5)
        assert row["epsilon"] == alone.epsilon
        assert row["noise_scale"] == run.noise_scale
        pd.testing.assert_frame_equal(histories[run.key], alone.history, rtol=1e-5, atol=1e-6)


def test_an_interrupted_sweep_resumed_equals_one_that_was_not(tmp_path, console, monkeypatch):
    with Store(tmp_path / "whole.db") as whole:
        run_sweep(RUNS, whole, console)
        expected = whole.runs()

    trained = []
    train_lanes = sweep.train_lanes

    def counting(batch, on_step):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.extend(batch)
        return train_lanes(batch, on_step)

    with Store(tmp_path / "parts.db") as parts:
        monkeypatch.setattr(sweep, "train_lanes", counting)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(RUNS, parts, console)
        assert parts.keys() == {run.key for run in trained}
        monkeypatch.setattr(sweep, "train_lanes", train_lanes)
        run_sweep(RUNS, parts, console)
        resumed = parts.runs()
    pd.testing.assert_frame_equal(resumed.loc[expected.index], expected, rtol=1e-6)


def test_running_again_trains_only_what_is_missing(tmp_path, console, monkeypatch):
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS[:4], store, console)
        trained = []
        train_lanes = sweep.train_lanes

        def recording(batch, on_step):
            trained.extend(batch)
            return train_lanes(batch, on_step)

        monkeypatch.setattr(sweep, "train_lanes", recording)
        run_sweep(RUNS, store, console)
        assert {run.key for run in trained} == {run.key for run in RUNS[4:]}
        trained.clear()
        run_sweep(RUNS, store, console)
        assert not trained


def test_runs_of_different_shapes_are_packed_apart(tmp_path, console):
    runs = [RunSpec(steps=steps, honest=honest) for steps in (3, 4) for honest in (5, 6)]
    with Store(tmp_path / "results.db") as store:
        run_sweep(runs, store, console)
        assert store.keys() == {run.key for run in runs}


def test_large_models_get_fewer_lanes(monkeypatch):
    run = RunSpec(honest=12, byzantine=3, attack="alie", model="mlp", batch_size=8)
    message = 64 * 100 + 100 + 100 * 10 + 10
    monkeypatch.setattr(sweep, "_NUMBERS", 3 * 15 * message)
    assert sweep._lanes(run) == 3
    monkeypatch.setattr(sweep, "_NUMBERS", 1)
    assert sweep._lanes(run) == 1


def test_progress_shows_done_total_rate_and_time_left(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS, store, console)
    shown = console.file.getvalue()
    assert f"{len(RUNS)}/{len(RUNS)} runs" in shown
    assert "runs/s" in shown
    assert "left" in shown


def test_progress_goes_on_from_what_is_stored(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        sweep._Pace, "render", lambda pace, task: shown.append(task.fields["done"]) or ""
    )
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS[:5], store, Console(file=io.StringIO()))
        shown.clear()
        run_sweep(RUNS, store, Console(file=io.StringIO(), force_terminal=True))
    assert shown[0] == 5
    assert shown[-1] == len(RUNS)
    assert shown == sorted(shown)


def test_a_failed_run_is_kept_as_failed(tmp_path, console):
    run = RunSpec(honest=5, steps=3, grad_norm_bound=0.1, noise_scale=0.1)
    with Store(tmp_path / "results.db") as store:
        run_sweep([run], store, console)
        row = store.runs().loc[run.key]
    assert "above the bound 0.1" in row["failure"]
    assert pd.isna(row["accuracy"])


@pytest.mark.parametrize(
    "settings", [{"batch_size": 1000}, {"honest": 2000}, {"model": "mlpp"}, {"model": "a:b"}]
)
def test_every_run_is_checked_before_the_first(settings):
    with pytest.raises(SpecError):
        check([*RUNS, RunSpec(**settings)])


class Halfway(Schedule):
    """Fails in the middle of a run, where a spec alone does not look."""

    def factor(self, done):
        return -1.0 if done == 0.5 else 1.0


def test_a_schedule_is_tried_at_every_step_before_the_first():
    run = RunSpec(schedule=f"{__name__}:Halfway", steps=12, warmup_steps=2)
    with pytest.raises(SpecError, match=r"Halfway\(\) gives -1 at step 8 of 12; accepted: a fin"):
        check([*RUNS, run])
    check([run.model_copy(update={"steps": 11})])  # no step is halfway


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("not a database " * 100)
    with pytest.raises(PrivRobustError, match=r"notes\.db is no store of this version"):
        Store(path)
    assert path.read_text().startswith("not a database")


def test_a_database_of_something_else_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE runs (distance REAL)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(PrivRobustError, match=r"other\.db is no store of this version"):
        Store(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_odd_file_names_are_taken_literally(tmp_path):
    with Store(tmp_path / "a?b#c.db"):
        assert [path.name for path in tmp_path.iterdir()] == ["a?b#c.db"]
