"""Pairs of neighbouring datasets of gradients, each made to show a fault of another kind.

A row is a gradient; C is the norm that the claim speaks of. One row is the canary's. Where it is
small noise hides it, so that it either is as large as the claim allows, or changes what happens to
the others: a mechanism that looks at all rows to treat one must not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Adjacency = Literal["zero-out", "add-or-remove", "replace-one"]
Rows = Literal["any", "finite", "bounded"]
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)
ROWS: tuple[Rows, ...] = get_args(Rows)
"""Which a claim is made of, from all to those within the norm."""


@dataclass(frozen=True)
class Pair:
    """Two neighbours, float32 `(examples, dim)`.

    Attributes:
        says: what they are, in words.
        inside: with the canary.
        outside: without it.
        opposite: with the canary turned around, for every second call: where calls share noise,
            that cancels in differences and the canary does not.
        opposite_outside: without it, in those calls.
        rest: a dataset that both have in common, to look at noise alone.

    """

    says: str
    inside: Tensor
    outside: Tensor
    opposite: Tensor
    opposite_outside: Tensor
    rest: Tensor


def pairs(dim: int, examples: int, norm: float, adjacency: Adjacency, rows: Rows) -> Iterator[Pair]:
    """Yield pairs whose rows are of that kind."""
    for says, kind, canary, others, place in _datasets(dim, examples, norm, adjacency):
        if ROWS.index(kind) < ROWS.index(rows):
            continue

        def dataset(row: Tensor | None, others: Tensor = others, place: int = place) -> Tensor:
            before, after = others[:place], others[place:]
            middle = [] if row is None else [row.unsqueeze(0)]
            return torch.cat([before, *middle, after])

        zero = torch.zeros(dim)
        absent = None if adjacency == "add-or-remove" else zero
        outside, turned = dataset(absent), dataset(absent)
        if adjacency == "replace-one":
            outside, turned = dataset(zero if canary.isnan().any() else -canary), dataset(canary)
        yield Pair(says, dataset(canary), outside, dataset(-canary), turned, dataset(absent))


def _datasets(
    dim: int, examples: int, norm: float, adjacency: Adjacency
) -> Iterator[tuple[str, Rows, Tensor, Tensor, int]]:
    """Yield what it is, its kind of rows, the canary, the other rows, and the canary's place."""
    one, second, even = torch.zeros(dim), torch.zeros(dim), torch.ones(dim)
    one[0], second[1 % dim] = norm, norm
    even *= norm / math.sqrt(dim) * (1 - 2**-20)  # rounding must not carry it beyond the norm
    count = examples - 1
    nothing, across = torch.zeros(count, dim), second.repeat(count, 1)
    at_end = count
    yield "one coordinate of full norm, others zero", "bounded", one, nothing, 0
    yield "all coordinates alike, of full norm, others zero", "bounded", even, nothing, at_end
    if adjacency == "add-or-remove":
        yield "one coordinate of full norm, alone", "bounded", one, nothing[:0], 0
        yield "a thousand norms, alone", "finite", 1e3 * one, nothing[:0], 0
    sizes = (("2 norms", 2.0), ("64 norms", 64.0), ("a million norms", 1e6), ("1e30 norms", 1e30))
    for name, size in sizes:
        yield f"one coordinate of {name}, others zero", "finite", size * one, nothing, at_end
        yield f"all coordinates alike, of {name}, others zero", "finite", size * even, nothing, 0
    if count:
        yield "one coordinate of full norm, others alike", "bounded", one, one.repeat(count, 1), 0
        yield (
            "one coordinate of full norm, others against",
            "bounded",
            one,
            -one.repeat(count, 1),
            0,
        )
        yield "one coordinate of full norm, others across", "bounded", one, across, at_end
        yield "full norm beside a thousandth across", "bounded", one, across / 1e3, 0
        yield "a millionth of a norm beside full norms", "bounded", one / 1e6, across, 0
        sized = torch.logspace(-2, 2, count).unsqueeze(1) * across
        yield "100 norms beside rows from 0.01 to 100 norms", "finite", 100 * one, sized, 0
        for name, size in sizes[1:3]:
            yield f"{name} beside full norms across", "finite", size * one, across, 0
            yield f"{name} of all coordinates beside full norms", "finite", size * even, across, 0
        yield "full norm beside a million norms across", "finite", one, 1e6 * across, 0
    for name, value in (("infinity", math.inf), ("NaN", math.nan)):
        broken = torch.zeros(dim)
        broken[0] = value
        yield f"one coordinate is {name}, others zero", "any", broken, nothing, 0
        if count:
            yield f"one coordinate is {name}, others of full norm across", "any", broken, across, 0
