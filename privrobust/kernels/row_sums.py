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
from privrobust.kernels.loops import DOUBLE, WHOLE, Value, Writer, of_type, zero
from privrobust.kernels.machine_code import INTEGER, POINTER, function

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


def sum_outer_products(left: Tensor, right: Tensor, starts: Tensor, out: Tensor) -> None:
    """Write, for each group of rows, the sum of `left_i right_j` over its rows.

    Args:
        left: float64 `(rows, p)`.
        right: float32 or float64 `(rows, d)`.
        starts: int64 `(groups + 1,)`: where each group begins, and the last ends.
        out: float64 `(groups, p, d)`; each group's is contiguous.

    """
    left, right = left.contiguous(), right.contiguous()
    groups, p, d = out.shape
    add, stride = _sum_outer_products(right.dtype), out.stride(0)

    def add_some(first: int, last: int) -> None:
        add(
            left.data_ptr(), right.data_ptr(), starts.data_ptr() + 8 * first, last - first,
            out.data_ptr() + 8 * first * stride, stride, p, d,
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
    doubles = DOUBLE.as_pointer()
    taken = [doubles, of_type(right).as_pointer(), WHOLE.as_pointer(), WHOLE]
    write = Writer("sums", [*taken, doubles, WHOLE, WHOLE, WHOLE])
    a, b, starts, groups, out, stride, p, d = write.arguments
    with write.counted(WHOLE(0), groups) as (group, *_):
        first, last = (write.load(write.at(starts, group, WHOLE(k))) for k in (0, 1))
        into = write.at(out, (group, stride))

        def tile(i: Value, j: Value, left: int, width: int) -> None:
            """Sum a block of products over the rows, and store it."""
            nothing = [zero(DOUBLE, width)] * left
            with write.counted(first, last, 1, nothing) as (row, sums, following):
                wide = write.widened(write.load(write.at(b, (row, d), j), width))
                start = write.at(a, (row, p), i)
                for k, total in enumerate(sums):
                    one = write.everywhere(write.load(write.at(start, WHOLE(k))), width)
                    following.append(write.plus_product(total, one, wide))
            for k, total in enumerate(sums):
                write.store(total, write.at(into, (write.builder.add(i, WHOLE(k)), d), j))

        top = WHOLE(0)
        for left in (_LEFT, 2, 1):
            bottom = _multiple(write, p, left)
            with write.counted(top, bottom, left) as (i, *_):
                start = WHOLE(0)
                for width in (_RIGHT_OF_ONE if left == 1 else _RIGHT, _VECTOR, 1):
                    stop = _multiple(write, d, width)
                    with write.counted(start, stop, width) as (j, *_):
                        tile(i, j, left, width)
                    start = stop
            top = bottom
    pointers = POINTER, POINTER, POINTER, INTEGER, POINTER
    return function(write.source(), write.name, *pointers, INTEGER, INTEGER, INTEGER)


@cache
def _row_norms(kind: torch.dtype, order: int) -> Any:
    write = Writer("norms", [of_type(kind).as_pointer(), DOUBLE.as_pointer(), WHOLE, WHOLE])
    rows, out, count, d = write.arguments
    with write.counted(WHOLE(0), count) as (row, *_):
        numbers = write.at(rows, (row, d))
        total, start = DOUBLE(0.0), WHOLE(0)
        for width in (4 * _VECTOR, _VECTOR, 1):
            stop = _multiple(write, d, width)
            total = write.builder.fadd(total, _size(write, numbers, start, stop, width, order))
            start = stop
        write.store(write.root(total) if order == 2 else total, write.at(out, row))
    return function(write.source(), write.name, POINTER, POINTER, INTEGER, INTEGER)


def _size(
    write: Writer, numbers: Value, start: Value, stop: Value, width: int, order: int
) -> Value:
    """Sum squares, or sizes, of a row's numbers, so many at a time."""
    builder = write.builder
    nothing = zero(DOUBLE, width)
    with write.counted(start, stop, width, [nothing]) as (place, (sums,), following):
        value = write.widened(write.load(write.at(numbers, place), width))
        if order == 2:
            following.append(write.plus_product(sums, value, value))
        else:
            is_negative = builder.fcmp_ordered("<", value, nothing)
            size = builder.select(is_negative, builder.fneg(value), value)
            following.append(builder.fadd(sums, size))
    while width > 1:  # halves are added to each other
        width //= 2
        sums = builder.fadd(*(write.part(sums, first, width) for first in (0, width)))
    return sums


def _multiple(write: Writer, number: Value, of: int) -> Value:
    """Return the largest multiple of a power of two that is not larger."""
    return write.builder.and_(number, WHOLE(-of))
