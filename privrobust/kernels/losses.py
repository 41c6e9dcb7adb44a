"""Gradients of losses by scores, of which an example's depends on nothing but its own."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from privrobust.core.lazy_imports import torch
from privrobust.kernels.machine_code import INTEGER, POINTER, function
from privrobust.kernels.writing import DOUBLE, INDEX, Numbers, Writer, constant, kind_of, type_of

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH = 8

# Below, an exponential is 0: it would not be a normal number of float64.
_LEAST = -708.0
# ln 2 in two parts, of which products of the first with whole numbers up to 2^11 are exact.
_LN2 = 0.6931471805598903, 5.497923018708371e-14
# A float64 of this size has no bits below 1: adding it rounds, to what its last bits then say.
_WHOLE = 1.5 * 2.0**52
# The exponential's series, to beyond the last bit of what is at most ln 2 / 2.
_SERIES = [1 / math.factorial(power) for power in range(13, -1, -1)]


def cross_entropy_errors(scores: Tensor, labels: Tensor) -> Tensor:
    """Return `softmax(s) - e_y`, taken in float64, for scores `(examples, classes)`.

    The label's is minus the sum of the others, so that it is right however small.

    Raises:
        IndexError: a label is none of the classes.

    """
    if len(labels):
        least, most = (int(end) for end in labels.aminmax())
        if least < 0 or most >= scores.shape[1]:
            raise IndexError(f"labels from {least} to {most} of {scores.shape[1]} classes")
    scores, labels = scores.contiguous(), labels.contiguous()
    out = torch.empty_like(scores)
    held = torch.empty(scores.shape[1], dtype=torch.float64)
    pointers = (each.data_ptr() for each in (scores, labels, out, held))
    _cross_entropy(scores.dtype)(*pointers, *scores.shape)
    return out


@cache
def _cross_entropy(kind: torch.dtype) -> Any:
    write = Writer(pointers=4, integers=2)
    builder = write.builder
    *pointers, count, classes = write.arguments
    kinds = type_of(kind), INDEX, type_of(kind), DOUBLE
    scores, labels, out, sizes = map(partial(Numbers, write), pointers, kinds)
    whole = builder.and_(classes, INDEX(-_LENGTH))
    parts = (INDEX(0), whole, _LENGTH), (whole, classes, 1)
    with write.counted(INDEX(0), count) as (row, *_):
        given, into = scores.at((row, classes)), out.at((row, classes))
        label = labels.at(row).load()
        largest = given.load()
        with write.counted(INDEX(1), classes, 1, [largest]) as (place, (most,), following):
            value = given.at(place).load()
            following.append(builder.select(builder.fcmp_unordered(">", value, most), value, most))
        top = write.as_doubles(most)
        for first, last, length in parts:
            with write.counted(first, last, length) as (place, *_):
                value = write.as_doubles(given.at(place).load(length))
                sizes.at(place).store(
                    _exponential(write, builder.fsub(value, write.spread(top, length)))
                )
        of_label = sizes.at(label)
        size = of_label.load()
        of_label.store(DOUBLE(0.0))
        with write.counted(INDEX(0), classes, 1, [DOUBLE(0.0)]) as (place, (others,), following):
            following.append(builder.fadd(others, sizes.at(place).load()))
        of_label.store(builder.fneg(others))
        total = builder.fadd(others, size)
        for first, last, length in parts:
            with write.counted(first, last, length) as (place, *_):
                value = builder.fdiv(sizes.at(place).load(length), write.spread(total, length))
                into.at(place).store(write.narrowed(value, type_of(kind)))
    return function(write.source(), "kernel", *[POINTER] * 4, *[INTEGER] * 2)


def _exponential(write: Writer, value: Any) -> Any:
    """Return e to the power of what is not positive; of NaN, NaN."""
    builder, kind = write.builder, value.type
    length = getattr(kind, "count", 1)
    number = partial(constant, kind)
    counts = write.product_added(value, number(1 / math.log(2)), number(_WHOLE))
    whole = builder.fsub(counts, number(_WHOLE))
    rest = value
    for part in _LN2:
        rest = write.product_added(whole, number(-part), rest)
    total = number(_SERIES[0])
    for factor in _SERIES[1:]:
        total = write.product_added(total, rest, number(factor))
    bits = kind_of(INDEX, length)
    powers = builder.shl(builder.bitcast(counts, bits), constant(bits, 52))
    scaled = builder.bitcast(builder.add(builder.bitcast(total, bits), powers), kind)
    vanishes = builder.fcmp_ordered("<", value, number(_LEAST))
    is_number = builder.fcmp_ordered("ord", value, value)
    found = builder.select(vanishes, number(0.0), scaled)
    return builder.select(is_number, found, value)
