"""Where a training step's time goes, and how time and memory grow with workers, size and lanes."""

import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

from tasks import FULL, Task, mlp, register, spec
from timing import median, step_time, table

from privrobust.aggregators import Median
from privrobust.attacks import ALIE
from privrobust.gradients import backward
from privrobust.models import register_model
from privrobust.training import loop as training
from privrobust.training.loop import train_lanes
from privrobust.training.noise import Perturbation
from privrobust.training.workers import Clipping

PLACES = {
    "forward and backward": (backward.Direct, "__call__"),
    "clip": (Clipping, "__call__"),
    "noise": (Perturbation, "__call__"),
    "attack": (ALIE, "carry_out"),
    "aggregate": (Median, "__call__"),
}
"""Methods that do a part of every step."""
LIMITS = {
    "sample": "memory: it copies the batches' inputs",
    "forward and backward": "the plain pass to the layers' outputs",
    "clip and sum": "memory and matrix products: it writes a vector a worker",
    "noise": "arithmetic in vectors of float64, and AES",
    "attack": "memory: two passes over the honest messages",
    "aggregate": "the processor's minimum and maximum on cached blocks",
    "update and the rest": "Python, and joining Byzantine messages to the honest",
    "measures": "memory: a median of the honest messages, every 10th step, beside the step",
}


class Case(NamedTuple):
    """One process that trains."""

    grows: str
    workers: int = 15
    hidden: int | None = 100
    """Units of the MLP's hidden layer; None: the CNN is trained."""
    lanes: int = 1

    @property
    def parameters(self) -> int:
        return 431_080 if self.hidden is None else 795 * self.hidden + 10


CASES = (
    *[Case("workers", workers=n) for n in (5, 15, 50, 100)],
    *[Case("parameters", hidden=hidden) for hidden in (13, 100, 1258, 12_578)],
    *[Case("lanes", lanes=lanes) for lanes in (1, 4, 8, 16)],
    Case("the CNN", hidden=None),
)


@dataclass(frozen=True)
class Size:
    """How much is timed."""

    models: tuple[str, ...] = ("mlp", "cnn")
    task: Task = FULL
    steps: int = 40
    every: int = 10  # steps between evaluations
    cases: Sequence[Case] = CASES


class Clock:
    """Seconds spent inside calls, a list of them by name."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = perf_counter()
            found = call(*arguments, **named)
            self._spent.setdefault(name, []).append(perf_counter() - start)
            return found

        return timed

    def along(self, name: str, make: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Of every item that the iterators made yield."""

        def timed(*arguments: Any) -> Iterator[Any]:
            advance = self.around(name, partial(next, make(*arguments)))
            with suppress(StopIteration):
                while True:
                    yield advance()

        return timed

    def typical(self, name: str, calls: int) -> float:
        """Median seconds of the last so many calls; those before them are of the run's start.

        Raises:
            RuntimeError: there were fewer.

        """
        spent = self._spent.get(name, [])
        if len(spent) < calls:
            raise RuntimeError(
                f"{name}: called {len(spent)} times instead of {calls}; "
                "a step does this elsewhere than benchmarks/steps.py looks for it"
            )
        return median(spent[-calls:])


def breakdown(model: str, size: Size) -> str:
    """Median milliseconds and share of each part of a step of one run."""
    clock = Clock()
    ends: list[float] = []
    with ExitStack() as patches:
        for name, (owner, method) in PLACES.items():
            timed = clock.around(name, getattr(owner, method))
            patches.enter_context(patch.object(owner, method, timed))
        batches = clock.along("sample", vars(training)["honest_batches"])
        patches.enter_context(patch.object(training, "honest_batches", batches))
        measure = clock.around("measures", vars(training)["measure"])
        patches.enter_context(patch.object(training, "measure", measure))
        train_lanes(
            [spec(model, size.task, steps=size.steps, evaluate_every=size.every)],
            on_step=lambda: ends.append(perf_counter()),
        )
    whole = step_time(ends)
    parts = {name: clock.typical(name, size.steps - 1) for name in ("sample", *PLACES)}
    parts["clip and sum"] = parts.pop("clip") - parts["forward and backward"]
    parts["update and the rest"] = whole - sum(parts.values())
    parts["measures"] = clock.typical("measures", size.steps // size.every) / size.every
    rows = [
        [name, f"{parts[name] * 1e3:.2f} ms", f"{parts[name] / whole:.0%}", limit]
        for name, limit in LIMITS.items()
    ]
    header = ["part", f"of {whole * 1e3:.1f} ms", "share", "near the limit of"]
    return table(header, rows)


def cost(case: Case) -> tuple[float, float]:
    """Seconds of a median step, and peak memory in GB of a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_cost, case).result()


def _cost(case: Case) -> tuple[float, float]:
    warnings.filterwarnings("ignore")
    byzantine = case.workers // 5
    task = Task(case.workers - byzantine, byzantine, examples=200)
    register(task)
    model = "cnn"
    if case.hidden is not None:
        model = "wide"
        register_model("bench_wide", partial(mlp, hidden=case.hidden))
    runs = [spec(model, task, seed=seed, steps=8, evaluate_every=8) for seed in range(case.lanes)]
    ends: list[float] = []
    train_lanes(runs, on_step=lambda: ends.append(perf_counter()))
    return step_time(ends), peak_memory()


def peak_memory() -> float:
    """Of this process alone, in GB; what getrusage tells is also that of the process it is from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 2**20


def growth(cases: Sequence[Case]) -> str:
    """One of workers, parameters and lanes at a time, from 15 workers and 79,510 parameters."""
    rows = []
    for case in cases:
        step, memory = cost(case)
        numbers = case.workers * case.parameters * case.lanes
        each = "" if case.hidden is None else f"{step / numbers * 1e9:.1f} ns"
        rows.append(
            [case.grows, str(case.workers), f"{case.parameters:,}", str(case.lanes),
             f"{step * 1e3:.1f} ms", each, f"{memory:.2f} GB"]
        )  # fmt: skip
    header = ["grows", "workers", "parameters", "lanes", "step", "a number sent", "peak memory"]
    return table(header, rows)


def report(size: Size = Size()) -> str:
    warnings.filterwarnings("ignore")
    register(size.task)
    parts = [f"{model.upper()}:\n\n{breakdown(model, size)}" for model in size.models]
    return "\n\n".join([*parts, growth(size.cases)])


if __name__ == "__main__":
    print(report())
