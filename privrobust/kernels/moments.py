"""Kernels of sums over workers, however many: means, standard deviations, votes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.kernels.coordinates import Kernel, Workers
from privrobust.kernels.writing import DOUBLE, INDEX


@cache
def mean() -> Kernel:
    """Compile the mean of float32, whose sum in double precision is always finite."""

    def body(workers: Workers) -> list[Any]:
        program = workers.program

        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            return [program.builder.fadd(sums[0], program.as_doubles(value))]

        (total,) = workers.sums([program.all_are(0, program.doubles)], add)
        return [program.rounded(program.builder.fmul(total, _share(workers)))]

    return Kernel(body, torch.float32, vectors=2)


@cache
def mean_and_std() -> Kernel:
    """Compile both of float32, in one pass in double precision.

    Squares are of what a worker differs from the first by: the mean lies from the first by no more
    than the variance has room for, n times, so their difference loses few of its digits.
    """

    def body(workers: Workers) -> list[Any]:
        program, builder = workers.program, workers.program.builder
        first = program.as_doubles(workers.load(INDEX(0)))

        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            apart = builder.fsub(program.as_doubles(value), first)
            return [builder.fadd(sums[0], apart), program.product_added(apart, apart, sums[1])]

        zero = program.all_are(0, program.doubles)
        share = _share(workers)
        apart, square = (builder.fmul(each, share) for each in workers.sums([zero] * 2, add))
        variance = builder.fsub(square, builder.fmul(apart, apart))
        # rounding may have taken it below 0; NaN stays
        variance = builder.select(builder.fcmp_ordered("<", variance, zero), zero, variance)
        made = builder.fadd(first, apart), program.root(variance)
        return [program.rounded(each) for each in made]

    return Kernel(body, torch.float32, outputs=2, vectors=2)


@cache
def votes(dtype: torch.dtype) -> Kernel:
    """Compile the sign of the sum of signs; NaN votes +1."""

    def body(workers: Workers) -> list[Any]:
        program, builder = workers.program, workers.program.builder
        counts = ir.VectorType(ir.IntType(8 * dtype.itemsize), program.length)
        zero, nothing = program.all_are(0), program.all_are(0, counts)

        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            up = builder.zext(builder.fcmp_unordered(">", value, zero), counts)
            down = builder.sext(builder.fcmp_ordered("<", value, zero), counts)
            return [builder.add(sums[0], builder.add(up, down))]

        (lead,) = workers.sums([nothing], add)
        signs = [
            builder.select(builder.icmp_signed(than, lead, nothing), program.all_are(sign), zero)
            for than, sign in ((">", 1), ("<", -1))
        ]
        return [builder.fadd(*signs)]

    return Kernel(body, dtype, vectors=2)


def _share(workers: Workers) -> Any:
    """Return one over the number of workers, in a vector of doubles."""
    program, builder = workers.program, workers.program.builder
    return program.spread(builder.fdiv(DOUBLE(1), builder.sitofp(workers.count, DOUBLE)))
