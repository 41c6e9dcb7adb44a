"""Where a training step's time goes, and how time and memory grow with workers, size and lanes.

python benchmarks/steps.py [mlp|cnn ...] [--threads N ...] [--busy]

prints the stages of a step alone.
"""

import argparse
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

from conditions import ALL, Condition, under_each
from tasks import FULL, MODELS, Task, mlp, register, spec
from timing import median, step_time, table

from privrobust.data import Split
from privrobust.gradients.chain import Chain
from privrobust.models import register_model
from privrobust.training import loop
from privrobust.training.byzantine import ByzantineWorkers
from privrobust.training.loop import train_lanes
from privrobust.training.noise import Perturbation
from privrobust.training.server import Server
from privrobust.training.workers import Clipping


class Stage(NamedTuple):
    """What a step does in calls of a function, between each call and its return."""

    name: str
    owner: object
    function: str
    limit: str
    """What it is near the limit of."""
    is_part: bool = False
    """Whether it is a part of the stage above it, of all threads together if they share that."""


STAGES = (
    Stage("sample", loop, "honest_batches", "arithmetic: a word an example, by AES"),
    Stage("clip", Clipping, "__call__", "matrix products, and memory: it writes a vector a worker"),
    Stage("gather", Split, "examples", "memory: it copies the batches' inputs", is_part=True),
    Stage("forward and backward", Chain, "_gradients", "matrix products", is_part=True),
    Stage("norms", Chain, "_scales", "memory", is_part=True),
    Stage("noise", Perturbation, "__call__", "arithmetic in vectors of float64, and AES"),
    Stage("attack", ByzantineWorkers, "__call__", "memory: it reads the honest messages"),
    Stage("aggregate", Server, "__call__", "memory: it reads all messages"),
)
"""In the order of a step; a stage is named here, and nowhere else."""
REST, OF_IT = "update and the rest", "of it, "
MEASURES = Stage("measures", loop, "measure", "memory: it reads the honest messages")


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
    """Seconds spent inside calls, by name, step by step."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self._calls: list[tuple[str, float]] = []
        self._steps: list[dict[str, float]] = []

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Time every call, or, of one that makes an iterator, every item that it yields."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = perf_counter()
            found = call(*arguments, **named)
            if isinstance(found, Iterator):
                return self._along(self.around(name, partial(next, found)))
            self._calls.append((name, perf_counter() - start))
            return found

        return timed

    def _along(self, advance: Callable[[], Any]) -> Iterator[Any]:
        with suppress(StopIteration):
            while True:
                yield advance()

    def end_step(self) -> None:
        """Note what was called since the last step ended."""
        self.ends.append(perf_counter())
        spent: dict[str, float] = {}
        for name, seconds in self._calls:
            spent[name] = spent.get(name, 0.0) + seconds
        self._calls.clear()
        self._steps.append(spent)

    def typical(self, name: str) -> float:
        """Median seconds of the steps that do it, but the first, which has the run's start.

        Raises:
            RuntimeError: none does.

        """
        spent = [step[name] for step in self._steps[1:] if name in step]
        if not spent:
            raise RuntimeError(
                f"{name}: no step calls it; it is done elsewhere than benchmarks/steps.py looks "
                "for it"
            )
        return median(spent)


def breakdown(model: str, size: Size) -> str:
    """Median milliseconds and share of each part of a step of one run."""
    clock = Clock()
    with ExitStack() as patches:
        for each in (*STAGES, MEASURES):
            timed = clock.around(each.name, getattr(each.owner, each.function))
            patches.enter_context(patch.object(each.owner, each.function, timed))
        run = spec(model, size.task, steps=size.steps, evaluate_every=size.every)
        train_lanes([run], on_step=clock.end_step)
    whole = step_time(clock.ends)
    spent = {each.name: clock.typical(each.name) for each in STAGES}
    rest = whole - sum(spent[each.name] for each in STAGES if not each.is_part)

    def row(name: str, seconds: float, limit: str) -> list[str]:
        return [name, f"{seconds * 1e3:.2f} ms", f"{seconds / whole:.0%}", limit]

    rows = [
        *(row(OF_IT * each.is_part + each.name, spent[each.name], each.limit) for each in STAGES),
        row(REST, rest, "Python, and writing the Byzantine messages"),
        row(f"beside it, every {size.every} steps: {MEASURES.name}",
            clock.typical(MEASURES.name), MEASURES.limit),
    ]  # fmt: skip
    return table(["part", f"of {whole * 1e3:.1f} ms", "share", "near the limit of"], rows)


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


def stages(size: Size, conditions: Sequence[Condition]) -> str:
    """Break a step of every model down under every condition."""
    warnings.filterwarnings("ignore")
    register(size.task)
    return "\n\n".join(
        f"{model.upper()}. {under_each(conditions, partial(breakdown, model, size))}"
        for model in size.models
    )


def report(size: Size = Size(), conditions: Sequence[Condition] = ALL) -> str:
    return f"{stages(size, conditions)}\n\n{growth(size.cases)}"


def main(arguments: Sequence[str] | None = None, task: Task = FULL) -> None:
    parser = argparse.ArgumentParser(description="Print where a training step's time goes.")
    parser.add_argument("models", nargs="*", metavar="model", help=", ".join(MODELS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", action="store_true", help="beside a busy process on each core")
    parser.add_argument("--steps", type=int, default=Size.steps)
    asked = parser.parse_args(arguments)
    for model in asked.models:
        if model not in MODELS:
            parser.error(f"{model!r} is no model; accepted: {', '.join(MODELS)}")
    size = Size(tuple(asked.models or MODELS), task, steps=asked.steps)
    print(stages(size, [Condition(threads, asked.busy) for threads in asked.threads]))


if __name__ == "__main__":
    main()
