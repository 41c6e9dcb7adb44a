"""The training engine against what people use today; every ratio from one run, in turns.

Peers that train run in a process of their own, on as many threads.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import byzfl
import torch
from byzpy_calls import byzpy_call
from conditions import ALL, Condition, under_each
from elsewhere import Elsewhere, Opens
from peers import OpacusWorker, byzfl_attack, byzfl_step, flat, pipeline
from tasks import CLIP_NORM, FULL, LEARNING_RATE, MODELS, NOISE_SCALE, Task, images, register, spec
from timing import in_turns, median, ratio, step_time, table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from privrobust import RunSpec
from privrobust.aggregators import Median
from privrobust.core.allocator import keep_freed_memory
from privrobust.core.threads import one_layer_of_threads
from privrobust.data import get_dataset
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.training.loop import train_lanes


class Plan(NamedTuple):
    """How a model is timed."""

    peer: str
    """ByzFL's name of it."""
    step_rounds: int
    gradient_rounds: int
    aims: tuple[str, str, str]
    """Against opacus and ByzFL, against ByzFL alone, and of the plain pass."""


PLANS = {
    "mlp": Plan("fc_mnist", 11, 30, ("15", "5", "at most 1.2")),
    "cnn": Plan("cnn_mnist", 5, 5, ("8", "2.5", "at most 1.2")),
}
MEDIAN_ROUNDS, MEDIAN_AIM = 11, "40"
SPINNING = 0.05
"""Seconds in which torch's threads have gone to sleep."""


@dataclass(frozen=True)
class Size:
    """How much is timed."""

    models: tuple[str, ...] = tuple(PLANS)
    task: Task = FULL
    steps: int = 20  # of ours in a round, as a run; its start and end are not counted
    peer_steps: int = 5  # of each peer in a round
    coordinates: int = 1_000_000  # of a median
    most_rounds: int = 60  # of any case


def our_step(run: RunSpec) -> Callable[[], float]:
    """Return what trains the run and returns the seconds of its median step."""

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


def repeated(case: Callable[[], object], calls: int = 4) -> Callable[[], float]:
    """Return what takes the median of calls in a row, as in training, after one to warm up.

    Torch's team of threads waits for more work by spinning, for milliseconds: what
    comes right after an operation of two threads does not have both cores.
    """

    def seconds() -> float:
        time.sleep(SPINNING)
        case()
        return median([taken() for _ in range(calls)])

    def taken() -> float:
        start = time.perf_counter()
        case()
        return time.perf_counter() - start

    return seconds


def opacus_step(model: str, task: Task) -> Callable[[], None]:
    """Opacus workers, ByzFL's ALIE and median."""
    register(task)
    multiplier = NOISE_SCALE * task.batch / CLIP_NORM
    workers = [
        OpacusWorker(MODELS[model](), data, task.batch, CLIP_NORM, multiplier)
        for data in worker_data(task)
    ]
    start, alie = flat(MODELS[model]().parameters()).detach(), byzfl_attack("alie")
    return pipeline(workers, start, alie, task.byzantine, byzfl.Median(), LEARNING_RATE)


def byzfl_alone_step(model: str, task: Task) -> Callable[[], None]:
    register(task)
    return byzfl_step(model, worker_data(task), task.byzantine, task.batch)


def worker_data(task: Task) -> list[TensorDataset]:
    train, honest = get_dataset("images").train, task.honest
    return [
        TensorDataset(train.inputs[worker::honest], train.labels[worker::honest])
        for worker in range(honest)
    ]


def training_steps(model: str, size: Size, elsewhere: Opens) -> list[list[str]]:
    plan, task, count = PLANS[model], size.task, size.peer_steps
    with elsewhere() as peers:
        cases = {
            "ours": our_step(spec(model, task, steps=size.steps, evaluate_every=size.steps)),
            "opacus": lambda: peers.seconds(count, opacus_step, model, task),
            "byzfl": lambda: peers.seconds(count, byzfl_alone_step, plan.peer, task),
        }
        times = by_own_clock(cases, min(plan.step_rounds, size.most_rounds))
    workers = f"{task.honest} honest + {task.byzantine} ALIE"
    what = f"training step, {model.upper()}, {workers}, B = {task.batch}, C = 1, median"
    return [
        [what, against, milliseconds(times["ours"]), milliseconds(times[key]),
         ratio(times[key], times["ours"]), aim]
        for against, key, aim in (
            ("an opacus PrivacyEngine a worker + ByzFL", "opacus", plan.aims[0]),
            ("ByzFL's own step, without privacy", "byzfl", plan.aims[1]),
        )
    ]  # fmt: skip


def clipped_gradients(model: str, size: Size) -> list[str]:
    plan = PLANS[model]
    workers, batch_size = size.task.workers, size.task.batch
    module, split = MODELS[model](), images(workers * batch_size)
    way = gradient_sum(module, Layout(module), split.inputs[:3], Flat(), get_loss("cross_entropy"))
    start = nn.utils.parameters_to_vector(module.parameters()).detach().unsqueeze(0)
    shape = (1, workers, batch_size)
    labels = split.labels.view(shape)
    batch = Batch.of(split.inputs.view(*shape, 1, 28, 28), labels, torch.ones_like(labels).bool())

    def plain() -> None:
        module.zero_grad()
        cross_entropy(module(split.inputs), split.labels, reduction="sum").backward()

    @one_layer_of_threads()  # as in a run
    def ours() -> None:
        way(start, batch, torch.ones(1))

    cases = {"ours": repeated(ours), "plain": repeated(plain)}
    times = by_own_clock(cases, min(plan.gradient_rounds, size.most_rounds))
    return [
        f"clipped gradients of {workers} workers x {batch_size}, {model.upper()}",
        "the plain forward and backward pass of the same examples",
        milliseconds(times["ours"]),
        milliseconds(times["plain"]),
        ratio(times["ours"], times["plain"]) + " of its time",
        plan.aims[2],
    ]


def medians(size: Size) -> list[list[str]]:
    shape = (size.task.workers, size.coordinates)
    messages = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows = list(messages)
    clone = "a clone of the input"
    peers = {
        "torch.median": lambda: messages.median(dim=0),
        "ByzFL": lambda: byzfl.Median()(messages),
        "ByzPy": byzpy_call(
            lambda rule: rule.aggregate(rows), "aggregators.coordinate_wise.CoordinateWiseMedian"
        ),
        clone: lambda: messages.clone(),
    }
    cases = {"ours": lambda: Median()(messages)} | peers
    times = in_turns(
        {name: case for name, case in cases.items() if callable(case)},
        min(MEDIAN_ROUNDS, size.most_rounds),
    )
    ours = times["ours"]

    def compared(name: str, peer: Callable[[], object] | str) -> list[str]:
        if not callable(peer):
            return [peer, "", MEDIAN_AIM]
        theirs = milliseconds(times[name])
        if name == clone:
            return [theirs, ratio(ours, times[name]) + " of its time", "at most 1.2"]
        return [theirs, ratio(times[name], ours), MEDIAN_AIM]

    what = f"median of {shape[0]} x {shape[1]:,}"
    return [[what, name, milliseconds(ours), *compared(name, peers[name])] for name in peers]


def milliseconds(times: list[float]) -> str:
    return f"{median(times) * 1e3:.1f} ms"


def report(
    size: Size = Size(), elsewhere: Opens = Elsewhere, conditions: Sequence[Condition] = ALL
) -> str:
    warnings.filterwarnings("ignore")
    keep_freed_memory()  # before the plain passes are timed, so that they have it too
    register(size.task)
    return under_each(conditions, partial(compared, size, elsewhere))


def compared(size: Size, elsewhere: Opens) -> str:
    # first: memory that larger work leaves scattered slows small work
    clipped = [clipped_gradients(model, size) for model in size.models]
    steps = [row for model in size.models for row in training_steps(model, size, elsewhere)]
    header = ["work", "against", "ours", "theirs", "ratio of medians (middle half)", "aim"]
    return table(header, [*steps, *clipped, *medians(size)])


if __name__ == "__main__":
    print(report())
