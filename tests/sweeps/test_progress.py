"""What people see of a sweep that is under way, and what is foretold of it."""

import io
import logging
import time
from pathlib import Path

import pytest
from rich.console import Console

from privrobust import RunSpec, train
from privrobust.errors import PrivRobustError
from privrobust.store import Store
from privrobust.sweeps import progress
from privrobust.sweeps.estimate import estimate
from privrobust.sweeps.executors import Outcome
from privrobust.sweeps.progress import Bars, Lines, Watch, clock, log_to, watch_on
from privrobust.sweeps.runner import run_sweep

RUNS = [
    RunSpec(honest=3, steps=4, seed=seed, aggregator=rule, learning_rate=rate)
    for rule, rate in (("median", 0.5), ("mean", 0.25))
    for seed in (0, 1)
]


class Hands(Watch):
    """Keeps every state."""

    def __init__(self):
        self.states = []

    def show(self):
        self.states.append(self.state())


def test_states_go_from_what_is_stored_to_all(tmp_path):
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS[:1], store)
        watch = Hands()
        run_sweep(RUNS, store, watch=watch)
    assert (watch.states[0].done, watch.states[-1].done) == (1, 4)
    trained = [state.trained for state in watch.states]
    assert trained == sorted(trained)
    assert any(1 < each < 4 and each != round(each) for each in trained)  # parts of runs
    assert trained[-1] == 4


def test_rate_and_time_left_are_of_this_process(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    watch = Hands()
    watch.start(RUNS, done=1)
    assert watch.states[-1].line() == "1/4 runs"
    now = 110.0
    watch.progress(1.5)
    state = watch.states[-1]
    assert state.rate == pytest.approx(1.5 / 10)
    assert state.line() == "1/4 runs, 0.15 runs/s, 0:10 left"  # 1.5 runs left


def test_time_left_waits_for_steps_that_start_up_no_more(monkeypatch):
    """A first step that compiles for half a minute says nothing of the others."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    watch = Hands()
    watch.start(RUNS, done=0)
    for seconds in (30.0, 32.0, 34.0):
        now = 100.0 + seconds
        watch.progress(0.25)
        assert watch.states[-1].line() == "0/4 runs"
    now = 136.0
    watch.progress(0.25)
    assert watch.states[-1].line() == "0/4 runs, 0.125 runs/s, 0:24 left"  # 3 runs left


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_lines_where_nothing_can_be_drawn_and_bars_on_terminals():
    assert isinstance(watch_on(Console(file=io.StringIO())), Lines)
    assert isinstance(watch_on(Console(file=io.StringIO(), force_terminal=True)), Bars)
    assert isinstance(watch_on(Console(file=io.StringIO(), force_jupyter=True)), Bars)


def test_lines_are_few_and_tell_the_best_and_the_worst(tmp_path, monkeypatch):
    stream = io.StringIO()
    with Store(tmp_path / "results.db") as store:
        run_sweep(RUNS, store, watch=Lines(stream))
        means = store.runs().groupby("aggregator")["accuracy"].mean()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("0/4 runs")
    assert lines[1].startswith("4/4 runs")
    for word, rule in (("best", means.idxmax()), ("worst", means.idxmin())):
        rate = {"median": "0.5", "mean": "0.25"}[rule]
        cell = f"aggregator {rule}, learning_rate {rate}"
        assert f"{word} accuracy so far {100 * means[rule]:.1f} %: {cell}" in lines[1]
    assert "\x1b" not in stream.getvalue()


def test_bars_show_runs_rate_time_left_and_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    longer = [run.model_copy(update={"steps": 400}) for run in RUNS]
    with Store(tmp_path / "results.db") as store:
        run_sweep(longer, store, watch=Bars(console))
    shown = console.file.getvalue()
    for part in ("4/4 runs", "runs/s", "left", "best", "worst", "aggregator median"):
        assert part in shown


def test_settings_are_told_in_words_that_say_what_is_absent():
    runs = [
        RunSpec(steps=1, clip_norm=c, byzantine=f, attack=attack, noise_scale=b)
        for c, f, attack, b in ((None, 0, None, 0.0), (1.0, 2, "alie", 0.001), (1.0, 0, None, 0.5))
    ]
    watch = Hands()
    watch.start(runs, done=0)
    for run, accuracy in zip(runs, (0.0, 0.5, 0.25), strict=True):
        watch._cells.add(run.key, accuracy)
    assert watch._cells.extremes() == [
        "best accuracy so far 50.0 %: byzantine 2, attack alie, noise_scale 0.001, clip_norm 1",
        "worst accuracy so far 0.0 %: no attackers, noise_scale 0, no clip_norm",
    ]


def test_settings_that_are_equally_good_are_no_best_and_worst():
    watch = Hands()
    watch.start(RUNS, done=0)
    for run in RUNS:
        watch._cells.add(run.key, 0.5)
    assert watch._cells.extremes() == ["accuracy so far 50.0 % in all 2 settings"]


def test_failures_and_others_work_are_told():
    watch = Hands()
    watch.start(RUNS, done=0)
    watch.settled(Outcome(RUNS[:1], reason="boom"))
    watch.settled(Outcome(RUNS[1:2], [train(RUNS[1])], 0.5))
    watch.wait(done=3, held=1)
    line = watch.states[-1].line()
    assert "3/4 runs" in line
    assert "1 failed" in line
    assert "waiting for 1 that other processes hold" in line


def test_the_log_tells_all(tmp_path):
    logger = logging.getLogger("privrobust")
    before = list(logger.handlers), logger.level
    try:
        log_to(tmp_path / "sweep.log")
        with Store(tmp_path / "results.db") as store:
            run_sweep(RUNS, store)
    finally:
        logger.handlers, logger.level = before
    text = (tmp_path / "sweep.log").read_text()
    assert "INFO started: 0/4 runs" in text
    assert text.count(" runs in ") == 1
    assert "INFO ended: 4/4 runs" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_a_log_on_a_full_disk_is_done_without(tmp_path, capsys):
    logger = logging.getLogger("privrobust")
    before = list(logger.handlers), logger.level
    try:
        log_to(Path("/dev/full"))
        with Store(tmp_path / "results.db") as store:
            run_sweep(RUNS, store)
            assert len(store.keys()) == len(RUNS)
    finally:
        logger.handlers, logger.level = before
    assert "Traceback" not in capsys.readouterr().err


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(PrivRobustError, match=r"log: .* cannot be written"):
        log_to(tmp_path / "missing" / "sweep.log")


def test_an_estimate_counts_steps_and_evaluations(monkeypatch):
    """With a clock that charges 1 s a step and 10 s more where there is an evaluation."""
    from privrobust.sweeps import estimate as module

    now = 0.0

    def lanes(specs, on_step):
        nonlocal now
        now += 5.0  # to set up
        for step in range(1, specs[0].steps + 1):
            now += 11.0 if step % specs[0].evaluate_every == 0 else 1.0
            on_step()

    monkeypatch.setattr(module, "train_lanes", lanes)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    runs = [RunSpec(honest=3, steps=100, evaluate_every=20, seed=seed) for seed in range(2)]
    assert estimate(runs).seconds == pytest.approx(6 + 100 + 5 * 10)
    other = RunSpec(honest=3, steps=50, evaluate_every=20)
    assert estimate([*runs, other]).seconds == pytest.approx(156 + 6 + 50 + 3 * 10)


def test_an_estimate_is_of_the_right_size(tmp_path):
    runs = [RunSpec(honest=5, steps=600, seed=seed) for seed in range(4)]
    foretold = estimate(runs)
    started = time.perf_counter()
    with Store(tmp_path / "results.db") as store:
        run_sweep(runs, store)
    took = time.perf_counter() - started
    assert took / 10 < foretold.seconds < took * 10
    assert 2**27 < foretold.memory < 2**37
