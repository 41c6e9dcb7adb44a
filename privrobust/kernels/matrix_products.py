"""Products of rows with matrices, of which a row's depends on nothing but that row.

Torch's round a row by how many others there are. Here each sum is taken in one register, over one
number after the other, so some rows have the same bits alone, beside others, and in any thread.

Matrices are packed first: their columns in strips of some vectors, each strip's rows side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes
from privrobust.kernels.writing import INDEX, Numbers, Writer, kind_of, type_of

if TYPE_CHECKING:
    from torch import Tensor

# Rows, and vectors of columns, that are multiplied together: as many sums as there are registers
# for. Where fewer rows are left, the last one is taken several times; of columns, fewer.
_ROWS = 8 if vector_bytes() == 64 else 4
_VECTORS = (3, 1)

# Products that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 23


class Packed(NamedTuple):
    """Matrices, and what is added to each row that is multiplied with one."""

    numbers: Tensor
    """`(matrices, k + 1, m)`, packed, m filled up to whole vectors; the last row is added"""
    k: int
    m: int


def pack(matrices: Tensor, added: Tensor | None = None) -> Packed:
    """Pack matrices `(matrices, k, m)`, and what is added `(matrices, m)`, else zeros."""
    count, k, m = matrices.shape
    length = vector_bytes() // matrices.element_size()
    packed = matrices.new_empty(count, (k + 1) * (-(-m // length) * length))
    added = matrices.new_zeros(count, m) if added is None else added.contiguous()
    _pack(matrices.dtype)(
        matrices.data_ptr(), added.data_ptr(), packed.data_ptr(), count, *matrices.stride(), k, m
    )
    return Packed(packed, k, m)


def multiply(rows: Tensor, matrices: Packed, groups: Sequence[tuple[int, slice]]) -> Tensor:
    """Return `row @ matrix` and what is added to it, `(rows, m)`, for groups of rows.

    Args:
        rows: of the matrices' type, `(rows, k)`.
        matrices: packed.
        groups: the matrix of each, and which rows are in it.

    """
    rows, (packed, k, m) = rows.contiguous(), matrices
    out = rows.new_empty(len(rows), m)
    # as many rows in a task as make it worth a thread's while, and tasks of about one size
    tasks = max(1, len(rows) * k * m // _LARGE)
    at_once = -(-len(rows) // (tasks * _ROWS)) * _ROWS
    listed = [
        (matrix, start, min(start + at_once, of_group.stop))
        for matrix, of_group in groups
        for start in range(of_group.start, of_group.stop, max(1, at_once))
    ]
    table = torch.tensor(listed, dtype=torch.int64)
    kernel = _multiply(rows.dtype)

    def run(first: int, last: int) -> None:
        kernel(
            rows.data_ptr(), packed.data_ptr(), out.data_ptr(), table.data_ptr() + 24 * first,
            last - first, k, m, packed.stride(0),
        )  # fmt: skip

    cuts = [len(listed) * task // tasks for task in range(tasks + 1)]
    in_threads([partial(run, *ends) for ends in pairwise(cuts)])
    return out


def _strips(write: Writer, m: Any, length: int) -> Any:
    """Yield how many vectors strips have, and where those of as many begin and end."""
    builder = write.builder
    whole = builder.and_(builder.add(m, INDEX(length - 1)), INDEX(-length))
    start = INDEX(0)
    for vectors in _VECTORS:
        left_over = builder.srem(builder.sub(whole, start), INDEX(vectors * length))
        stop = builder.sub(whole, left_over)
        yield vectors, start, stop
        start = stop


@cache
def _pack(kind: torch.dtype) -> Any:
    write = Writer(pointers=3, integers=6)
    builder, length = write.builder, vector_bytes() // kind.itemsize
    *pointers, count, of_matrix, of_row, of_column, k, m = write.arguments
    matrices, added, out = (Numbers(write, pointer, type_of(kind)) for pointer in pointers)
    rows, last = builder.add(k, INDEX(1)), builder.sub(m, INDEX(1))
    whole = builder.and_(builder.add(m, INDEX(length - 1)), INDEX(-length))
    with write.counted(INDEX(0), count) as (matrix, *_):
        given, of_added = matrices.at((matrix, of_matrix)), added.at((matrix, m))
        into = out.at((matrix, builder.mul(rows, whole)))
        for vectors, start, stop in _strips(write, m, length):
            width = INDEX(vectors * length)
            with write.counted(start, stop, vectors * length) as (first, *_):
                strip = into.at((first, rows))
                with write.counted(INDEX(0), width) as (place, *_):
                    # beyond the last column it is that one again, of which nothing is made
                    column = write.least(builder.add(first, place), last)
                    strip.at((k, width), place).store(of_added.at(column).load())
                with (
                    write.counted(INDEX(0), k) as (row, *_),
                    write.counted(INDEX(0), width) as (place, *_),
                ):
                    column = write.least(builder.add(first, place), last)
                    value = given.at((row, of_row), (column, of_column)).load()
                    strip.at((row, width), place).store(value)
    return function(write.source(), "kernel", *[POINTER] * 3, *[INTEGER] * 6)


@cache
def _multiply(kind: torch.dtype) -> Any:
    write = Writer(pointers=4, integers=4)
    builder, length = write.builder, vector_bytes() // kind.itemsize
    *pointers, table, count, k, m, of_matrix = write.arguments
    rows, packed, out = (Numbers(write, pointer, type_of(kind)) for pointer in pointers)
    of_table = Numbers(write, table, INDEX)

    def tile(strip: Any, lines: list[Any], column: Any, vectors: int) -> None:
        """Sum products of some rows with some columns, and store them."""
        width, places = INDEX(vectors * length), [INDEX(v * length) for v in range(vectors)]
        given = [rows.at((line, k)) for line in lines]
        nothing = [kind_of(type_of(kind), length)(None)] * (_ROWS * vectors)
        with write.counted(INDEX(0), k, 1, nothing) as (at, sums, following):
            numbers = [strip.at((at, width), place).load(length) for place in places]
            for line in range(_ROWS):
                value = write.spread(given[line].at(at).load(), length)
                for number, total in zip(numbers, sums[line * vectors :], strict=False):
                    following.append(write.product_added(value, number, total))
        added = [strip.at((k, width), place).load(length) for place in places]
        for line in range(_ROWS):
            for v, place in enumerate(places):
                total = builder.fadd(sums[line * vectors + v], added[v])
                first = builder.add(column, place)
                out.at((lines[line], m), first).store_first(total, builder.sub(m, first))

    with write.counted(INDEX(0), count) as (task, *_):
        of_task = of_table.at((task, INDEX(3)))
        matrix, start, stop = (of_task.at(INDEX(each)).load() for each in range(3))
        first = packed.at((matrix, of_matrix))
        last = builder.sub(stop, INDEX(1))
        with write.counted(start, stop, _ROWS) as (row, *_):
            lines = [write.least(builder.add(row, INDEX(line)), last) for line in range(_ROWS)]
            for vectors, left, right in _strips(write, m, length):
                with write.counted(left, right, vectors * length) as (column, *_):
                    strip = first.at((column, builder.add(k, INDEX(1))))
                    tile(strip, lines, column, vectors)
    return function(write.source(), "kernel", *[POINTER] * 4, *[INTEGER] * 4)
