"""Norms of rows, and sums of outer products over groups of rows, in float64.

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

# Of left by right numbers, how many are summed in registers together: 8 x 16 float64 are half of
# the processor's 32 vectors. With a single one on the left, more on the right hide how long an
# addition takes.
_LEFT, _RIGHT = 8, 16
_RIGHT_OF_ONE = 64
_VECTOR = 8

# Products that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 22


def sum_outer_products(left: Tensor, right: Tensor, bounds: Tensor, out: Tensor) -> None:
    """Write, for each group of rows, the sum of `left_i right_j` over its rows.

    Args:
        left: float64 `(rows, p)`.
        right: float32 or float64 `(rows, d)`.
        bounds: int64 `(groups, 2)`: where each group begins and ends.
        out: float64 `(groups, p, d)`; each group's is contiguous.

    """
    left, right = left.contiguous(), right.contiguous()
    groups, p, d = out.shape
    add, stride = _sum_outer_products(right.dtype), out.stride(0)

    def add_some(first: int, last: int) -> None:
        add(
            left.data_ptr(), right.data_ptr(), bounds.data_ptr() + 16 * first,
            out.data_ptr() + 8 * first * stride, last - first, stride, p, d,
        )  # fmt: skip

    parts = max(1, min(groups, len(left) * p * d // _LARGE))
    cuts = [groups * part // parts for part in range(parts + 1)]
    in_threads([partial(add_some, *ends) for ends in pairwise(cuts)])


def row_norms(rows: Tensor, order: int) -> Tensor:
    """Return the L2 (order 2) or L1 (order 1) norm of each row, `(rows, d)` to `(rows,)`, float64.

    There the squares of float32 numbers neither vanish nor overflow, and a sum of d of them is off
    by `d 2^-53` at most.
    """
    rows = rows.contiguous()
    norms = torch.empty(len(rows), dtype=torch.float64)
    _row_norms(rows.dtype, order)(rows.data_ptr(), norms.data_ptr(), *rows.shape)
    return norms


@cache
def _sum_outer_products(right: torch.dtype) -> Any:
    write = Writer(pointers=4, integers=4)
    *pointers, groups, stride, p, d = write.arguments
    kinds = DOUBLE, type_of(right), INDEX, DOUBLE
    a, b, bounds, out = map(partial(Numbers, write), pointers, kinds)
    with write.counted(INDEX(0), groups) as (group, *_):
        first, last = (bounds.at((group, INDEX(2)), INDEX(k)).load() for k in (0, 1))
        into = out.at((group, stride))

        def tile(i: Any, j: Any, left: int, width: int) -> None:
            """Sum a block of products over the rows, and store it."""
            nothing = [kind_of(DOUBLE, width)(None)] * left
            with write.counted(first, last, 1, nothing) as (row, sums, following):
                wide = write.as_doubles(b.at((row, d), j).load(width))
                start = a.at((row, p), i)
                for k, total in enumerate(sums):
                    one = write.spread(start.at(INDEX(k)).load(), width)
                    following.append(write.product_added(one, wide, total))
            for k, total in enumerate(sums):
                into.at((write.builder.add(i, INDEX(k)), d), j).store(total)

        top = INDEX(0)
        for left in (_LEFT, 2, 1):
            bottom = _multiple(write, p, left)
            with write.counted(top, bottom, left) as (i, *_):
                start = INDEX(0)
                for width in (_RIGHT_OF_ONE if left == 1 else _RIGHT, _VECTOR, 1):
                    stop = _multiple(write, d, width)
                    with write.counted(start, stop, width) as (j, *_):
                        tile(i, j, left, width)
                    start = stop
            top = bottom
    return function(write.source(), "kernel", *[POINTER] * 4, *[INTEGER] * 4)


@cache
def _row_norms(kind: torch.dtype, order: int) -> Any:
    write = Writer(pointers=2, integers=2)
    rows, out, count, d = write.arguments
    rows, out = Numbers(write, rows, type_of(kind)), Numbers(write, out, DOUBLE)
    with write.counted(INDEX(0), count) as (row, *_):
        numbers = rows.at((row, d))
        total, start = DOUBLE(0.0), INDEX(0)
        for width in (4 * _VECTOR, _VECTOR, 1):
            stop = _multiple(write, d, width)
            total = write.builder.fadd(total, _size(numbers, start, stop, width, order))
            start = stop
        out.at(row).store(write.root(total) if order == 2 else total)
    return function(write.source(), "kernel", *[POINTER] * 2, *[INTEGER] * 2)


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
