"""Sums of outer products over groups of rows, in float64.

Of each group some columns at a time are made float64 once, in the cache nearest to a core, and
then, for each number on the left, added up in registers, one row after the other. Rows in which
that number is 0 are left out, which changes no sum: half of what goes back through rectified units
is 0. So what a group gets depends on its own rows alone.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.machine_code import INTEGER, POINTER, function, vector_bytes
from privrobust.kernels.writing import DOUBLE, INDEX, Numbers, Writer, type_of

if TYPE_CHECKING:
    from torch import Tensor

# Vectors of columns that are summed together: with what they are multiplied with, as many as the
# registers of a processor that has few. Fewer of them are for the columns that are left.
_VECTORS = (14, 6, 2, 1)
# Rows whose columns the nearest cache holds, and numbers on the left whose lists the next one does.
_ROWS, _UNITS = 32, 128

# Products that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 22


def sum_outer_products(
    left: Tensor, right: Tensor, factors: Tensor, bounds: Tensor, out: Tensor
) -> None:
    """Write, for each group of rows, the sum of `factor left_i right_j` over its rows.

    A row whose `factor left_i` is 0 adds 0, whatever stands on its right.

    Args:
        left: float32 or float64 `(rows, p)`.
        right: as well, `(rows, d)`.
        factors: float64 `(rows,)`.
        bounds: int64 `(groups, 2)`: where each group begins and ends.
        out: float64 `(groups, p, d)`; each group's is contiguous.

    """
    left, right, factors = left.contiguous(), right.contiguous(), factors.contiguous()
    groups, p, d = out.shape
    add, stride = _kernel(right.dtype), out.stride(0)

    def add_some(first: int, last: int) -> None:
        held = torch.empty(_held(), dtype=torch.float64)
        add(
            left.data_ptr(), right.data_ptr(), factors.data_ptr(), bounds.data_ptr() + 16 * first,
            out.data_ptr() + 8 * first * stride, held.data_ptr(), last - first, stride, p, d,
        )  # fmt: skip

    parts = max(1, min(groups, len(left) * p * d // _LARGE))
    cuts = [groups * part // parts for part in range(parts + 1)]
    in_threads([partial(add_some, *ends) for ends in pairwise(cuts)])


def _wide() -> int:
    """Return how many columns are summed together at most."""
    return _VECTORS[0] * vector_bytes() // 8


def _held() -> int:
    """Return of how many numbers of 8 bytes a call makes use."""
    return _wide() * (_ROWS + 1) + _UNITS * (2 * _ROWS + 1)


@cache
def _kernel(kind: torch.dtype) -> Any:
    write = Writer(pointers=6, integers=4)
    builder = write.builder
    *pointers, groups, stride, p, d = write.arguments
    kinds = type_of(kind), type_of(kind), DOUBLE, INDEX, DOUBLE, DOUBLE
    left, right, factors, bounds, out, held = map(partial(Numbers, write), pointers, kinds)
    wide = INDEX(_wide())
    zeros, columns = held, held.at(wide)
    values = columns.at(INDEX(_ROWS * _wide()))
    offsets = values.at(INDEX(_ROWS * _UNITS))._replace(of=INDEX)
    lengths = offsets.at(INDEX(_ROWS * _UNITS))
    with write.counted(INDEX(0), wide) as (place, *_):
        zeros.at(place).store(DOUBLE(0.0))

    def list_rows(unit: Any, listed: Any, first: Any, last: Any) -> None:
        """List the rows in which a number is not 0, and what to multiply them with."""
        of_unit = (listed, INDEX(_ROWS))
        with write.counted(first, last, 1, [INDEX(0)]) as (row, (length,), following):
            value = write.as_doubles(left.at((row, p), unit).load())
            value = builder.fmul(value, factors.at(row).load())
            values.at(of_unit, length).store(value)
            offsets.at(of_unit, length).store(builder.mul(builder.sub(row, first), wide))
            counts = builder.fcmp_unordered("!=", value, DOUBLE(0.0))
            following.append(builder.add(length, builder.zext(counts, INDEX)))
        lengths.at(listed).store(length)

    def strip(j: Any, vectors: int, length: int, rows: Any, units: Any, is_first: Any) -> None:
        """Add up some columns, for each of some numbers on the left."""
        places = [INDEX(vector * length) for vector in range(vectors)]
        with write.counted(*rows) as (row, *_):
            given, made = right.at((row, d), j), columns.at((builder.sub(row, rows[0]), wide))
            for place in places:
                made.at(place).store(write.as_doubles(given.at(place).load(length)))
        with write.counted(*units) as (unit, *_):
            listed = builder.sub(unit, units[0])
            into = out_of_group.at((unit, d), j)
            before = into._replace(first=builder.select(is_first, zeros.first, into.first))
            sums = [before.at(place).load(length) for place in places]
            last = lengths.at(listed).load()
            of_unit = (listed, INDEX(_ROWS))
            with write.counted(INDEX(0), last, 1, sums) as (at, sums, following):
                value = write.spread(values.at(of_unit, at).load(), length)
                row = columns.at(offsets.at(of_unit, at).load())
                for place, total in zip(places, sums, strict=True):
                    number = row.at(place).load(length)
                    following.append(write.product_added(value, number, total))
            for place, total in zip(places, sums, strict=True):
                into.at(place).store(total)

    with write.counted(INDEX(0), groups) as (group, *_):
        first, last = (bounds.at((group, INDEX(2)), INDEX(k)).load() for k in (0, 1))
        out_of_group = out.at((group, stride))
        # of no rows, once, for zeros to be written
        end = builder.select(
            builder.icmp_signed("<", first, last), last, builder.add(first, INDEX(1))
        )
        with (
            write.counted(first, end, _ROWS) as (top, *_),
            write.counted(INDEX(0), p, _UNITS) as (start, *_),
        ):
            bottom = write.least(builder.add(top, INDEX(_ROWS)), last)
            stop = write.least(builder.add(start, INDEX(_UNITS)), p)
            with write.counted(start, stop) as (unit, *_):
                list_rows(unit, builder.sub(unit, start), top, bottom)
            done = INDEX(0)
            length = vector_bytes() // 8
            for vectors, numbers in (*((each, length) for each in _VECTORS), (1, 1)):
                step = vectors * numbers
                until = builder.sub(d, builder.srem(builder.sub(d, done), INDEX(step)))
                with write.counted(done, until, step) as (j, *_):
                    is_first = builder.icmp_signed("==", top, first)
                    strip(j, vectors, numbers, (top, bottom), (start, stop), is_first)
                done = until
    return function(write.source(), "kernel", *[POINTER] * 6, *[INTEGER] * 4)
