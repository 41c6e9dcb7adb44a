"""Writing loops in LLVM's language, with values that stay in registers from turn to turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from privrobust.core.lazy_imports import torch

WHOLE, SINGLE, DOUBLE = ir.IntType(64), ir.FloatType(), ir.DoubleType()
_UNROLLED = 8  # turns that are written one after the other
Value = Any
"""One of llvmlite's, which have no types of their own."""


class Writer:
    """One function without a result, written instruction by instruction."""

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
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """Write what follows for every `start <= i < stop`, i being what is yielded."""
        with self._turns(start, stop, step, []) as (i, _, _):
            yield i

    def accumulated(
        self,
        start: Value,
        stop: Value,
        initial: Sequence[Value],
        turn: Callable[[Value, Sequence[Value]], Sequence[Value]],
    ) -> list[Value]:
        """Return what values are after `turn(i, values)` for every `start <= i < stop`."""
        with self._turns(start, stop, 1, initial) as (i, values, following):
            following += turn(i, values)
        return values

    @contextmanager
    def _turns(
        self, start: Value, stop: Value, step: int, initial: Sequence[Value]
    ) -> Iterator[tuple[Value, list[Value], list[Value]]]:
        builder = self.builder
        before = builder.block
        head, body, after = (builder.function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i, *values = (builder.phi(each.type) for each in (start, *initial))
        for phi, value in zip((i, *values), (start, *initial), strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", i, stop), body, after)
        builder.position_at_end(body)
        following: list[Value] = []
        yield i, values, following
        next_i = builder.add(i, WHOLE(step))
        for phi, value in zip((i, *values), (next_i, *following), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def at(self, base: Value, *terms: Value | tuple[Value, Value]) -> Value:
        """Return the address of a number: terms are added up, pairs are multiplied first."""
        for term in terms:
            index = self.builder.mul(*term) if isinstance(term, tuple) else term
            base = self.builder.gep(base, [index])
        return base

    def spans(self, length: int, width: int, turn: Callable[[Value, int], None]) -> None:
        """Write `turn(start, width)` for parts of a row, vectors of 2 to some power, down to 1."""
        start = 0
        while length - start > 0:
            turns = (length - start) // width
            if turns > _UNROLLED:
                with self.loop(WHOLE(start), WHOLE(start + turns * width), width) as place:
                    turn(place, width)
            else:
                for number in range(turns):
                    turn(WHOLE(start + number * width), width)
            start += turns * width
            width //= 2

    def load(self, address: Value, width: int = 1) -> Value:
        """Read so many neighbours as a vector, or one number."""
        if width == 1:
            return self.builder.load(address)
        of = address.type.pointee
        vector = self.builder.load(
            self.builder.bitcast(address, ir.VectorType(of, width).as_pointer())
        )
        vector.align = _bytes(of)
        return vector

    def store(self, value: Value, address: Value) -> None:
        """Write a vector, or one number."""
        if isinstance(value.type, ir.VectorType):
            address = self.builder.bitcast(address, value.type.as_pointer())
            self.builder.store(value, address).align = _bytes(value.type.element)
        else:
            self.builder.store(value, address)

    def widened(self, value: Value) -> Value:
        """Return a number or a vector in float64."""
        wide = _like(DOUBLE, value)
        return value if value.type == wide else self.builder.fpext(value, wide)

    def everywhere(self, value: Value, width: int) -> Value:
        """Return a vector of one number."""
        if width == 1:
            return value
        empty = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.IntType(32)(0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        return self.builder.shuffle_vector(first, empty, places)

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


def _like(of: ir.Type, value: Value) -> ir.Type:
    vector = isinstance(value.type, ir.VectorType)
    return ir.VectorType(of, value.type.count) if vector else of


def _bytes(of: ir.Type) -> int:
    return 8 if of in (DOUBLE, WHOLE) else 4 if of == SINGLE else of.width // 8
