"""The training engine against what people use today; every ratio from one run, in turns.

Needs `pip install -e ".[bench]"` and, without their dependencies, of which one is an old torch,
`pip install --no-deps byzfl byzpy`. Peers that train run in a process of their own.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import byzfl
import torch
from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
from peers import Elsewhere, OpacusWorker, byzfl_attack, byzfl_step, flat, pipeline
from rich.console import Console
from tasks import (
    BATCH,
    BYZANTINE,
    CLIP_NORM,
    HONEST,
    LEARNING_RATE,
    MODELS,
    NOISE_SCALE,
    images,
    register,
    spec,
)
from timing import in_turns, median, ratio, step_time, table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from privrobust import RunSpec
from privrobust.aggregators import Median
from privrobust.clipping import Batch, Flat
from privrobust.data import get_dataset, partition
from privrobust.gradients import gradient_sum
from privrobust.grid import load_runs
from privrobust.memory import keep_freed_memory
from privrobust.store import Store
from privrobust.sweep import LANES, run_sweep
from privrobust.training import train_lanes

STEPS = 20  # of ours in a round, as a run; its start and end are not counted
QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"


def our_step(run: RunSpec) -> Callable[[], float]:
    """Takes a run of `STEPS` steps; returns the seconds of its median step."""

    def steps() -> float:
        ends: list[float] = []
        train_lanes([run], on_step=lambda: ends.append(time.perf_counter()))
        return step_time(ends)

    return steps


def by_own_clock(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """As `in_turns`, of cases that say themselves how long they took."""
    for case in cases.values():
        case()
    taken = [{name: case() for name, case in cases.items()} for _ in range(rounds)]
    return {name: [times[name] for times in taken] for name in cases}


def opacus_step(model: str) -> Callable[[], None]:
    """12 opacus workers, ByzFL's ALIE and median."""
    register()
    workers = [
        OpacusWorker(MODELS[model](), data, BATCH, CLIP_NORM, NOISE_SCALE * BATCH / CLIP_NORM)
        for data in worker_data()
    ]
    start = flat(MODELS[model]().parameters()).detach()
    return pipeline(workers, start, byzfl_attack("alie"), BYZANTINE, byzfl.Median(), LEARNING_RATE)


def byzfl_alone_step(model: str) -> Callable[[], None]:
    register()
    return byzfl_step(model, worker_data(), BYZANTINE, BATCH)


def worker_data() -> list[TensorDataset]:
    train = get_dataset("images").train
    return [
        TensorDataset(train.inputs[worker::HONEST], train.labels[worker::HONEST])
        for worker in range(HONEST)
    ]


def training_steps(model: str, peer: str, rounds: int, targets: tuple[str, str]) -> list[list[str]]:
    elsewhere = Elsewhere()
    cases = {
        "ours": our_step(spec(model, steps=STEPS, evaluate_every=STEPS)),
        "opacus": lambda: elsewhere.seconds(5, opacus_step, model),
        "byzfl": lambda: elsewhere.seconds(5, byzfl_alone_step, peer),
    }
    times = by_own_clock(cases, rounds)
    what = f"training step, {model.upper()}, 12 honest + 3 ALIE, B = 32, C = 1, median"
    return [
        [what, against, milliseconds(times["ours"]), milliseconds(times[key]),
         ratio(times[key], times["ours"]), target]
        for against, key, target in (
            ("an opacus PrivacyEngine a worker + ByzFL", "opacus", targets[0]),
            ("ByzFL's own step, without privacy", "byzfl", targets[1]),
        )
    ]  # fmt: skip


def clipped_gradients(model: str, rounds: int, target: str) -> list[str]:
    module, split, workers = MODELS[model](), images(480), 15
    way = gradient_sum(module, split.inputs[:3], Flat())
    start = nn.utils.parameters_to_vector(module.parameters()).detach().unsqueeze(0)
    shape = (1, workers, BATCH)
    labels = split.labels.view(shape)
    batch = Batch(split.inputs.view(*shape, 1, 28, 28), labels, torch.ones_like(labels).bool())

    def plain() -> None:
        module.zero_grad()
        cross_entropy(module(split.inputs), split.labels, reduction="sum").backward()

    ours = partial(way, start, batch, torch.ones(1))
    times = in_turns({"ours": ours, "plain": plain}, rounds)
    return [
        f"clipped gradients of 15 workers x 32, {model.upper()}",
        "the plain forward and backward pass of the same examples",
        milliseconds(times["ours"]),
        milliseconds(times["plain"]),
        ratio(times["ours"], times["plain"]) + " of its time",
        target,
    ]


def medians(rounds: int) -> list[list[str]]:
    messages = torch.randn(15, 1_000_000, generator=torch.Generator().manual_seed(0))
    rows = list(messages)
    byzpy = CoordinateWiseMedian()
    peers = {
        "torch.median": lambda: messages.median(dim=0),
        "ByzFL": lambda: byzfl.Median()(messages),
        "ByzPy": lambda: byzpy.aggregate(rows),
        "a clone of the input": lambda: messages.clone(),
    }
    times = in_turns({"ours": lambda: Median()(messages)} | peers, rounds)
    ours = times["ours"]
    return [
        ["median of 15 x 1,000,000", name, milliseconds(ours), milliseconds(times[name]),
         ratio(ours, times[name]) + " of its time" if "clone" in name else ratio(times[name], ours),
         "at most 1.2" if "clone" in name else "6"]
        for name in peers
    ]  # fmt: skip


def sweep_of_digits(rounds: int) -> list[str]:
    def run(seed: int) -> RunSpec:
        return RunSpec(
            seed=seed // 4, byzantine=2, attack="sign_flip", clip_norm=1.0, noise_scale=0.1,
            learning_rate=0.1 * (1 + seed % 4), device="cpu",
        )  # fmt: skip

    runs, sample = [run(seed) for seed in range(256)], 16

    def side_by_side() -> None:
        for start in range(0, len(runs), LANES):
            train_lanes(runs[start : start + LANES])

    def one_by_one() -> None:
        for alone in runs[:: len(runs) // sample]:
            train_lanes([alone])

    times = in_turns({"lanes": side_by_side, "alone": one_by_one}, rounds)
    alone = [seconds * len(runs) / sample for seconds in times["alone"]]
    return [
        "256 digits runs, lanes on", f"the same one by one ({sample} of them, scaled)",
        f"{median(times['lanes']):.1f} s", f"{median(alone):.1f} s",
        ratio(alone, times["lanes"]), "4",
    ]  # fmt: skip


def quickstart() -> list[str]:
    """All runs in our engine once; the pipeline's from the median of ten steps of each kind."""
    runs = load_runs(QUICKSTART)
    train_lanes(runs[:1])  # imports are not counted, as they are not for the pipeline
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "results.db") as store:
        start = time.perf_counter()
        run_sweep(runs, store, Console(quiet=True))
        ours = time.perf_counter() - start
    kinds: dict[tuple[object, ...], list[RunSpec]] = {}
    for run in runs:
        kind = (run.aggregator, run.byzantine, run.attack and run.attack.name)
        kinds.setdefault(kind, []).append(run)
    elsewhere = Elsewhere()
    theirs = sum(
        elsewhere.seconds(10, quickstart_pipeline, alike[0]) * sum(run.steps for run in alike)
        for alike in kinds.values()
    )
    return [
        f"the quickstart, {len(runs)} runs", f"opacus + ByzFL ({len(kinds)} kinds of run, scaled)",
        f"{ours:.0f} s", f"{theirs:.0f} s", f"{theirs / ours:.0f}", "50",
    ]  # fmt: skip


def quickstart_pipeline(run: RunSpec) -> Callable[[], None]:
    """Its training steps alone: neither evaluations nor accounting are charged to the pipeline."""
    train = get_dataset("digits").train
    dealt = partition(train.labels, run.honest, run.heterogeneity, run.seed)
    workers = [
        OpacusWorker(
            nn.Linear(64, 10),
            TensorDataset(train.inputs[mine], train.labels[mine]),
            BATCH,
            1.0,
            1.0,
        )
        for mine in dealt
    ]
    aggregate = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "majority_vote": lambda messages: messages.sign().sum(0).sign(),
    }[run.aggregator]
    attack = byzfl_attack(run.attack.name) if run.attack else None
    start = flat(nn.Linear(64, 10).parameters()).detach()
    return pipeline(workers, start, attack, run.byzantine, aggregate, run.learning_rate)


def milliseconds(times: list[float]) -> str:
    return f"{median(times) * 1e3:.1f} ms"


def report() -> str:
    warnings.filterwarnings("ignore")
    keep_freed_memory()  # before the plain passes are timed, so that they have it too
    register()
    rows = [
        *training_steps("mlp", "fc_mnist", 15, ("15", "4")),
        *training_steps("cnn", "cnn_mnist", 5, ("6", "")),
        clipped_gradients("mlp", 60, "at most 1.4"),
        clipped_gradients("cnn", 15, "at most 1.6"),
        *medians(11),
        sweep_of_digits(3),
        quickstart(),
    ]
    header = ["work", "against", "ours", "theirs", "ratio of medians (middle half)", "aim"]
    return table(header, rows)


if __name__ == "__main__":
    print(report())
