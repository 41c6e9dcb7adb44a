"""Which runs share lanes: what they must have in common to train side by side, and how many do.

Batches depend on the runs of a sweep, and on how many are to train at once only where there would
be too few. They are kept whole, so that a sweep that was interrupted, or spread, does the same
arithmetic; where a batch has runs of an earlier sweep it is smaller, which may change last bits.
"""

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter

from privrobust.data import get_dataset
from privrobust.gradients.calls import activations, side_by_side
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.training.held_out import divides_validation
from privrobust.training.privacy_plan import PrivacyPlan

_shared = attrgetter(*(name for name in named(lambda field: not field.per_lane) if name != "steps"))


def lane_shape(spec: RunSpec) -> tuple[object, ...]:
    """Return what runs must share to train side by side in `train_lanes`.

    Those are all fields but the ones whose `Meaning` says that lanes may differ in them; of steps,
    those that the run will take; and the examples that they are evaluated on.
    """
    return *_shared(spec), PrivacyPlan(spec).steps, divides_validation(spec)


# Runs trained side by side: enough that the tensors outweigh Python, and few enough that a step
# makes do with memory that the process already has (benchmarks/lanes.py measures both).
LANES = 64
_NUMBERS = 1 << 23  # of a tensor: 32 MiB


def batches(runs: Sequence[RunSpec], at_once: int = 1) -> Iterator[list[RunSpec]]:
    """Yield runs that can train side by side, seed by seed: lanes of one seed share their noise.

    Args:
        runs: of a sweep.
        at_once: how many batches will train at a time; none is so large that others have nothing.

    """
    most = -(-len(runs) // at_once)
    by_shape: dict[tuple[object, ...], list[RunSpec]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.repetition)):
        by_shape.setdefault(lane_shape(run), []).append(run)
    for shape in sorted(by_shape, key=repr):
        alike = by_shape[shape]
        lanes = min(most, lanes_like(max(alike, key=lambda run: run.workers)))
        for start in range(0, len(alike), lanes):
            yield alike[start : start + lanes]


def lanes_like(run: RunSpec) -> int:
    """Return how many lanes like this run train side by side: what `_NUMBERS` allows, or one."""
    dataset = get_dataset(run.dataset, run.data_dir)
    model, parameters = initial_parameters(run.model, dataset, seeds=(0,))
    example = dataset.train.examples(slice(1))
    messages = run.workers * parameters.numel()
    expected = run.honest * math.ceil(run.batch_size)
    if run.sampling_rate is not None:
        expected = math.ceil(run.sampling_rate * len(dataset.train))
    examples = 2 * expected  # a Poisson batch may be twice as large
    held = dataset.shape.numel()
    if side_by_side(model, Layout(model), example):
        held = max(held, activations(model, example))
    of_lane = max(messages, examples * held)
    return max(1, min(LANES, _NUMBERS // of_lane))
