from threading import Timer

import pandas as pd
import pytest

from privrobust import RunSpec, train
from privrobust.errors import PrivRobustError, SpecError
from privrobust.schedules import Schedule
from privrobust.store import Store, claims, leases
from privrobust.sweeps import packing as batches
from privrobust.sweeps import runner as sweep
from privrobust.sweeps.executors import InProcess, base
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.runner import check, run_sweep, run_whole

RUNS = Sweep.from_settings(
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
).runs()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(batches, "LANES", 5)


def test_what_is_stored_is_what_training_alone_gives(tmp_path):
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS, store)
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


def test_an_interrupted_sweep_resumed_equals_one_that_was_not(tmp_path, monkeypatch):
    with Store(tmp_path / "whole.db") as whole:
        run_sweep(RUNS, whole)
        expected = whole.runs()

    trained = []
    train_lanes = base.train_lanes

    def counting(batch, on_step):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.extend(batch)
        return train_lanes(batch, on_step)

    with Store(tmp_path / "parts.db") as parts:
        monkeypatch.setattr(base, "train_lanes", counting)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(RUNS, parts)
        assert parts.keys() == {run.key for run in trained}
        monkeypatch.setattr(base, "train_lanes", train_lanes)
        run_sweep(RUNS, parts)
        resumed = parts.runs()
    of_a_process = ["seconds", "finished"]
    expected = expected.drop(columns=of_a_process)
    resumed = resumed.loc[expected.index].drop(columns=of_a_process)
    pd.testing.assert_frame_equal(resumed, expected, rtol=1e-6)


def test_running_again_trains_only_what_is_missing(tmp_path, monkeypatch):
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS[:4], store)
        trained = []
        train_lanes = base.train_lanes

        def recording(batch, on_step):
            trained.extend(batch)
            return train_lanes(batch, on_step)

        monkeypatch.setattr(base, "train_lanes", recording)
        run_sweep(RUNS, store)
        assert {run.key for run in trained} == {run.key for run in RUNS[4:]}
        trained.clear()
        run_sweep(RUNS, store)
        assert not trained


def test_runs_of_different_shapes_are_packed_apart(tmp_path):
    runs = [RunSpec(steps=steps, honest=honest) for steps in (3, 4) for honest in (5, 6)]
    with Store(tmp_path / "results.db") as store:
        run_sweep(runs, store)
        assert store.keys() == {run.key for run in runs}


def test_large_models_get_fewer_lanes(monkeypatch):
    run = RunSpec(honest=12, byzantine=3, attack="alie", model="mlp", batch_size=8)
    message = 64 * 100 + 100 + 100 * 10 + 10
    monkeypatch.setattr(batches, "_NUMBERS", 3 * 15 * message)
    assert batches.lanes_like(run) == 3
    monkeypatch.setattr(batches, "_NUMBERS", 1)
    assert batches.lanes_like(run) == 1


def test_a_failed_run_is_kept_as_failed(tmp_path):
    run = RunSpec(honest=5, steps=3, grad_norm_bound=0.1, noise_scale=0.1)
    with Store(tmp_path / "results.db") as store:
        run_sweep([run], store)
        row = store.runs().loc[run.key]
    assert "above the bound 0.1" in row["failure"]
    assert pd.isna(row["accuracy"])


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1000},
        {"honest": 2000},
        {"model": "mlpp"},
        {"model": "a:b"},
        {"clip_norm": 1.0, "noise_scale": 1e20},
    ],
)
def test_every_run_is_checked_before_the_first(settings):
    with pytest.raises(SpecError):
        check([*RUNS, RunSpec(**settings)])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("other", [{"aggregator": "median"}, {"worker_momentum": 0.5}])
def test_an_accountant_is_asked_about_every_kind_of_message(other, first):
    """That of signs knows no vectors, and no signs of older noise."""
    vote = RunSpec(aggregator="majority_vote", accountant="sign", noise_scale=0.1, clip_norm=1.0)
    pair = [vote, vote.model_copy(update=other)]
    with pytest.raises(SpecError, match="accountant: sign does not support"):
        check([pair[first], pair[1 - first]])


class Halfway(Schedule):
    """Fails in the middle of a run, where a spec alone does not look."""

    def factor(self, done):
        return -1.0 if done == 0.5 else 1.0


def test_a_schedule_is_tried_at_every_step_before_the_first():
    run = RunSpec(schedule=f"{__name__}:Halfway", steps=12, warmup_steps=2)
    with pytest.raises(SpecError, match=r"Halfway\(\) gives -1 at step 8 of 12; accepted: a fin"):
        check([*RUNS, run])
    check([run.model_copy(update={"steps": 11})])  # no step is halfway


def test_checks_say_what_they_are_at_and_how_much_is_left():
    told: list[str] = []
    check(RUNS, told.append)
    assert told == [
        *(f"checking the runs: privacy of {place} of 4 settings" for place in (1, 2, 3, 4)),
        "checking the runs: 1 of 1 models on their data",
        "loading the loop that draws noise, which is compiled once per machine",
    ]


def test_an_executor_starts_only_for_runs_that_are_this_process_s(tmp_path, monkeypatch):
    """While others hold all that is left, nothing is started over and over."""
    started = []

    class Counting(InProcess):
        def run(self, *arguments):
            started.append(arguments)
            return super().run(*arguments)

    monkeypatch.setattr(sweep, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(claims, "new_owner", lambda: "elsewhere/1")
    with Store(tmp_path / "results.db") as theirs:
        theirs.claim(RUNS[:2])
        monkeypatch.setattr(claims, "new_owner", leases.new_owner)
        finish = Timer(0.5, lambda: theirs.add([train(run) for run in RUNS[:2]]))
        finish.start()
        with Store(tmp_path / "results.db") as mine:
            run_sweep(RUNS[:4], mine, Counting())
            assert mine.keys() == {run.key for run in RUNS[:4]}
        finish.join()
    assert len(started) == 1


def test_data_that_changes_while_a_sweep_runs_ends_it(tmp_path, monkeypatch):
    """What is stored under a name is of the data that the store knows by it."""
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "".join(f"{place},{place % 2}\n" for place in range(60)))
    table = f"table(path={str(path)!r}, label='y')"
    runs = [RunSpec(dataset=table, honest=2, steps=3, batch_size=4, seed=seed) for seed in range(8)]
    train_lanes = base.train_lanes

    def changing(batch, on_step):
        results = train_lanes(batch, on_step)
        if batch[0].seed:
            path.write_text(path.read_text() + "7,1\n")
        return results

    monkeypatch.setattr(base, "train_lanes", changing)
    with Store(tmp_path / "results.db") as opened:
        with pytest.raises(PrivRobustError, match="changed while the sweep ran"):
            run_sweep(runs, opened)
        assert opened.keys() == {run.key for run in runs[:5]}
        assert opened.claims().empty
        with pytest.raises(PrivRobustError, match="is not the data that"):
            run_sweep(runs, opened)


def test_a_budget_that_runs_share_is_computed_once(monkeypatch):
    asked = []
    monkeypatch.setattr(sweep.PrivacyPlan, "spent", property(asked.append))
    check(RUNS)
    assert len(asked) == 4  # two b, two seeds


def test_tuning_of_which_nothing_is_left_ends_in_a_line(tmp_path, monkeypatch):
    tuned = Sweep.from_settings({"honest": 3, "steps": 2, "tune": {"learning_rate": [0.1, 0.5]}})

    def failing(batch, on_step):
        raise ValueError("boom")

    monkeypatch.setattr(base, "train_lanes", failing)
    with (
        Store(tmp_path / "results.db") as opened,
        pytest.raises(PrivRobustError, match="tune: in 1 settings every candidate had failed runs"),
    ):
        run_whole(tuned, opened)


@pytest.mark.parametrize(("at_once", "sizes"), [(1, [4]), (2, [2, 2]), (3, [2, 2]), (9, [1] * 4)])
def test_nobody_waits_for_one_large_batch(at_once, sizes):
    runs = [RunSpec(honest=3, steps=2, seed=seed) for seed in range(4)]
    assert [len(batch) for batch in batches.batches(runs, at_once)] == sizes
