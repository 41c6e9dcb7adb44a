"""Batches: which examples join a step, by streams that a seed alone decides.

Every run owns streams derived from its seed alone, so that a run draws the same numbers alone or
beside others. Runs of equal seed and shape draw equal batches and equal noise whatever their b,
aggregator or attack: common random numbers, which make their comparison sharper. Batches, like
noise, are made of `privrobust.noise.streams`, on whatever device training is.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from privrobust.accountants.sampling import IN_EPOCHS, Sampling, steps_per_epoch
from privrobust.noise.streams import Words, derived_keys, first_words, happen

Joins = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

# Pads are multiples of this: kernels add in blocks, and what is left over in another order. So sums
# round alike however long the padding is, and a run gives the same bits beside runs that draw
# larger batches.
_PAD = 8

# Words that are drawn at a time, for as many steps as they last: a call has its own cost.
_DRAWS = 1 << 20


def draw_batches(
    sizes: Sequence[Sequence[int]],
    batch_size: float,
    steps: int,
    seeds: Sequence[int],
    purpose: str,
    sampling: Sampling = "poisson",
    sampling_rate: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw batches of all workers of every run, a step at a time.

    Worker i of a run holds examples `0 .. sizes[run][i]-1`. Word j of the worker's key in a step,
    or in an epoch of schemes that have them, is for example j. It joins

    - "poisson": with probability `sampling_rate`, or `batch_size / sizes[run][i]` if there is none;
    - "fixed": if its word is among the `batch_size` least;
    - "shuffled": in the order of words, `batch_size` a step;
    - "balls_in_bins": in the step of the epoch that its word falls into.

    Args:
        sizes: of every run's workers.
        batch_size: B.
        steps: how many, from 1.
        seeds: of the runs.
        purpose: of the streams.
        sampling: the scheme.
        sampling_rate: q of Poisson sampling, where it does not follow from the sizes.

    Yields:
        `slots`, shape `(runs, workers, pad)`: which of its examples each worker draws, padded
        with 0; `present`, the same shape: False where padded. A batch may be empty.

    """
    most = max(map(max, sizes))
    epochs = [
        _Epochs(held, batch_size, seed, purpose, sampling)
        for held, seed in zip(sizes, seeds, strict=True)
        if sampling in IN_EPOCHS
    ]
    at_once = max(1, _DRAWS // (len(sizes) * len(sizes[0]) * most))
    for first in range(1, steps + 1, at_once):
        taken = range(first, min(first + at_once, steps + 1))
        drawn = np.zeros((len(taken), len(sizes), len(sizes[0]), most), np.bool_)
        for run, (held, seed) in enumerate(zip(sizes, seeds, strict=True)):
            if epochs:
                epochs[run].draw(drawn[:, run], taken)
                continue
            of_steps = np.concatenate(
                [derived_keys(seed, purpose, step, len(held)) for step in taken]
            )
            words = first_words(of_steps, max(held)).reshape(len(taken), len(held), -1)
            for worker, size in enumerate(held):
                of_worker, joins = words[:, worker, :size], drawn[:, run, worker, :size]
                if sampling == "fixed":
                    for step, one in enumerate(of_worker):
                        key = of_steps[step * len(held) + worker]
                        joins[step] = _least(one, key, int(batch_size))
                else:
                    rate = batch_size / size if sampling_rate is None else sampling_rate
                    joins[:] = happen(of_worker, rate)
        yield from _pack(torch.from_numpy(drawn))


class _Epochs:
    """Which steps the examples of one run's workers join, who each have epochs of their own."""

    def __init__(
        self, held: Sequence[int], batch_size: float, seed: int, purpose: str, sampling: Sampling
    ) -> None:
        self._held, self._batch_size = held, batch_size
        self._bins = _dealt if sampling == "shuffled" else _thrown
        self._keys = lru_cache(maxsize=16)(
            lambda epoch: derived_keys(seed, purpose, epoch, len(held))
        )
        self._last: dict[int, tuple[int, Places]] = {}
        """Of each worker, an epoch and its bins: steps are drawn some at a time."""

    def draw(self, drawn: Joins, steps: range) -> None:
        """Set who joins these steps, `(steps, workers, examples)`; epochs count from 1."""
        for worker, size in enumerate(self._held):
            length = steps_per_epoch(self._batch_size, size)
            for before in range((steps.start - 1) // length, (steps.stop - 2) // length + 1):
                bins = self._bins_of(worker, before + 1, length)
                at = before * length + 1 - steps.start + bins
                is_drawn = (at >= 0) & (at < len(steps))
                drawn[at[is_drawn], worker, np.flatnonzero(is_drawn)] = True

    def _bins_of(self, worker: int, epoch: int, length: int) -> Places:
        if worker not in self._last or self._last[worker][0] != epoch:
            key = self._keys(epoch)[worker : worker + 1]
            words = first_words(key, self._held[worker])[0]
            self._last[worker] = epoch, self._bins(words, length, int(self._batch_size))
        return self._last[worker][1]


def _dealt(words: Words, length: int, batch_size: int) -> Places:
    """Return each example's step of an epoch: in the order of words, so many a step."""
    places = np.empty(len(words), np.int64)
    places[np.argsort(words, kind="stable")] = np.arange(len(words))
    return places // batch_size


def _thrown(words: Words, length: int, batch_size: int) -> Places:
    """Return each example's step of an epoch, any alike: its word as a share of all, rounded down.

    A step's chance differs from 1 / length by 2^-64 at most, so that odds are off by e^(T 2^-64).
    """
    high, low = words >> np.uint64(32), words & np.uint64(2**32 - 1)
    many = np.uint64(length)
    return ((high * many + (low * many >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)


def _least(words: Words, key: npt.NDArray[np.uint8], count: int) -> Joins:
    """Return which words are the so many least; where that is a tie, later words of the key decide.

    So each set of examples is exactly as likely as any other.
    """
    size = len(words)
    for later in range(2, 100):
        order = np.argsort(words, kind="stable")
        if count == size or words[order[count - 1]] < words[order[count]]:
            break
        words = first_words(key[None], later * size)[0, -size:]
    joins = np.zeros(size, np.bool_)
    joins[order[:count]] = True
    return joins


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
