"""Noise that every pair of workers shares with opposite signs, beside each one's own, on the grid.

All n workers' noise of one coordinate is drawn together, from one standard normal z_i each:

    N_i = own z_i + common sum over j of z_j,  own = s sqrt(1 + n r^2),  common = (s - own) / n.

Its covariance is s^2 (I + r^2 (n I - 1 1^T)): jointly, messages are those of workers that each draw
noise of scale s, and of scale r s with every other one (`privrobust.accountants.correlated` says
what that hides), at n draws a coordinate in place of n (n + 1) / 2.

The sum N_i is rounded to the grid once, exactly, as `exact` rounds single draws: so a message is
the rounding of a real-valued one, which tells no more. Floating-point numbers tell how far off they
may be, and the few that are too close to a half are settled in whole numbers. Rounded messages
cancel in the mean but for half a step of the grid each, 2^-13 of a contribution at most, and for
what float32 rounds of each.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from privrobust.core.numbers import shown
from privrobust.errors import SpecError
from privrobust.noise import exact, tensors
from privrobust.noise.addition import on_grid, settled, words_of
from privrobust.noise.grid import LARGEST_SCALE, Grid
from privrobust.noise.streams import Keys

# More bits of a draw, at a time, where a sum is to be settled.
_BITS = 64


class Mixture(NamedTuple):
    """What a worker's noise takes of the draws of all, in steps of the grid."""

    own: float
    """Times its own draw."""
    common: float
    """Times the sum of all draws."""
    workers: int
    """n, whose draws there are."""


def mixture(scale: float, pairwise_noise: float, workers: int) -> Mixture:
    """Return what gives noise of that scale and ratio, or a last bit more of both.

    Args:
        scale: s, of each worker's own noise, in steps of the grid.
        pairwise_noise: r, of the noise of pairs over s.
        workers: n, whose pairs are complete.

    Raises:
        SpecError: no grid in 64-bit numbers is fine enough for so much noise.

    """
    own = scale * math.hypot(1.0, math.sqrt(workers) * pairwise_noise) * (1 + 2.0**-50)
    if not own <= LARGEST_SCALE:
        raise SpecError(
            f"pairwise_noise: {shown(pairwise_noise)} among {workers} workers is too large for a "
            f"grid on which b is {scale:.3g} steps; accepted: at most "
            f"{LARGEST_SCALE / scale / math.sqrt(workers):.3g}"
        )
    # what is left of all together is a small difference: rounded up by what it may be off by
    return Mixture(own, (scale + own * 2.0**-49 - own) / workers, workers)


def add_correlated(
    values: Tensor, start: int, words: Tensor, keys: Keys, on: Grid, mixed: Mixture
) -> Tensor:
    """Return the values of some workers with their noise, in float32.

    Args:
        values: float64 `(rows, dim)`, finite, of the workers from `start` on.
        start: the first of them among all n.
        words: int64 `(n, dim or one more)`, an even number a worker, uniform.
        keys: `(n, 16)`, for the digits that a few numbers need beyond those.
        on: the grid; its scale is that of each one's own noise.
        mixed: how the draws are mixed.

    """
    dim = values.shape[-1]
    here = slice(start, start + len(values))
    z, radius, short = tensors.standard_normal(words.unflatten(-1, (-1, 2)))
    noise = mixed.own * z[here] + mixed.common * z.sum(0)
    share = abs(mixed.common)
    size = mixed.own * radius[here] + share * radius.sum(0)
    size *= 1 + (mixed.workers + 4) / 128  # sums of n numbers may be off by (n + 4) 2^-53
    drawn, doubt = tensors.rounded(noise, size, mixed.own + mixed.workers * share, short.any(0))
    steps = values.new_tensor(on.step)
    drawn, doubt = (each.flatten(-2)[:, :dim] for each in (drawn, doubt))
    sums, doubtful = on_grid(values, drawn, doubt, steps)
    for row, place in doubtful:
        block = place // 2
        of_block = words[:, 2 * block : 2 * block + 2].cpu().numpy().view(np.uint64).tolist()
        more = [
            partial(words_of, key.tobytes(), block, drawn=known)
            for key, known in zip(keys, of_block, strict=True)
        ]
        whole = exactly(start + row, place % 2, mixed, more)
        sums[row, place] = settled(float(values[row, place]), on.step, whole)
    return sums.float()


def exactly(worker: int, coordinate: int, mixed: Mixture, more: Sequence[exact.More]) -> int:
    """Return what a worker's noise rounds to, of every worker's words: coordinate 0 or 1."""
    own, common = Fraction(mixed.own), Fraction(mixed.common)
    off = (own + len(more) * abs(common)) / 2  # of draws that are rounded
    bits = 0
    while True:
        bits += _BITS
        draws = [exact.gaussian(coordinate, 2.0**bits, each) for each in more]
        noise = own * draws[worker] + common * sum(draws)
        low, high = (math.floor((noise + by) / (1 << bits) + Fraction(1, 2)) for by in (-off, off))
        if low == high:
            return low
