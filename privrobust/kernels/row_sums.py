"""Norms of rows, and sums over groups of rows, in float64.

Float32 numbers become float64 in registers, so that no copy of them is ever in memory, and each
group has as many rows as it has: nothing is padded. A sum is taken one row after the other. So what
a group gets depends on its own rows alone.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function
from privrobust.kernels.writing import DOUBLE, INDEX, Numbers, Writer, kind_of, type_of

if TYPE_CHECKING:
    from torch import Tensor

# Vectors of numbers that are summed together, which hides how long an addition takes.
_WIDTHS = (64, 8, 1)
_VECTOR = 8

# Numbers that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 20


def sum_rows(factors: Tensor, rows: Tensor, bounds: Tensor, out: Tensor) -> None:
    """Write, for each group of rows, the sum of `factor row` over its rows.

    Args:
        factors: float64 `(rows,)`.
        rows: float32 or float64 `(rows, d)`.
        bounds: int64 `(groups, 2)`: where each group begins and ends.
        out: float64 `(groups, d)`; each group's is contiguous.

    """
    factors, rows = factors.contiguous(), rows.contiguous()
    groups, d = out.shape
    add, stride = _sum_rows(rows.dtype), out.stride(0)

    def add_some(first: int, last: int) -> None:
        add(
            factors.data_ptr(), rows.data_ptr(), bounds.data_ptr() + 16 * first,
            out.data_ptr() + 8 * first * stride, last - first, stride, d,
        )  # fmt: skip

    parts = max(1, min(groups, rows.numel() // _LARGE))
    cuts = [groups * part // parts for part in range(parts + 1)]
    in_threads([partial(add_some, *ends) for ends in pairwise(cuts)])


def row_norms(rows: Tensor, order: int, beside: int = 0) -> Tensor:
    """Return the L2 (order 2) or L1 (order 1) norm of each row, `(rows, d)` to `(rows,)`, float64.

    Of each with one more number `beside` it, of 0 or 1.

    There the squares of float32 numbers neither vanish nor overflow, and a sum of d of them is off
    by `d 2^-53` at most.
    """
    rows = rows.contiguous()
    norms = torch.empty(len(rows), dtype=torch.float64)
    _row_norms(rows.dtype, order)(rows.data_ptr(), norms.data_ptr(), *rows.shape, beside)
    return norms


@cache
def _sum_rows(kind: torch.dtype) -> Any:
    write = Writer(pointers=4, integers=3)
    *pointers, groups, stride, d = write.arguments
    kinds = DOUBLE, type_of(kind), INDEX, DOUBLE
    factors, rows, bounds, out = map(partial(Numbers, write), pointers, kinds)
    with write.counted(INDEX(0), groups) as (group, *_):
        first, last = (bounds.at((group, INDEX(2)), INDEX(k)).load() for k in (0, 1))
        into, start = out.at((group, stride)), INDEX(0)
        for width in _WIDTHS:
            stop = _multiple(write, d, width)
            with write.counted(start, stop, width) as (place, *_):
                nothing = [kind_of(DOUBLE, width)(None)]
                with write.counted(first, last, 1, nothing) as (row, (total,), following):
                    wide = write.as_doubles(rows.at((row, d), place).load(width))
                    factor = write.spread(factors.at(row).load(), width)
                    following.append(write.product_added(factor, wide, total))
                into.at(place).store(total)
            start = stop
    return function(write.source(), "kernel", *[POINTER] * 4, *[INTEGER] * 3)


@cache
def _row_norms(kind: torch.dtype, order: int) -> Any:
    write = Writer(pointers=2, integers=3)
    rows, out, count, d, beside = write.arguments
    beside = write.builder.sitofp(beside, DOUBLE)
    rows, out = Numbers(write, rows, type_of(kind)), Numbers(write, out, DOUBLE)
    with write.counted(INDEX(0), count) as (row, *_):
        numbers = rows.at((row, d))
        total, start = beside, INDEX(0)
        for width in (4 * _VECTOR, _VECTOR, 1):
            stop = _multiple(write, d, width)
            total = write.builder.fadd(total, _size(numbers, start, stop, width, order))
            start = stop
        out.at(row).store(write.root(total) if order == 2 else total)
    return function(write.source(), "kernel", *[POINTER] * 2, *[INTEGER] * 3)


def _size(numbers: Numbers, start: Any, stop: Any, width: int, order: int) -> Any:
    """Sum squares, or sizes, of a row's numbers, so many at a time."""
    write, builder = numbers.writer, numbers.writer.builder
    nothing = kind_of(DOUBLE, width)(None)
    with write.counted(start, stop, width, [nothing]) as (place, (sums,), following):
        value = write.as_doubles(numbers.at(place).load(width))
        if order == 2:
            following.append(write.product_added(value, value, sums))
        else:
            is_negative = builder.fcmp_ordered("<", value, nothing)
            size = builder.select(is_negative, builder.fneg(value), value)
            following.append(builder.fadd(sums, size))
    while width > 1:  # halves are added to each other
        width //= 2
        sums = builder.fadd(*(write.part(sums, first, width) for first in (0, width)))
    return sums


def _multiple(write: Writer, number: Any, of: int) -> Any:
    """Return the largest multiple of a power of two that is not larger."""
    return write.builder.and_(number, INDEX(-of))
