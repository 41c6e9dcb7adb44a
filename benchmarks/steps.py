"""Where a training step's time goes, and how time and memory grow with workers, size and lanes."""

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tasks import images, mlp, register, spec
from timing import median, step_time, table

from privrobust import backward, training
from privrobust.aggregators import Median
from privrobust.attacks import ALIE
from privrobust.data import Dataset, register_dataset
from privrobust.honest import Clipping, Perturbation
from privrobust.models import register_model
from privrobust.training import train_lanes

STEPS = 40
EVERY = 10
LIMITS = {
    "sample": "memory: it copies the batches' inputs",
    "forward and backward": "the plain pass to the layers' outputs",
    "clip and sum": "memory and matrix products: it writes a vector a worker",
    "noise": "torch's generator: one number after the other on each thread",
    "attack": "memory: two passes over the honest messages",
    "aggregate": "the processor's minimum and maximum on cached blocks",
    "update and the rest": "Python, and joining Byzantine messages to the honest",
    "measures": "memory: a median of the honest messages, every 10th step, beside the step",
}


class Clock:
    """Seconds spent inside calls, a list of them by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.spent.setdefault(name, []).append(time.perf_counter() - start)

        return timed

    def along(self, name: str, make: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Of every item that the iterators made yield."""

        def timed(*arguments: Any) -> Iterator[Any]:
            advance = self.around(name, partial(next, make(*arguments), None))
            while (item := advance()) is not None:
                yield item

        return timed


def breakdown(model: str) -> str:
    """Median milliseconds and share of each part of a step of one run."""
    clock = Clock()
    ends: list[float] = []
    places = {
        "forward and backward": (backward.Direct, "__call__"),
        "clip": (Clipping, "__call__"),
        "noise": (Perturbation, "__call__"),
        "attack": (ALIE, "__call__"),
        "aggregate": (Median, "__call__"),
    }
    with ExitStack() as patches:
        for name, (owner, method) in places.items():
            timed = clock.around(name, getattr(owner, method))
            patches.enter_context(patch.object(owner, method, timed))
        batches = clock.along("sample", training.honest_batches)
        patches.enter_context(patch.object(training, "honest_batches", batches))
        measure = clock.around("measures", training.measure)
        patches.enter_context(patch.object(training, "measure", measure))
        train_lanes(
            [spec(model, steps=STEPS, evaluate_every=EVERY)],
            on_step=lambda: ends.append(time.perf_counter()),
        )
    whole = step_time(ends)
    parts = {name: median(clock.spent[name][1:]) for name in ("sample", *places)}
    parts["clip and sum"] = parts.pop("clip") - parts["forward and backward"]
    parts["update and the rest"] = whole - sum(parts.values())
    parts["measures"] = median(clock.spent["measures"]) / EVERY
    rows = [
        [name, f"{parts[name] * 1e3:.2f} ms", f"{parts[name] / whole:.0%}", limit]
        for name, limit in LIMITS.items()
    ]
    header = ["part", f"of {whole * 1e3:.1f} ms", "share", "near the limit of"]
    return table(header, rows)


def cost(workers: int, hidden: int, lanes: int, model: str = "") -> tuple[float, float]:
    """Seconds of a median step, and peak memory in GB of a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_cost, workers, hidden, lanes, model).result()


def _cost(workers: int, hidden: int, lanes: int, model: str) -> tuple[float, float]:
    warnings.filterwarnings("ignore")
    register()
    if not model:
        register_model("bench_wide", partial(mlp, hidden=hidden))
    byzantine = workers // 5
    honest = workers - byzantine
    register_dataset(Dataset("images", images(200 * honest), images(100), images(100), 10))
    common = {"honest": honest, "byzantine": byzantine, "steps": 8, "evaluate_every": 8}
    runs = [spec(model or "wide", seed=seed, **common) for seed in range(lanes)]
    ends: list[float] = []
    train_lanes(runs, on_step=lambda: ends.append(time.perf_counter()))
    return step_time(ends), peak_memory()


def peak_memory() -> float:
    """Of this process alone, in GB; what getrusage tells is also that of the process it is from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 2**20


def growth() -> str:
    """One of workers, parameters and lanes at a time, from 15 workers and 79,510 parameters."""
    cases = [
        *[("workers", n, 100, 1) for n in (5, 15, 50, 100)],
        *[("parameters", 15, hidden, 1) for hidden in (13, 100, 1258, 12_578)],
        *[("lanes", 15, 100, lanes) for lanes in (1, 4, 8, 16)],
    ]
    rows = []
    for name, workers, hidden, lanes in cases:
        parameters = 795 * hidden + 10
        step, memory = cost(workers, hidden, lanes)
        numbers = workers * parameters * lanes
        rows.append(
            [name, str(workers), f"{parameters:,}", str(lanes), f"{step * 1e3:.1f} ms",
             f"{step / numbers * 1e9:.1f} ns", f"{memory:.2f} GB"]
        )  # fmt: skip
    step, memory = cost(15, 0, 1, "cnn")
    rows.append(["the CNN", "15", "431,080", "1", f"{step * 1e3:.1f} ms", "", f"{memory:.2f} GB"])
    header = ["grows", "workers", "parameters", "lanes", "step", "a number sent", "peak memory"]
    return table(header, rows)


def report() -> str:
    warnings.filterwarnings("ignore")
    register()
    parts = [f"MLP:\n\n{breakdown('mlp')}", f"CNN:\n\n{breakdown('cnn')}", growth()]
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(report())
