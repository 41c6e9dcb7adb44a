"""Weighted sums of messages, whose bits depend on nothing but weights and messages.

A BLAS rounds a product by how its operands lie in memory, and on some processors by more than that.
Here each sum is taken in one register, over one message after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes
from privrobust.kernels.writing import INDEX, Program, lanes_of, pieces

if TYPE_CHECKING:
    from torch import Tensor

# Sums, and vectors of coordinates, that are taken together: as many as there are registers for.
_ROWS = 4
_VECTORS = 4 if vector_bytes() == 64 else 2

_TOGETHER = 1 << 10  # coordinates that the cache nearest to a core holds of some messages

# Products that a thread takes at a time, and all of them that are too few to wake another for.
_PIECE = 1 << 20
_SMALL = 1 << 21


def weighted_sums(weights: Tensor, messages: Tensor) -> Tensor:
    """Return `(..., k, d)` of weights `(..., k, n)` and messages `(..., n, d)`, all of one type."""
    *lead, k, n = weights.shape
    dim, length = messages.shape[-1], _VECTORS * vector_bytes() // messages.element_size()
    if dim < length:  # the last vector reaches back from the end
        longer = messages.new_zeros(*lead, n, length)
        longer[..., :dim] = messages
        return weighted_sums(weights, longer)[..., :dim].contiguous()
    lanes, factors = lanes_of(messages), weights.reshape(-1, k, n).contiguous()
    made = messages.new_empty(len(lanes), k, dim)
    size, (of_lane, of_message, _) = lanes.element_size(), lanes.stride()
    kernel = _kernel(messages.dtype)

    def run(first: int, last: int, start: int, stop: int) -> None:
        kernel(
            factors.data_ptr() + first * k * n * size, lanes.data_ptr() + first * of_lane * size,
            made.data_ptr() + first * k * dim * size,
            last - first, k, n, of_lane, of_message, dim, start, stop,
        )  # fmt: skip

    is_small = made.numel() * n < _SMALL
    width = max(1, (_SMALL if is_small else _PIECE) // max(1, k * n) // _TOGETHER) * _TOGETHER
    in_threads([partial(run, *piece) for piece in pieces(len(lanes), dim, width)], is_small)
    return made.view(*lead, k, dim)


@cache
def _kernel(dtype: torch.dtype) -> Callable[..., None]:
    return function(source(dtype), "kernel", *[POINTER] * 3, *[INTEGER] * 8)


def source(dtype: torch.dtype) -> str:
    """Write the loops over lanes, coordinates, the last of which overlap, and groups of sums."""
    length = vector_bytes() // dtype.itemsize
    program = Program(dtype, length, 3, 8)
    builder = program.builder
    weights, messages, out, lanes, k, n, of_lane, of_message, dim, start, stop = program.arguments
    end = builder.sub(dim, INDEX(_VECTORS * length))
    last = builder.sub(k, INDEX(1))
    with (
        program.counted(INDEX(0), lanes) as (lane, *_),
        program.counted(start, stop, _TOGETHER) as (first, *_),
        program.counted(INDEX(0), k, _ROWS) as (row, *_),
    ):
        # beyond the last sum it is that one again
        rows = [program.least(builder.add(row, INDEX(each)), last) for each in range(_ROWS)]
        rows = [builder.add(builder.mul(lane, k), each) for each in rows]
        factors = [program.place(weights, builder.mul(each, n)) for each in rows]
        beyond = program.least(builder.add(first, INDEX(_TOGETHER)), stop)
        with program.counted(first, beyond, _VECTORS * length) as (at, *_):
            at = program.least(at, end)
            given = program.place(messages, builder.mul(lane, of_lane), at)
            nothing = [program.all_are(0.0)] * (_ROWS * _VECTORS)
            with program.counted(INDEX(0), n, 1, nothing) as (worker, sums, grown):
                here = program.place(given, builder.mul(worker, of_message))
                places = [program.place(here, INDEX(v * length)) for v in range(_VECTORS)]
                numbers = [program.load(place) for place in places]
                for which, of_row in enumerate(factors):
                    factor = program.load(program.place(of_row, worker), program.number)
                    factor = program.spread(factor, length)
                    for v, number in enumerate(numbers):
                        total = sums[which * _VECTORS + v]
                        grown.append(program.product_added(factor, number, total))
            for which, of_row in enumerate(rows):
                into = program.place(out, builder.mul(of_row, dim), at)
                for v in range(_VECTORS):
                    program.store(
                        sums[which * _VECTORS + v], program.place(into, INDEX(v * length))
                    )
    return program.source()
