"""Kernels of sums over workers, however many: means, standard deviations, votes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.kernels.coordinates import Kernel, Vectors


@cache
def mean() -> Kernel:
    """Compile the mean of float32, whose sum in double precision is always finite."""

    def body(vectors: Vectors) -> list[Any]:
        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            return [builder.fadd(sums[0], builder.fpext(value, vectors.doubles))]

        builder = vectors.builder
        (total,) = vectors.over_workers([vectors.all_are(0, vectors.doubles)], add)
        return [_rounded(vectors, builder.fmul(total, _share(vectors)))]

    return Kernel(body, torch.float32, vectors=2)


@cache
def mean_and_std() -> Kernel:
    """Compile both of float32, in one pass in double precision.

    Squares are of what a worker differs from the first by: the mean lies from the first by no more
    than the variance has room for, n times, so their difference loses few of its digits.
    """

    def body(vectors: Vectors) -> list[Any]:
        builder = vectors.builder
        first = builder.fpext(vectors.load(ir.IntType(64)(0)), vectors.doubles)

        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            apart = builder.fsub(builder.fpext(value, vectors.doubles), first)
            return [builder.fadd(sums[0], apart), vectors.product_added(apart, apart, sums[1])]

        sums = vectors.over_workers([vectors.all_are(0, vectors.doubles)] * 2, add)
        share = _share(vectors)
        apart, square = (builder.fmul(each, share) for each in sums)
        variance = builder.fsub(square, builder.fmul(apart, apart))
        root = vectors.root(_at_least_zero(vectors, variance))
        return [_rounded(vectors, each) for each in (builder.fadd(first, apart), root)]

    return Kernel(body, torch.float32, outputs=2, vectors=2)


@cache
def votes(dtype: torch.dtype) -> Kernel:
    """Compile the sign of the sum of signs; NaN votes +1."""

    def body(vectors: Vectors) -> list[Any]:
        builder, zero = vectors.builder, vectors.all_are(0)
        counts = ir.VectorType(ir.IntType(8 * dtype.itemsize), vectors.numbers.count)
        nothing = vectors.all_are(0, counts)

        def add(sums: Sequence[Any], value: Any) -> list[Any]:
            up = builder.zext(builder.fcmp_unordered(">", value, zero), counts)
            down = builder.sext(builder.fcmp_ordered("<", value, zero), counts)
            return [builder.add(sums[0], builder.add(up, down))]

        (lead,) = vectors.over_workers([nothing], add)
        signs = [
            builder.select(builder.icmp_signed(than, lead, nothing), vectors.all_are(sign), zero)
            for than, sign in ((">", 1), ("<", -1))
        ]
        return [builder.fadd(*signs)]

    return Kernel(body, dtype, vectors=2)


def _share(vectors: Vectors) -> Any:
    """Return one over the number of workers, in a vector of doubles."""
    builder, double = vectors.builder, ir.DoubleType()
    return vectors.spread(builder.fdiv(double(1), builder.sitofp(vectors.workers, double)))


def _at_least_zero(vectors: Vectors, value: Any) -> Any:
    """Return 0 for what rounding has taken below, and NaN for NaN."""
    zero = vectors.all_are(0, vectors.doubles)
    return vectors.builder.select(vectors.builder.fcmp_ordered("<", value, zero), zero, value)


def _rounded(vectors: Vectors, value: Any) -> Any:
    return vectors.builder.fptrunc(value, vectors.numbers)
