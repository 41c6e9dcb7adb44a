"""Kernels that order the values of a coordinate: NaN counts as +infinity, wherever it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from privrobust.kernels.coordinates import Kernel, Workers
from privrobust.kernels.networks import Comparator, selecting, sorting

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=256)
def mean_of_ranks(workers: int, dtype: torch.dtype, low: int, high: int) -> Kernel:
    """Compile the average of ranks `low` to `high - 1`, 0 being the smallest."""

    def body(seen: Workers) -> list[Any]:
        return [_mean_of_ranks(seen, seen.values(workers), low, high)]

    return Kernel(body, dtype)


@lru_cache(maxsize=256)
def mean_around_median(workers: int, dtype: torch.dtype, f: int) -> Kernel:
    """Compile the average of the `workers - f` values nearest to the median, as `MeaMed` has it."""

    def body(seen: Workers) -> list[Any]:
        builder, zero = seen.program.builder, seen.program.all_are(0)
        rows = _compared(seen, seen.values(workers), sorting(workers))
        start = _first_of_window(seen, rows, f)
        width = workers - f
        counted = []
        for rank, row in enumerate(rows):
            if rank >= width:
                row = builder.select(_exceeds(seen, start, rank - width), row, zero)
            if rank < f:
                row = builder.select(_exceeds(seen, start, rank), zero, row)
            counted.append(row)
        return [_sum(seen, counted, 1 / width)]

    return Kernel(body, dtype)


@lru_cache(maxsize=256)
def furthest_end(
    workers: int, dtype: torch.dtype, byzantine: int, goal: Literal["distance", "descent"]
) -> Kernel:
    """Compile the end of the honest values that `MedianExtreme` takes."""

    def body(seen: Workers) -> list[Any]:
        builder, double = seen.program.builder, seen.program.doubles
        values = seen.values(workers)
        ends = values[0], values[0]
        for value in values[1:]:
            ends = seen.pair(ends[0], value)[0], seen.pair(ends[1], value)[1]
        whole = [seen.program.as_doubles(value) for value in values]
        middle = _sum(seen, whole, 1 / workers)
        if goal == "descent":
            is_least = builder.fcmp_ordered(">", middle, seen.program.all_are(0, double))
        else:
            n = workers + byzantine
            low, high = (n - 1) // 2, n // 2 + 1
            above, below = (
                seen.program.as_doubles(_mean_of_ranks(seen, values, low - down, high - down))
                for down in (0, byzantine)
            )
            half = seen.program.all_are(0.5, double)
            middle, above, below = (builder.fmul(each, half) for each in (middle, above, below))
            gaps = builder.fsub(middle, below), builder.fsub(above, middle)
            is_least = builder.fcmp_ordered(">", *gaps)
        return [builder.select(is_least, *ends)]

    return Kernel(body, dtype)


def _mean_of_ranks(seen: Workers, values: list[Any], low: int, high: int) -> Any:
    wires = _compared(seen, values, selecting(len(values), low, high))
    return _sum(seen, wires[low:high], 1 / (high - low))


def _compared(seen: Workers, values: list[Any], network: Sequence[Comparator]) -> list[Any]:
    """Run values through comparators; what nobody reads of one LLVM leaves out."""
    wires = list(values)
    for low, high, *_ in network:
        wires[low], wires[high] = seen.pair(wires[low], wires[high])
    return wires


def _sum(seen: Workers, values: list[Any], share: float) -> Any:
    """Add shares of values, in order: the sum of large values may overflow, that of shares not."""
    builder, of_all = seen.program.builder, seen.program.all_are(share, values[0].type)
    total, *others = [builder.fmul(value, of_all) for value in values]
    for other in others:
        total = builder.fadd(total, other)
    return total


def _first_of_window(seen: Workers, rows: list[Any], f: int) -> Any:
    """Return the rank at which the window around the median starts."""
    builder, n = seen.program.builder, len(rows)
    zero, one = seen.program.all_are(0), seen.program.all_are(1)
    half = seen.program.all_are(0.5)
    median = builder.fadd(builder.fmul(rows[(n - 1) // 2], half), builder.fmul(rows[n // 2], half))
    # a quarter of what differs by more than a number may be
    infinity = seen.program.all_are(float("inf"))
    is_vast = builder.fcmp_ordered("==", builder.fsub(rows[-1], rows[0]), infinity)
    share = builder.select(is_vast, seen.program.all_are(0.25), one)
    rows, median = [builder.fmul(row, share) for row in rows], builder.fmul(median, share)
    start = zero
    for low in range(f):  # the window moves on while what it gains is nearer than its loss
        gaps = builder.fsub(median, rows[low]), builder.fsub(rows[low + n - f], median)
        moves = builder.fcmp_ordered(">", *gaps)
        start = builder.fadd(start, builder.select(moves, one, zero))
    return start


def _exceeds(seen: Workers, start: Any, rank: int) -> Any:
    return seen.program.builder.fcmp_ordered(">", start, seen.program.all_are(rank))
