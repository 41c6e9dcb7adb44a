"""Poisson batches: which examples join, by streams that a seed alone decides.

Every run owns streams derived from its seed alone, so that a run draws the same numbers alone or
beside others. Runs of equal seed and shape draw equal batches and equal noise whatever their b,
aggregator or attack: common random numbers, which make their comparison sharper. Batches, like
noise, are made of `privrobust.noise.streams`, on whatever device training is.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from privrobust.noise.streams import derived_keys, first_words, happen

# Pads are multiples of this: kernels add in blocks, and what is left over in another order. So sums
# round alike however long the padding is, and a run gives the same bits beside runs that draw
# larger batches.
_PAD = 8

# Words that are drawn at a time, for as many steps as they last: a call has its own cost.
_DRAWS = 1 << 20


def poisson_batches(
    sizes: Sequence[Sequence[int]],
    batch_size: float,
    steps: int,
    seeds: Sequence[int],
    purpose: str,
    sampling_rate: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw Poisson batches of all workers of every run, a step at a time.

    Worker i of a run holds examples `0 .. sizes[run][i]-1`; each joins its batch independently with
    probability `sampling_rate`, or `batch_size / sizes[run][i]` if there is none, by a word of its
    own: word j of the worker's key in that step is for example j.

    Args:
        sizes: of every run's workers.
        batch_size: B.
        steps: how many, from 1.
        seeds: of the runs.
        purpose: of the streams.
        sampling_rate: q, where it does not follow from the sizes.

    Yields:
        `slots`, shape `(runs, workers, pad)`: which of its examples each worker draws, padded
        with 0; `present`, the same shape: False where padded. A batch may be empty.

    """
    most = max(map(max, sizes))
    at_once = max(1, _DRAWS // (len(sizes) * len(sizes[0]) * most))
    for first in range(1, steps + 1, at_once):
        taken = range(first, min(first + at_once, steps + 1))
        drawn = np.zeros((len(taken), len(sizes), len(sizes[0]), most), np.bool_)
        for run, (held, seed) in enumerate(zip(sizes, seeds, strict=True)):
            keys = np.concatenate([derived_keys(seed, purpose, step, len(held)) for step in taken])
            words = first_words(keys, max(held)).reshape(len(taken), len(held), -1)
            for worker, size in enumerate(held):
                rate = batch_size / size if sampling_rate is None else sampling_rate
                drawn[:, run, worker, :size] = happen(words[:, worker, :size], rate)
        yield from _pack(torch.from_numpy(drawn))


def _pack(drawn: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Turn boolean `(steps, streams, workers, examples)` into padded places and masks, by step."""
    counts = drawn.sum(-1)
    widths = [
        _PAD * math.ceil(most / _PAD) for most in counts.flatten(1).amax(-1).clamp(min=1).tolist()
    ]
    present = torch.arange(max(widths), device=drawn.device) < counts.unsqueeze(-1)
    slots = torch.zeros(present.shape, dtype=torch.long, device=drawn.device)
    slots[present] = drawn.nonzero()[:, -1]
    for step, width in enumerate(widths):
        yield slots[step, ..., :width], present[step, ..., :width]
