"""The training engine against what people use today; every ratio from one run, in turns.

Needs `pip install -e ".[bench]"` and, without their dependencies, of which one is an old torch,
`pip install --no-deps byzfl byzpy`. Peers that train run in a process of their own.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import byzfl
import torch
from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
from peers import Elsewhere, OpacusWorker, byzfl_attack, byzfl_step, flat, pipeline
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
from privrobust.data import get_dataset
from privrobust.gradients import gradient_sum
from privrobust.losses import LOSSES
from privrobust.memory import keep_freed_memory
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
    way = gradient_sum(module, split.inputs[:3], Flat(), LOSSES["cross_entropy"])
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


def milliseconds(times: list[float]) -> str:
    return f"{median(times) * 1e3:.1f} ms"


def report() -> str:
    warnings.filterwarnings("ignore")
    keep_freed_memory()  # before the plain passes are timed, so that they have it too
    register()
    clipped = [  # first: memory that larger work leaves scattered slows small work
        clipped_gradients("mlp", 60, "at most 1.4"),
        clipped_gradients("cnn", 15, "at most 1.6"),
    ]
    rows = [
        *training_steps("mlp", "fc_mnist", 11, ("15", "4")),
        *training_steps("cnn", "cnn_mnist", 5, ("6", "")),
        *clipped,
        *medians(11),
    ]
    header = ["work", "against", "ours", "theirs", "ratio of medians (middle half)", "aim"]
    return table(header, rows)


if __name__ == "__main__":
    print(report())
