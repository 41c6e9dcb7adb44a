"""What a sweep will take, from a few timed steps of each kind of batch in it."""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from privrobust.noise.backend import compiled_loop
from privrobust.spec import RunSpec
from privrobust.sweeps.packing import batches, lane_shape
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan

_EVERY, _STEPS = 4, 12  # of a timed run: evaluations come at steps 4, 8 and 12


class Estimate(NamedTuple):
    """Of a sweep in one process."""

    seconds: float
    memory: float
    """Bytes: the most that this process, or the graphics card, held while steps were timed."""


def estimate(runs: Sequence[RunSpec]) -> Estimate:
    """Estimate what runs will take: time the largest batch of each kind, and multiply.

    Machines slow down and speed up, and gradients cost less once many of them vanish: right within
    a factor of two more often than not.
    """
    compiled_loop()  # for the first time it takes seconds, which are not a run's
    groups = list(batches(runs))
    largest: dict[object, list[RunSpec]] = {}
    for group in groups:
        kind = lane_shape(group[0])
        largest[kind] = max(largest.get(kind, []), group, key=len)
    costs = {kind: _cost(group) for kind, group in largest.items()}
    seconds = 0.0
    for group in groups:
        kind = lane_shape(group[0])
        seconds += costs[kind] * len(group) / len(largest[kind])
    if torch.cuda.is_available():
        return Estimate(seconds, float(torch.cuda.max_memory_allocated()))
    unit = 1 if sys.platform == "darwin" else 1024
    return Estimate(seconds, float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit))


def _cost(group: Sequence[RunSpec]) -> float:
    """Return the seconds that a batch will take, from a short run of it."""
    short = [
        run.model_copy(update={"steps": _STEPS, "warmup_steps": 0, "evaluate_every": _EVERY})
        for run in group
    ]
    started = time.perf_counter()
    times: list[float] = []
    train_lanes(short, on_step=lambda: times.append(time.perf_counter()))
    if len(times) < _STEPS:  # a budget or a broken bound ended it: that is all there is to time
        return time.perf_counter() - started
    lasted = dict(enumerate((b - a for a, b in pairwise(times)), start=2))  # seconds, by step
    with_evaluation = [seconds for step, seconds in lasted.items() if step % _EVERY == 0]
    without = [seconds for step, seconds in lasted.items() if step % _EVERY]
    step = statistics.median(without)
    evaluation = max(0.0, statistics.median(with_evaluation) - step)
    steps = PrivacyPlan(group[0]).steps
    evaluations = -(-steps // group[0].evaluate_every)
    return times[0] - started + steps * step + evaluations * evaluation
