"""Norms of rows, and sums of outer products over groups of rows: in float64, of numbers as they are.

Float32 numbers become float64 in registers, so that neither copy of them is ever in memory, and
each group has as many rows as it has: nothing is padded. Every sum is taken one row after the
other. So what a group gets depends on its own rows alone.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.kernels.loops import DOUBLE, WHOLE, Value, Writer, of_type, zero
from privrobust.kernels.machine_code import INTEGER, POINTER, function

if TYPE_CHECKING:
    from torch import Tensor

# Of left by right numbers, how many are summed in registers together: 8 x 16 float64 are half of
# the processor's 32 vectors. With a single one on the left more on the right hide what an addition
# takes.
_LEFT, _RIGHT = 8, 16
_RIGHT_OF_ONE = 64
_VECTOR = 8


def sum_outer_products(left: Tensor, right: Tensor, starts: Tensor, out: Tensor) -> None:
    """Write, for each group of rows, the sum of `left_i right_j` over its rows.

    Args:
        left: float64 `(rows, p)`.
        right: float32 or float64 `(rows, d)`.
        starts: int64 `(groups + 1,)`: where each group begins, and the last ends.
        out: float64 `(groups, p, d)`; each group's is contiguous.

    """
    left, right = left.contiguous(), right.contiguous()
    _, p, d = out.shape
    if not out.numel():
        return
    _outer(right.dtype)(
        left.data_ptr(), right.data_ptr(), starts.data_ptr(), len(out),
        out.data_ptr(), out.stride(0), p, d,
    )  # fmt: skip


def row_norms(rows: Tensor, order: int) -> Tensor:
    """Return the L2 (order 2) or L1 (order 1) norm of each row, `(rows, d)` to `(rows,)`, float64.

    There the squares of float32 numbers neither vanish nor overflow, and a sum of d of them is off
    by `d 2^-53` at most.
    """
    rows = rows.contiguous()
    sums = torch.empty(len(rows), dtype=torch.float64)
    if rows.numel():
        _sizes(rows.dtype, order)(rows.data_ptr(), sums.data_ptr(), *rows.shape)
    else:
        sums.zero_()
    return sums.sqrt_() if order == 2 else sums


@cache
def _outer(right: torch.dtype) -> Any:
    of = of_type(right)
    doubles = DOUBLE.as_pointer()
    write = Writer(
        "outer",
        [doubles, of.as_pointer(), WHOLE.as_pointer(), WHOLE, doubles, WHOLE, WHOLE, WHOLE],
    )
    a, b, starts, groups, out, stride, p, d = write.arguments
    with write.loop(WHOLE(0), groups) as group:
        first, last = (write.load(write.at(starts, group, WHOLE(k))) for k in (0, 1))
        into = write.at(out, (group, stride))

        def tile(i: Value, j: Value, left: int, width: int) -> None:
            """Sum a block of products over the rows, and store it."""

            def add(row: Value, sums: Any) -> list[Value]:
                wide = write.widened(write.load(write.at(b, (row, d), j), width))
                start = write.at(a, (row, p), i)
                ones = [write.load(write.at(start, WHOLE(k))) for k in range(left)]
                return [
                    write.plus_product(total, write.everywhere(one, width), wide)
                    for total, one in zip(sums, ones, strict=True)
                ]

            sums = write.accumulated(first, last, [zero(DOUBLE, width)] * left, add)
            for k, total in enumerate(sums):
                write.store(total, write.at(into, (write.builder.add(i, WHOLE(k)), d), j))

        done = WHOLE(0)
        for left in (_LEFT, 2, 1):
            end = _multiple(write, p, left)
            with write.loop(done, end, left) as i:
                start = WHOLE(0)
                for width in (_RIGHT_OF_ONE if left == 1 else _RIGHT, _VECTOR, 1):
                    stop = _multiple(write, d, width)
                    with write.loop(start, stop, width) as j:
                        tile(i, j, left, width)
                    start = stop
            done = end
    return function(
        write.source(), "outer",
        POINTER, POINTER, POINTER, INTEGER, POINTER, INTEGER, INTEGER, INTEGER,
    )  # fmt: skip


@cache
def _sizes(kind: torch.dtype, order: int) -> Any:
    of = of_type(kind)
    write = Writer("sizes", [of.as_pointer(), DOUBLE.as_pointer(), WHOLE, WHOLE])
    rows, out, count, d = write.arguments
    with write.loop(WHOLE(0), count) as row:
        start = write.at(rows, (row, d))
        total = DOUBLE(0.0)
        done = WHOLE(0)
        for width in (4 * _VECTOR, _VECTOR, 1):
            end = _multiple(write, d, width)
            total = write.builder.fadd(total, _size(write, start, done, end, width, order))
            done = end
        write.store(total, write.at(out, row))
    return function(write.source(), "sizes", POINTER, POINTER, INTEGER, INTEGER)


def _size(write: Writer, row: Value, start: Value, stop: Value, width: int, order: int) -> Value:
    """Sum squares, or sizes, of a row's numbers, so many at a time."""
    builder = write.builder
    turns = builder.sdiv(builder.sub(stop, start), WHOLE(width))

    def add(turn: Value, sums: Any) -> list[Value]:
        place = write.at(row, start, (turn, WHOLE(width)))
        value = write.widened(write.load(place, width))
        if order == 2:
            return [write.plus_product(sums[0], value, value)]
        negative = builder.fneg(value)
        is_negative = builder.fcmp_unordered("<", value, negative)
        return [builder.fadd(sums[0], builder.select(is_negative, negative, value))]

    (total,) = write.accumulated(WHOLE(0), turns, [zero(DOUBLE, width)], add)
    while width > 1:  # halves are added to each other
        width //= 2
        halves = (
            builder.shuffle_vector(
                total,
                total,
                ir.Constant(
                    ir.VectorType(ir.IntType(32), width), [*range(first, first + width)]
                ),
            )
            for first in (0, width)
        )
        total = builder.fadd(*halves)
    return builder.extract_element(total, ir.IntType(32)(0)) if stop is not None and width == 1 and isinstance(total.type, ir.VectorType) else total


def _multiple(write: Writer, number: Value, of: int) -> Value:
    """Return the largest multiple that is not larger, of a power of two."""
    return write.builder.and_(number, WHOLE(-of))
