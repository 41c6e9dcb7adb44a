"""Comparators that sort, or find some ranks: the same for every coordinate, without a branch.

A sorting network compares fixed pairs of workers, so every comparison is one minimum and maximum of
vectors. Batcher's merge exchange (Knuth, TAOCP vol. 3, 5.2.2, Algorithm M) sorts any n. Of it, a
mean over ranks needs little: which values are below, within and above those ranks, in no order.
Comparators within one of the three are dropped, and of the others the half that nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple


class Comparator(NamedTuple):
    """Leaves the smaller value on wire `low` and the larger on `high`, where they are read."""

    low: int
    high: int
    keeps_low: bool
    keeps_high: bool


@lru_cache(maxsize=256)
def selecting(n: int, low: int, high: int) -> tuple[Comparator, ...]:
    """Return the comparators that decide which values have the ranks `low` to `high - 1`."""
    below, within, above, exact = range(4)
    roles = [below] * low + [within] * (high - low) + [above] * (n - high)
    kept = []
    for i, j in reversed(list(_merge_exchange(n))):
        if roles[i] == roles[j] != exact:
            continue  # either order leaves the same values in that part
        read = (within, exact)
        kept.append(Comparator(i, j, roles[i] in read, roles[j] in read))
        roles[i] = roles[j] = exact
    return tuple(reversed(kept))


@lru_cache(maxsize=256)
def sorting(n: int) -> tuple[Comparator, ...]:
    """Return the comparators that sort."""
    return tuple(Comparator(i, j, True, True) for i, j in _merge_exchange(n))


def _merge_exchange(n: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators of Batcher's network for n inputs, in order: Knuth's Algorithm M."""
    if n < 2:
        return
    top = 1 << ((n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            d, q, r = q - p, q >> 1, p
        p >>= 1
