"""Rules that see every coordinate by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Minority
from privrobust.aggregators.moments import mean
from privrobust.aggregators.order_statistics import (
    MOST_COMPARED,
    in_blocks,
    mean_of_ranks,
    sorted_rows,
    sum_of_shares,
)
from privrobust.core.lazy_imports import torch
from privrobust.kernels.backend import takes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mean(Aggregator):
    """The average: the non-robust baseline. One worker can move it anywhere, to NaN included."""

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return 0 without Byzantine workers, who move it without bound."""
        return math.inf if byzantine else 0.0

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean over workers."""
        return mean(messages)


@dataclass(frozen=True)
class Median(Aggregator):
    """Coordinate-wise median: noisy medianSGD.

    For an even number of workers it is the mean of the two middle values. NaN is ordered as
    +infinity, so the result is finite while fewer than n/2 messages are not.

    References:
        Distributed Training with Heterogeneous Data: Bridging Median- and Mean-Based Algorithms
        (https://arxiv.org/abs/1906.01736).

    >>> Median()(torch.tensor([[1.0], [2.0], [torch.nan], [4.0]]))
    tensor([3.])
    """

    paper: ClassVar[str] = "Chen et al. 2020, Algorithm 2"
    robust: ClassVar[bool] = True

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return that of the trimmed mean which leaves one value, or two."""
        return _kappa_bound((n - 1) // 2, n, byzantine)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the median over workers."""
        n = messages.shape[-2]
        return mean_of_ranks(messages, (n - 1) // 2, n // 2 + 1)


@dataclass(frozen=True)
class TrimmedMean(Minority, Aggregator):
    """Coordinate-wise mean without the f largest and the f smallest values.

    NaN is ordered as +infinity: the result is finite while at most f messages are not.

    Args:
        f: how many values to leave out at each end; a spec gives its number of Byzantine workers.

    References:
        Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates
        (https://arxiv.org/abs/1803.01498).

    >>> TrimmedMean(f=1)(torch.tensor([[1.0], [2.0], [4.0], [1e9]]))
    tensor([3.])
    """

    paper: ClassVar[str] = "Yin et al. 2018, Definition 2"

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return `f / (n - 2f)`, the least that a rule can have; more where it trims more."""
        return _kappa_bound(self.f, n, byzantine)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of the values between, over workers."""
        return mean_of_ranks(messages, self.f, messages.shape[-2] - self.f)


def _kappa_bound(trimmed: int, n: int, byzantine: int) -> float:
    """Return that of a mean without so many values at each end, which some messages reach."""
    if trimmed < byzantine or 2 * trimmed >= n:
        return math.inf
    return trimmed / (n - byzantine - trimmed)


@dataclass(frozen=True)
class MeaMed(Minority, Aggregator):
    """Coordinate-wise mean of the n - f values nearest to the median.

    NaN is ordered as +infinity: the result is finite while at most f messages are not. Of two
    values equally near, the smaller counts.

    Args:
        f: how many values to leave out; a spec gives its number of Byzantine workers.

    References:
        Generalized Byzantine-tolerant SGD (https://arxiv.org/abs/1802.10116).

    """

    paper: ClassVar[str] = "Xie et al. 2018, Generalized Byzantine-tolerant SGD"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean around the median, over workers."""
        return mean_around_median(messages, self.f)


def mean_around_median(messages: Tensor, f: int) -> Tensor:
    """Average the n - f values nearest to the median, `(..., n, d)` to `(..., d)`; f < n."""
    n = messages.shape[-2]
    if n <= MOST_COMPARED and takes(messages):
        from privrobust.kernels import order

        return order.mean_around_median(n, messages.dtype, f)(messages)[0]
    return in_blocks(partial(_around_median, f=f), messages)


def _around_median(messages: Tensor, f: int) -> Tensor:
    """Average a window: those nearest to the median are neighbours in order."""
    rows = sorted_rows(messages)
    n = len(rows)
    width = n - f
    # within the honest, and so finite: their sum may not be
    median = rows[(n - 1) // 2] / 2 + rows[n // 2] / 2
    start = _first_of_window(rows, median, f)
    within = [
        row.masked_fill((start > rank) | (start + width <= rank), 0.0)
        for rank, row in enumerate(rows)
    ]
    return sum_of_shares(within, 1 / width)


def _first_of_window(rows: Sequence[Tensor], median: Tensor, f: int) -> Tensor:
    """Return the rank at which the n - f values nearest to the median start."""
    infinite = (rows[-1] - rows[0]).isinf()
    if bool(infinite.any()):  # a quarter of what differs by more than a float may be
        share = torch.where(infinite, 0.25, 1.0).to(median.dtype)
        rows, median = [row * share for row in rows], median * share
    start = torch.zeros_like(median)
    for low in range(f):  # the window moves on while what it gains is nearer than its loss
        start += median - rows[low] > rows[low + len(rows) - f] - median
    return start
