"""Write LLVM's language: what every kernel's loops are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from llvmlite import ir

from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    from torch import Tensor

INDEX = ir.IntType(64)
SINGLE, DOUBLE = ir.FloatType(), ir.DoubleType()
_SHORT = ir.IntType(32)


class Writer:
    """Writes a function `kernel`, which returns nothing.

    Args:
        pointers: how many of its arguments, which come first.
        integers: how many of its arguments, which come last.

    """

    def __init__(self, pointers: int, integers: int) -> None:
        self._module = ir.Module()
        kinds = [*[ir.PointerType()] * pointers, *[INDEX] * integers]
        made = ir.Function(self._module, ir.FunctionType(ir.VoidType(), kinds), "kernel")
        set.add(made.attributes, '"prefer-vector-width"="512"')  # LLVM's own preference is 256
        self.arguments = made.args
        self.builder = ir.IRBuilder(made.append_basic_block())

    def source(self) -> str:
        """Return what is written."""
        self.builder.ret_void()
        return str(self._module)

    @contextmanager
    def counted(
        self, start: Any, stop: Any, step: int = 1, carried: Sequence[Any] = ()
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Repeat what is written within for `range(start, stop, step)`.

        Args:
            start: a number of the program.
            stop: as well.
            step: known while it is written.
            carried: what is carried from round to round, at first.

        Yields:
            The count, what is carried to this round, which is also what is carried after the last,
            and a list for what is carried to the next.

        """
        builder = self.builder
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
        following.insert(0, builder.add(count, INDEX(step)))
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def spread(self, value: Any, length: int) -> Any:
        """Return a vector all of one value that the program computes; of length 1, the value."""
        if length == 1:
            return value
        kind = ir.VectorType(value.type, length)
        nothing = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(nothing, value, _SHORT(0))
        firsts = ir.Constant(ir.VectorType(_SHORT, length), None)
        return self.builder.shuffle_vector(one, nothing, firsts)

    def part(self, vector: Any, first: int, length: int) -> Any:
        """Return so many neighbours of a vector as one, or as a number."""
        if length == 1:
            return self.builder.extract_element(vector, _SHORT(first))
        places = ir.Constant(ir.VectorType(_SHORT, length), list(range(first, first + length)))
        return self.builder.shuffle_vector(vector, vector, places)

    def least(self, a: Any, b: Any) -> Any:
        """Return the smaller of two indices."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def as_doubles(self, value: Any) -> Any:
        """Return a number, or a vector, in double precision."""
        wide = kind_of(DOUBLE, value.type.count if isinstance(value.type, ir.VectorType) else 1)
        return value if value.type == wide else self.builder.fpext(value, wide)

    def narrowed(self, value: Any, of: Any) -> Any:
        """Return a double, or a vector of them, as numbers of a type."""
        kind = kind_of(of, value.type.count if isinstance(value.type, ir.VectorType) else 1)
        return value if value.type == kind else self.builder.fptrunc(value, kind)

    def product_added(self, a: Any, b: Any, to: Any) -> Any:
        """Return `a * b + to`, rounded once where the processor does that as fast."""
        name = f"llvm.fmuladd.{_suffix(a.type)}"
        return self.builder.call(self._function(name, *[a.type] * 4), [a, b, to])

    def are_first(self, count: Any, length: int) -> Any:
        """Return which places of a vector are among so many."""
        order = ir.Constant(ir.VectorType(INDEX, length), list(range(length)))
        return self.builder.icmp_signed("<", order, self.spread(count, length))

    def store_first(self, vector: Any, place: Any, count: Any) -> None:
        """Write so many numbers of a vector, or all of them if there are fewer."""
        is_written = self.are_first(count, vector.type.count)
        kinds = vector.type, place.type, _SHORT, is_written.type
        name = f"llvm.masked.store.{_suffix(vector.type)}.p0"
        write = self._function(name, ir.VoidType(), *kinds)
        size = _SHORT(_bytes(vector.type.element))
        self.builder.call(write, [vector, place, size, is_written])

    def root(self, value: Any) -> Any:
        """Return square roots."""
        name = f"llvm.sqrt.{_suffix(value.type)}"
        return self.builder.call(self._function(name, *[value.type] * 2), [value])

    def _function(self, name: str, returned: Any, *arguments: Any) -> Any:
        known = self._module.globals.get(name)
        return known or ir.Function(self._module, ir.FunctionType(returned, arguments), name)


class Numbers(NamedTuple):
    """Numbers of one type that lie side by side."""

    writer: Writer
    first: Any
    """Where they begin."""
    of: Any
    """Their type."""

    def at(self, *offsets: Any) -> Numbers:
        """Return those from so many on; pairs are multiplied before they are added up."""
        builder, first = self.writer.builder, self.first
        for offset in offsets:
            by = builder.mul(*offset) if isinstance(offset, tuple) else offset
            first = builder.gep(first, [by], source_etype=self.of)
        return self._replace(first=first)

    def load(self, length: int = 1) -> Any:
        """Read so many as a vector, or the first."""
        kind = kind_of(self.of, length)
        return self.writer.builder.load(self.first, align=_bytes(self.of), typ=kind)

    def store(self, value: Any) -> None:
        """Write a vector, or the first."""
        self.writer.builder.store(value, self.first, align=_bytes(self.of))

    def store_first(self, vector: Any, count: Any) -> None:
        """Write so many numbers of a vector, or all of them if there are fewer."""
        self.writer.store_first(vector, self.first, count)


class Program(Writer):
    """Writes a kernel for one type of messages.

    Args:
        dtype: of the messages, float32 or float64.
        length: of the vectors that it works on.
        pointers: as of `Writer`.
        integers: as of `Writer`.

    """

    def __init__(self, dtype: torch.dtype, length: int, pointers: int, integers: int) -> None:
        super().__init__(pointers, integers)
        self.number = type_of(dtype)
        self.size = dtype.itemsize
        self.length = length
        self.numbers = ir.VectorType(self.number, length)
        self.doubles = ir.VectorType(DOUBLE, length)

    def place(self, base: Any, *offsets: Any) -> Any:
        """Return where a number lies, so many of its type after another."""
        for offset in offsets:
            base = self.builder.gep(base, [offset], source_etype=self.number)
        return base

    def load(self, place: Any, kind: Any = None) -> Any:
        """Read a vector, or another kind."""
        return self.builder.load(place, align=self.size, typ=kind or self.numbers)

    def load_first(self, place: Any, count: Any) -> Any:
        """Read so many numbers of a vector, and zeros for the others, whatever lies there."""
        are_there = self.are_first(count, self.length)
        kinds = place.type, _SHORT, are_there.type, self.numbers
        name = f"llvm.masked.load.{_suffix(self.numbers)}.p0"
        read = self._function(name, self.numbers, *kinds)
        nothing = self.all_are(0.0)
        return self.builder.call(read, [place, _SHORT(self.size), are_there, nothing])

    def store(self, value: Any, place: Any) -> None:
        """Write a vector."""
        self.builder.store(value, place, align=self.size)

    def all_are(self, value: float, kind: Any = None) -> Any:
        """Return a vector, of numbers unless told, all of one value."""
        return constant(kind or self.numbers, value)

    def rounded(self, value: Any) -> Any:
        """Return a vector of doubles in the messages' precision."""
        return self.narrowed(value, self.number)

    def sum_of(self, value: Any) -> Any:
        """Return the sum of a vector of doubles, always in the same order, which is LLVM's."""
        name = f"llvm.vector.reduce.fadd.{_suffix(value.type)}"
        added = self._function(name, DOUBLE, DOUBLE, value.type)
        return self.builder.call(added, [DOUBLE(-0.0), value], fastmath=["reassoc"])


def constant(kind: Any, value: float) -> Any:
    """Return a number, or a vector all of one."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def kind_of(of: Any, length: int) -> Any:
    """Return the type of a vector, or of a number."""
    return of if length == 1 else ir.VectorType(of, length)


def type_of(dtype: torch.dtype) -> Any:
    """Return the type of a tensor's numbers, float32 or float64."""
    return {torch.float32: SINGLE, torch.float64: DOUBLE}[dtype]


def _bytes(of: Any) -> int:
    return {SINGLE: 4, DOUBLE: 8, INDEX: 8}.get(of, 1)


def _suffix(kind: Any) -> str:
    vector, of = (f"v{kind.count}", kind.element) if isinstance(kind, ir.VectorType) else ("", kind)
    return f"{vector}f{8 * _bytes(of)}"


def lanes_of(messages: Tensor) -> Tensor:
    """Flatten leading axes to one, as a view where there is one; a message lies in one piece."""
    lanes = messages.reshape(messages.shape[:-2].numel(), *messages.shape[-2:])
    return lanes if lanes.stride(-1) == 1 else lanes.contiguous()


def pieces(lanes: int, dim: int, width: int) -> list[tuple[int, int, int, int]]:
    """Cut the work: the first and the last lane, the first and the last coordinate of pieces.

    Args:
        lanes: how many.
        dim: coordinates of a message.
        width: how many of them make a piece, or of as many lanes as have so many.

    """
    if width < dim:
        ends = [(start, min(start + width, dim)) for start in range(0, dim, width)]
        return [(lane, lane + 1, *each) for lane in range(lanes) for each in ends]
    several = width // max(1, dim)
    return [(lane, min(lane + several, lanes), 0, dim) for lane in range(0, lanes, several)]
