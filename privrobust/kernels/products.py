"""Inner products of messages with each other.

Four rows with four others make sixteen sums, which a processor's registers hold: so every value
that is loaded is multiplied four times, and the tiles of the matrix go over coordinates that a
cache still holds. Sums are in the messages' own precision over so many, and added up in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes
from privrobust.kernels.writing import DOUBLE, INDEX, Program, lanes_of, pieces

if TYPE_CHECKING:
    from torch import Tensor

_TILE = 4
_TOGETHER = 1 << 10  # coordinates that the cache nearest to a core holds of some messages

# Products that a thread takes at a time, and all of them that are too few to wake another for.
_PIECE = 1 << 23
_SMALL = 1 << 24


def inner_products(messages: Tensor) -> Tensor:
    """Return those of messages `(..., n, d)`, in float64 `(..., n, n)`."""
    *lead, n, dim = messages.shape
    lanes = lanes_of(messages)
    padded = -(-n // _TILE) * _TILE
    width = max(1, _PIECE // (padded**2 * _TOGETHER)) * _TOGETHER
    parts = max(1, -(-dim // width))
    made = lanes.new_zeros(len(lanes), parts, padded, padded, dtype=torch.float64)
    size, (of_lane, of_row, _) = lanes.element_size(), lanes.stride()
    given, into, kernel = lanes.data_ptr(), made.data_ptr(), _kernel(messages.dtype)

    def run(first: int, last: int, start: int, stop: int) -> None:
        part = (first * parts + start // width) * padded**2
        counts = last - first, n, of_lane, of_row, start, stop, parts * padded**2, padded
        kernel(given + first * of_lane * size, into + part * made.element_size(), *counts)

    tasks = [partial(run, *piece) for piece in pieces(len(lanes), dim, width)]
    in_threads(tasks, are_small=len(lanes) * padded**2 * dim < _SMALL)
    total = made[:, 0]
    for part in range(1, parts):  # in this order, however many lanes there are
        total += made[:, part]
    upper = total[:, :n, :n].triu()
    return (upper + upper.triu(1).mT).reshape(*lead, n, n)


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., None]:
    return function(source(dtype), "kernel", *[POINTER] * 2, *[INTEGER] * 8)


def source(dtype: torch.dtype) -> str:
    """Write the loops over lanes, coordinates that are taken together, and tiles."""
    length = vector_bytes() // dtype.itemsize
    program = Program(dtype, length, 2, 8)
    builder = program.builder
    messages, out, lanes, n, of_lane, of_row, start, stop, of_result, padded = program.arguments

    def rows(first: Any) -> list[Any]:
        """Return where the rows of a tile begin; beyond the last, it is that one again."""
        last = builder.sub(n, INDEX(1))
        indices = [builder.add(first, INDEX(each)) for each in range(_TILE)]
        offsets = [builder.mul(program.least(index, last), of_row) for index in indices]
        return [program.place(messages, builder.mul(lane, of_lane), each) for each in offsets]

    def added(sums: list[Any], at: Any, load: Callable[[Any], Any]) -> list[Any]:
        left, right = ([load(program.place(row, at)) for row in tile] for tile in tiles)
        pairs = zip(product(left, right), sums, strict=True)
        return [program.product_added(a, b, total) for (a, b), total in pairs]

    with (
        program.counted(INDEX(0), lanes, 1) as (lane, *_),
        program.counted(start, stop, _TOGETHER) as (first, *_),
        program.counted(INDEX(0), n, _TILE) as (i, *_),
        program.counted(i, n, _TILE) as (j, *_),
    ):
        tiles = rows(i), rows(j)
        end = program.least(builder.add(first, INDEX(_TOGETHER)), stop)
        whole = builder.and_(builder.sub(end, first), INDEX(-length))
        whole = builder.add(first, whole)
        sums = [program.all_are(0.0)] * _TILE**2
        with program.counted(first, whole, length, sums) as (at, sums, grown):
            grown.extend(added(sums, at, program.load))
        with program.counted(whole, end, length, sums) as (at, sums, grown):  # once, or not at all
            left_over = builder.sub(end, at)
            grown.extend(added(sums, at, lambda at: program.load_first(at, left_over)))
        corner = builder.add(builder.mul(lane, of_result), builder.add(builder.mul(i, padded), j))
        for (row, column), vector in zip(product(range(_TILE), repeat=2), sums, strict=True):
            at = builder.add(corner, builder.mul(INDEX(row), padded))
            place = builder.gep(out, [builder.add(at, INDEX(column))], source_etype=DOUBLE)
            total = program.sum_of(program.as_doubles(vector))
            before = builder.load(place, align=8, typ=DOUBLE)
            builder.store(builder.fadd(before, total), place, align=8)
    return program.source()
