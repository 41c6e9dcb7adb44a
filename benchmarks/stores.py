"""What keeping results costs, what processes gain, and how a large store answers."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import insert
from timing import in_turns, median, ratio, table

from privrobust import RunSpec
from privrobust.reporting.tables import lay_out
from privrobust.store import Store
from privrobust.store.rows import today
from privrobust.store.schema import EVALUATIONS, RUNS, cells
from privrobust.sweeps import Sweep, run_sweep
from privrobust.sweeps.executors import InProcess, Processes
from privrobust.sweeps.executors.base import Executor, Outcome
from privrobust.training.loop import train_lanes

DIGITS = [
    RunSpec(clip_norm=1.0, noise_scale=0.01 * step, byzantine=2, attack=attack, seed=seed)
    for seed in range(50)
    for step in range(5)
    for attack in ("sign_flip", "alie", "large_value", "zero")
]
# One lane of these fills no two cores: much of a step is one thread's.
CONVOLUTIONS = [
    RunSpec(
        dataset="mnist5k", model="cnn_opacus", honest=5, batch_size=16, steps=40,
        clip_norm=1.0, noise_scale=0.1, evaluate_every=40, seed=seed,
    )
    for seed in range(24)
]  # fmt: skip
# One process, two, and no other than this one.
EXECUTORS = (Processes(1, threads=1), Processes(2, threads=1), InProcess())


def bookkeeping(runs: Sequence[RunSpec]) -> list[list[str]]:
    """Wall time of runs through a store, and the part in which nothing trains."""
    training = 0.0

    class Timed(InProcess):
        """An executor that adds up the time that batches take."""

        def run(self, *arguments: Any) -> Iterator[Outcome]:
            nonlocal training
            for outcome in super().run(*arguments):
                training += outcome.seconds
                yield outcome

    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "results.db") as store:
        start = time.perf_counter()
        run_sweep(runs, store, Timed())
        whole = time.perf_counter() - start
    return [
        [f"{len(runs):,} digits runs through a store", f"{whole:.1f} s", "",
         f"{100 * (whole - training) / whole:.1f} % bookkeeping", "under 5 %"]
    ]  # fmt: skip


def processes(
    runs: Sequence[RunSpec], executors: tuple[Executor, Executor, Executor], rounds: int
) -> list[list[str]]:
    """--jobs 2 beside --jobs 1, both of one thread a process, and beside all threads in one."""

    def swept(executor: Executor) -> Callable[[], None]:
        def sweep() -> None:
            with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "r.db") as store:
                run_sweep(runs, store, executor)

        return sweep

    one, two, here = (swept(executor) for executor in executors)
    times = in_turns({"one": one, "two": two, "here": here}, rounds)
    return [
        [f"{len(runs)} CNN runs, 1 process of 1 thread / 2 of 1", f"{median(times['one']):.1f} s",
         f"{median(times['two']):.1f} s", ratio(times["one"], times["two"]), "1.6"],
        [f"the same, here on {torch.get_num_threads()} threads / 2 of 1",
         f"{median(times['here']):.1f} s", f"{median(times['two']):.1f} s",
         ratio(times["here"], times["two"]), ""],
    ]  # fmt: skip


def described(seeds: int) -> dict[str, object]:
    """Describe a sweep of 500 runs a seed."""
    grid = {
        "noise_scale": [0.01, 0.03, 0.1, 0.3, 1.0],
        "byzantine": [1, 2, 3, 4],
        "attack": ["sign_flip", "alie", "large_value", "zero", "infinity"],
        "learning_rate": [0.1, 0.2, 0.3, 0.5, 1.0],
        "seed": list(range(seeds)),
    }
    return {"clip_norm": 1.0, "grid": grid}


def fill(path: Path, specs: Sequence[RunSpec]) -> None:
    """Make a store in which all runs have the result of the first."""
    result = train_lanes(specs[:1])[0]
    with Store(path) as store:
        store.add([result])
        row: Any = store.runs().iloc[0].drop([*RunSpec.model_fields, "finished"]).to_dict()
        row["finished"] = today()
        rows: list[dict[str, Any]] = [{"key": spec.key, **row, **cells(spec)} for spec in specs[1:]]
        last: Any = store.history(specs[0].key).iloc[-1].to_dict()
        with store._writing.begin() as connection:
            connection.execute(insert(RUNS), rows)
            connection.execute(
                insert(EVALUATIONS), [{"run": spec.key, **last} for spec in specs[1:]]
            )


def large(seeds: int) -> list[list[str]]:
    """How a store of 500 runs a seed answers."""
    sweep = described(seeds)
    specs = Sweep.from_settings(sweep).runs()
    more = specs[0].model_copy(update={"seed": seeds})
    first = [spec.key for spec in specs[: len(specs) // 20]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.db"
        fill(path, specs)
        cases: dict[str, Callable[[Store], object]] = {
            "open": lambda store: None,
            "resume a sweep of all of them": lambda store: run_sweep(specs, store),
            "resume a sweep of all but one": lambda store: run_sweep([*specs, more], store),
            "its runs from its file": lambda store: Sweep.from_settings(sweep).runs(),
            "the table of all": lambda store: lay_out(store.runs()),
            f"the table of the first {len(first):,}": lambda store: lay_out(store.runs(first)),
        }
        return [[f"{len(specs):,} runs: {name}", f"{seconds:.2f} s", "", "", "5 s"]
                for name, seconds in _answers(path, cases).items()]  # fmt: skip


def _answers(path: Path, cases: dict[str, Callable[[Store], object]]) -> dict[str, float]:
    found = {}
    for name, case in cases.items():
        start = time.perf_counter()
        with Store(path) as store:
            case(store)
            found[name] = time.perf_counter() - start
            store.release()
    return found


def report(
    digits: Sequence[RunSpec] = DIGITS,
    convolutions: Sequence[RunSpec] = CONVOLUTIONS,
    executors: tuple[Executor, Executor, Executor] = EXECUTORS,
    rounds: int = 4,
    seeds: int = 200,
) -> str:
    rows = [*bookkeeping(digits), *processes(convolutions, executors, rounds), *large(seeds)]
    return table(["case", "first", "second", "first / second", "aim"], rows)
