"""Writing functions in LLVM's language, number by number and vector by vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from privrobust.core.lazy_imports import torch

WHOLE, SINGLE, DOUBLE = ir.IntType(64), ir.FloatType(), ir.DoubleType()
_INDEX = ir.IntType(32)
_UNROLLED = 8  # turns that are written one after the other
Value = Any
"""One of llvmlite's, which have no types of their own."""


class Writer:
    """Writes one function, which returns nothing."""

    def __init__(self, name: str, arguments: Sequence[ir.Type]) -> None:
        """Begin a function; its `arguments` are there to be used."""
        self.name = name
        self._module = ir.Module()
        function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), arguments), name)
        # LLVM prefers vectors of 256 bits, which take half as long again
        set.add(function.attributes, '"prefer-vector-width"="512"')
        self.arguments: Sequence[Value] = function.args
        self.builder = ir.IRBuilder(function.append_basic_block())

    def source(self) -> str:
        """End the function, and return the module."""
        self.builder.ret_void()
        return str(self._module)

    @contextmanager
    def counted(
        self, start: Value, stop: Value, step: int = 1, carried: Sequence[Value] = ()
    ) -> Iterator[tuple[Value, list[Value], list[Value]]]:
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
        following: list[Value] = []
        yield count, held, following
        following.insert(0, builder.add(count, WHOLE(step)))
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def spans(self, length: int, width: int, turn: Callable[[Value, int], None]) -> None:
        """Write `turn(start, width)` for parts of a row, vectors of 2 to some power, down to 1."""
        start = 0
        while start < length:
            turns = (length - start) // width
            if turns > _UNROLLED:
                with self.counted(WHOLE(start), WHOLE(start + turns * width), width) as (place, *_):
                    turn(place, width)
            else:
                for number in range(turns):
                    turn(WHOLE(start + number * width), width)
            start += turns * width
            width //= 2

    def at(self, base: Value, *terms: Value | tuple[Value, Value]) -> Value:
        """Return the address of a number: terms are added up, pairs are multiplied first."""
        for term in terms:
            index = self.builder.mul(*term) if isinstance(term, tuple) else term
            base = self.builder.gep(base, [index])
        return base

    def load(self, address: Value, width: int = 1) -> Value:
        """Read so many neighbours as a vector, or one number."""
        of = address.type.pointee
        if width == 1:
            return self.builder.load(address)
        pointer = self.builder.bitcast(address, ir.VectorType(of, width).as_pointer())
        return self.builder.load(pointer, align=_bytes(of))

    def store(self, value: Value, address: Value) -> None:
        """Write a vector, or one number."""
        of = address.type.pointee
        pointer = self.builder.bitcast(address, value.type.as_pointer())
        self.builder.store(value, pointer, align=_bytes(of))

    def widened(self, value: Value) -> Value:
        """Return a number or a vector in float64."""
        is_vector = isinstance(value.type, ir.VectorType)
        wide = ir.VectorType(DOUBLE, value.type.count) if is_vector else DOUBLE
        return value if value.type == wide else self.builder.fpext(value, wide)

    def everywhere(self, value: Value, width: int) -> Value:
        """Return a vector of one number."""
        if width == 1:
            return value
        empty = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        first = self.builder.insert_element(empty, value, _INDEX(0))
        places = ir.Constant(ir.VectorType(_INDEX, width), None)
        return self.builder.shuffle_vector(first, empty, places)

    def part(self, vector: Value, first: int, width: int) -> Value:
        """Return so many neighbours of a vector as one, or as a number."""
        if width == 1:
            return self.builder.extract_element(vector, _INDEX(first))
        places = ir.Constant(ir.VectorType(_INDEX, width), [*range(first, first + width)])
        return self.builder.shuffle_vector(vector, vector, places)

    def root(self, value: Value) -> Value:
        """Return the square root of a float64."""
        kind = ir.FunctionType(DOUBLE, [DOUBLE])
        return self.builder.call(ir.Function(self._module, kind, "llvm.sqrt.f64"), [value])

    def plus_product(self, total: Value, a: Value, b: Value) -> Value:
        """Return `total + a * b`, rounded once where the processor can."""
        product = self.builder.fmul(a, b, flags=("contract",))
        return self.builder.fadd(total, product, flags=("contract",))


def of_type(kind: torch.dtype) -> ir.Type:
    """Return what a number of a tensor of that type is."""
    return {torch.float32: SINGLE, torch.float64: DOUBLE}[kind]


def zero(of: ir.Type, width: int) -> Value:
    """Return 0, or a vector of zeros."""
    return ir.Constant(ir.VectorType(of, width), None) if width > 1 else of(0.0)


def _bytes(of: ir.Type) -> int:
    return {SINGLE: 4, DOUBLE: 8, WHOLE: 8}.get(of, 1)
