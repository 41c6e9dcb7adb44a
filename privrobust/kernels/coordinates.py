"""Kernels that see every coordinate by itself: a loop over vectors of coordinates, given its body.

A body is written for as many coordinates as a vector holds, which is in the code that LLVM is
given: so there is nothing for it to vectorise, or to fail to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes

if TYPE_CHECKING:
    from torch import Tensor

# Numbers that a thread reads at a time, and all of them that are too few to wake another for.
_PIECE = 1 << 18
_SMALL = 1 << 19

Body: TypeAlias = "Callable[[Vectors], Sequence[Any]]"
"""Given the values of workers, writes what is made of them and returns it."""


class Vectors:
    """Vectors of coordinates, one a worker, and what can be done with them."""

    def __init__(
        self, builder: Any, number: Any, length: int, workers: Any, load: Callable[[Any], Any]
    ) -> None:
        self.builder = builder
        self.workers = workers
        """How many there are, a number of the program."""
        self.load = load
        """Read the values of a worker, told by a number of the program."""
        self.numbers = ir.VectorType(number, length)
        self.doubles = ir.VectorType(ir.DoubleType(), length)

    def of_workers(self, count: int) -> list[Any]:
        """Read the values of so many, infinity for NaN: then no comparison loses any."""
        values = [self.load(ir.IntType(64)(worker)) for worker in range(count)]
        infinity = self.all_are(float("inf"))
        return [self.pair(value, infinity)[0] for value in values]  # no NaN is less

    def all_are(self, value: float, kind: Any = None) -> Any:
        """Return a vector, of numbers like the messages' unless told, all of one value."""
        kind = kind or self.numbers
        return ir.Constant(kind, [value] * kind.count)

    def spread(self, value: Any) -> Any:
        """Return a vector of one number of the program."""
        kind = ir.VectorType(value.type, self.numbers.count)
        index = ir.IntType(32)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, index(0))
        order = ir.Constant(ir.VectorType(index, kind.count), None)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)

    def root(self, value: Any) -> Any:
        """Return square roots."""
        return self._intrinsic("sqrt", value)

    def product_added(self, a: Any, b: Any, to: Any) -> Any:
        """Return `a * b + to`, rounded once where the processor does that as fast."""
        return self._intrinsic("fmuladd", a, b, to)

    def _intrinsic(self, name: str, *values: Any) -> Any:
        kind = values[0].type
        bits = 64 if kind.element == ir.DoubleType() else 32
        name, module = f"llvm.{name}.v{kind.count}f{bits}", self.builder.module
        known = module.globals.get(name)
        called = known or ir.Function(module, ir.FunctionType(kind, [kind] * len(values)), name)
        return self.builder.call(called, values)

    def pair(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return the smaller and the larger of two, none of them NaN."""
        is_less = self.builder.fcmp_ordered("<", a, b)
        return self.builder.select(is_less, a, b), self.builder.select(is_less, b, a)

    def over_workers(
        self, first: Sequence[Any], add: Callable[[Sequence[Any], Any], Sequence[Any]]
    ) -> Sequence[Any]:
        """Return sums: told what they are at first, and with a worker's values added to them."""
        builder = self.builder
        with counted(builder, ir.IntType(64)(0), self.workers, 1, first) as (worker, sums, grown):
            grown.extend(add(sums, self.load(worker)))
        return sums


class Kernel:
    """A body in its loop, compiled."""

    def __init__(self, body: Body, dtype: torch.dtype, outputs: int = 1, vectors: int = 1) -> None:
        """Compile.

        Args:
            body: what is done.
            dtype: of the messages, and of what is made of them.
            outputs: how many things the body makes.
            vectors: how many of the processor's make one of the body's: others keep it busy while
                a sum waits for its last addition.

        """
        self._length = vectors * vector_bytes() // dtype.itemsize
        self.source = _source(body, dtype, outputs, self._length)
        self._outputs = outputs
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
        lanes = messages.reshape(messages.shape[:-2].numel(), workers, dim)
        if lanes.stride(-1) != 1:
            lanes = lanes.contiguous()
        size = lanes.element_size()
        strides = lanes.stride()[:2]

        given, *into = (each.data_ptr() for each in (lanes, *made))

        def run(first: int, last: int, start: int, stop: int) -> None:
            from_first = given + first * strides[0] * size
            into_first = [each + first * dim * size for each in into]
            self._function(
                from_first, *into_first, last - first, workers, *strides, dim, start, stop
            )

        is_small = lanes.numel() < _SMALL
        pieces = [(0, len(lanes), 0, dim)] if is_small else _pieces(len(lanes), workers, dim)
        in_threads([partial(run, *piece) for piece in pieces], is_small)
        return made


def _pieces(lanes: int, workers: int, dim: int) -> list[tuple[int, int, int, int]]:
    """Cut the work: the first and the last lane, the first and the last coordinate of pieces."""
    width = max(1, _PIECE // workers // 64) * 64
    if width < dim:
        ends = [(start, min(start + width, dim)) for start in range(0, dim, width)]
        return [(lane, lane + 1, *each) for lane in range(lanes) for each in ends]
    several = width // dim
    return [(lane, min(lane + several, lanes), 0, dim) for lane in range(0, lanes, several)]


def _source(body: Body, dtype: torch.dtype, outputs: int, length: int) -> str:
    """Write the loops over lanes and over vectors of coordinates, the last of which overlap."""
    module, integer, pointer = ir.Module(), ir.IntType(64), ir.PointerType()
    number = ir.DoubleType() if dtype == torch.float64 else ir.FloatType()
    kind = ir.FunctionType(ir.VoidType(), [*[pointer] * (1 + outputs), *[integer] * 7])
    made = ir.Function(module, kind, "kernel")
    set.add(made.attributes, '"prefer-vector-width"="512"')
    for out in made.args[1 : 1 + outputs]:
        out.add_attribute("noalias")
    messages, *outs = made.args[: 1 + outputs]
    lanes, workers, of_lane, of_worker, dim, start, stop = made.args[1 + outputs :]
    builder = ir.IRBuilder(made.append_basic_block())

    def place(base: Any, index: Any, stride: Any) -> Any:
        return builder.gep(base, [builder.mul(index, stride)], source_etype=number)

    def load(worker: Any) -> Any:
        at = place(first, worker, of_worker)
        return builder.load(at, align=dtype.itemsize, typ=vectors.numbers)

    last = builder.sub(dim, integer(length))
    with (
        counted(builder, integer(0), lanes, 1) as (lane, *_),
        counted(builder, start, stop, length) as (at, *_),
    ):
        at = builder.select(builder.icmp_signed("<", at, last), at, last)
        first = place(place(messages, lane, of_lane), at, integer(1))
        vectors = Vectors(builder, number, length, workers, load)
        for out, value in zip(outs, body(vectors), strict=True):
            builder.store(value, place(place(out, lane, dim), at, integer(1)), align=dtype.itemsize)
    builder.ret_void()
    return str(module)


@contextmanager
def counted(
    builder: Any, start: Any, stop: Any, step: int, carried: Sequence[Any] = ()
) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Repeat what is written within for `range(start, stop, step)`.

    Args:
        builder: what writes.
        start: a number of the program.
        stop: as well.
        step: known while it is written.
        carried: what is carried from round to round, at first.

    Yields:
        The count, what is carried to this round, which is also what is carried after the last, and
        a list for what is carried to the next.

    """
    before = builder.block
    head, within, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    ends = [start, *carried]
    phis = [builder.phi(each.type) for each in ends]
    for phi, at_first in zip(phis, ends, strict=True):
        phi.add_incoming(at_first, before)
    count, *held = phis
    builder.cbranch(builder.icmp_signed("<", count, stop), within, after)
    builder.position_at_end(within)
    following: list[Any] = []
    yield count, held, following
    following.insert(0, builder.add(count, start.type(step)))
    for phi, value in zip(phis, following, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
