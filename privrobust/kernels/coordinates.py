"""Kernels that see every coordinate by itself: a loop over vectors of coordinates, given its body.

A body is written for as many coordinates as a vector holds, which is in the code that LLVM is
given: so there is nothing for it to vectorise, or to fail to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes
from privrobust.kernels.writing import INDEX, Program, lanes_of, pieces

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Numbers that a thread reads at a time, and all of them that are too few to wake another for.
_PIECE = 1 << 18
_SMALL = 1 << 19

Body: TypeAlias = "Callable[[Workers], Sequence[Any]]"
"""Given the values of workers, writes what is made of them and returns it."""


class Workers:
    """The values of all workers at as many coordinates as a vector holds."""

    def __init__(self, program: Program, count: Any, load: Callable[[Any], Any]) -> None:
        self.program = program
        self.count = count
        """How many there are, a number of the program."""
        self.load = load
        """Read the values of a worker, told by a number of the program."""

    def values(self, count: int) -> list[Any]:
        """Read the values of so many, infinity for NaN: then no comparison loses any."""
        values = [self.load(INDEX(worker)) for worker in range(count)]
        infinity = self.program.all_are(float("inf"))
        return [self.pair(value, infinity)[0] for value in values]  # no NaN is less

    def pair(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return the smaller and the larger of two, `b` being no NaN."""
        builder = self.program.builder
        is_less = builder.fcmp_ordered("<", a, b)
        return builder.select(is_less, a, b), builder.select(is_less, b, a)

    def sums(
        self, first: Sequence[Any], add: Callable[[Sequence[Any], Any], Sequence[Any]]
    ) -> Sequence[Any]:
        """Return sums: told what they are at first, and with a worker's values added to them."""
        with self.program.counted(INDEX(0), self.count, 1, first) as (worker, sums, grown):
            grown.extend(add(sums, self.load(worker)))
        return sums


class Kernel:
    """A body in its loop, compiled.

    Args:
        body: what is done.
        dtype: of the messages, and of what is made of them.
        outputs: how many things the body makes.
        vectors: how many of the processor's make one of the body's: others keep it busy while a sum
            waits for its last addition.

    """

    def __init__(self, body: Body, dtype: torch.dtype, outputs: int = 1, vectors: int = 1) -> None:
        self._length = vectors * vector_bytes() // dtype.itemsize
        self._outputs = outputs
        self.source = _source(body, dtype, outputs, self._length)
        types = [*[POINTER] * (1 + outputs), *[INTEGER] * 7]
        self._function = function(self.source, "kernel", *types)

    def __call__(self, messages: Tensor) -> list[Tensor]:
        """Return what is made of messages `(..., workers, d)`, each `(..., d)`."""
        *lead, workers, dim = messages.shape
        if dim < self._length:  # the last vector of a message reaches back from its end
            longer = messages.new_zeros(*lead, workers, self._length)
            longer[..., :dim] = messages
            return [each[..., :dim].contiguous() for each in self(longer)]
        made = [messages.new_empty(*lead, dim) for _ in range(self._outputs)]
        lanes = lanes_of(messages)
        size, (of_lane, of_worker, _) = lanes.element_size(), lanes.stride()
        given, *into = (each.data_ptr() for each in (lanes, *made))

        def run(first: int, last: int, start: int, stop: int) -> None:
            from_first = given + first * of_lane * size
            into_first = [each + first * dim * size for each in into]
            counts = last - first, workers, of_lane, of_worker, dim, start, stop
            self._function(from_first, *into_first, *counts)

        is_small = lanes.numel() < _SMALL
        width = max(1, (_SMALL if is_small else _PIECE) // workers // 64) * 64
        several = pieces(len(lanes), dim, width)
        in_threads([partial(run, *piece) for piece in several], is_small)
        return made


def _source(body: Body, dtype: torch.dtype, outputs: int, length: int) -> str:
    """Write the loops over lanes and over vectors of coordinates, the last of which overlap."""
    program = Program(dtype, length, 1 + outputs, 7)
    builder = program.builder
    messages, *outs = program.arguments[: 1 + outputs]
    for out in outs:
        out.add_attribute("noalias")
    lanes, workers, of_lane, of_worker, dim, start, stop = program.arguments[1 + outputs :]
    last = builder.sub(dim, INDEX(length))
    with (
        program.counted(INDEX(0), lanes, 1) as (lane, *_),
        program.counted(start, stop, length) as (at, *_),
    ):
        at = program.least(at, last)
        first = program.place(messages, builder.mul(lane, of_lane), at)

        def load(worker: Any) -> Any:
            return program.load(program.place(first, builder.mul(worker, of_worker)))

        for out, value in zip(outs, body(Workers(program, workers, load)), strict=True):
            program.store(value, program.place(out, builder.mul(lane, dim), at))
    return program.source()
