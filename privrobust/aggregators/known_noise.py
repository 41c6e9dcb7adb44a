"""What everybody knows of the noise in honest messages, and tests of whether a message has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from privrobust.aggregators.scaling import lengths
from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

LEVEL = 0.05
"""Probability with which the Kolmogorov-Smirnov test rejects noise alone."""

_STDS = 3.0  # of a squared norm from its mean


@dataclass(frozen=True)
class KnownNoise:
    """What everybody knows of a run's honest messages before it starts; all `(lanes, 1, 1)`.

    Without momentum a message is `v + std * xi`, with one standard normal number a coordinate; with
    momentum beta it is the mean of these that `m <- beta m + (1 - beta) (v + std * xi)` makes.
    """

    std: Tensor
    """Standard deviation of the noise that each step adds to a coordinate of a message.

    It is b times that of its law, with the noise of pairs and of all local steps in it.
    """
    momentum: Tensor
    """Beta of the workers."""
    reach: Tensor
    """A norm that v has at most, but for unlikely batches; infinite where nothing bounds it.

    `C (1 + 3 / sqrt(B))` of a batch of B examples, C of a worker.
    """

    def std_at(self, step: float) -> Tensor:
        """Return the standard deviation on a coordinate of the messages of a step, counted from 1.

        At infinity it is the limit of many steps.
        `std^2 (1 - beta)^2 sum_{k < step} beta^(2 k)`, as the noise of steps is independent.
        """
        beta = self.momentum.double()
        kept = (1 - beta) / (1 + beta) * (1 - beta ** (2 * step))
        return (self.std.double() * kept.sqrt()).to(self.std.dtype)

    def longest(self, dim: int) -> Tensor:
        """Return how long noise and gradient make a message of so many coordinates, float64.

        `sqrt(d) s + reach`, s the standard deviation after many steps: the root of the noise's mean
        squared norm, and what v adds to it at most. In high dimensions the norm of Gaussian
        noise is nearly that, so that an honest message is rarely much longer. Means of messages, as
        `nnm` and `bucketing` make them, are shorter.
        """
        return math.sqrt(dim) * self.std_at(math.inf).double() + self.reach.double()


def passes(messages: Tensor, std: Tensor, reach: Tensor) -> Tensor:
    """Tell which messages look like Gaussian noise of this size over little else.

    Two tests (Xiang et al. 2023, first stage): the squared norm is within three standard deviations
    of `d std^2`, where an honest v of norm up to `reach` may have added to it; and a two-sided
    Kolmogorov-Smirnov test of the d coordinates against N(0, std^2) has a p-value of 0.05 or more.
    The second is made without a p-value: it asks of each order statistic whether it lies in the
    `quantile_band`, which is the same.

    Args:
        messages: finite, `(..., n, d)`.
        std: above 0, `(..., 1, 1)`.
        reach: `(..., 1, 1)`.

    Returns:
        `(..., n)`.

    """
    dim = messages.shape[-1]
    low, high = (end * std.to(messages.dtype) for end in quantile_band(messages))
    ordered = _ascending(messages)
    has_quantiles = ((ordered >= low) & (ordered <= high)).all(-1)
    squares = (lengths(messages) / std.squeeze(-1).double()).square()
    hidden = (reach.double() / std.double()).squeeze(-1).square()
    longest = dim + hidden + _STDS * (2 * dim + 4 * hidden).sqrt()
    shortest = dim - _STDS * math.sqrt(2 * dim)
    fits: Tensor = has_quantiles & (squares >= shortest) & (squares <= longest)
    return fits


def _ascending(values: Tensor) -> Tensor:
    """Sort along the last axis; on the CPU by numpy, whose vector instructions torch has not."""
    if values.device.type != "cpu":
        return values.sort(-1).values
    import numpy as np

    return torch.from_numpy(np.sort(values.detach().numpy(), axis=-1))


def longest_square(dim: int) -> float:
    """Return the largest squared norm, in units of the variance, that passes for noise alone."""
    return dim + _STDS * math.sqrt(2 * dim)


def quantile_band(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the Kolmogorov-Smirnov test accepts of d numbers, sorted, in units of their std.

    With F the normal distribution function and x_i the i-th smallest of d, its statistic is at most
    c exactly where `i/d - c <= F(x_i) <= (i - 1)/d + c` for all i: so x_i lies between the normal
    quantiles of the two. c is that of the finite d (Simard, L'Ecuyer 2011), no limit.

    Returns:
        Least and largest values, `(d,)` each, ascending, infinite towards an end.

    """
    low, high = _quantile_band(like.shape[-1])
    return torch.from_numpy(low).to(like), torch.from_numpy(high).to(like)


@lru_cache(maxsize=8)
def _quantile_band(dim: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    import numpy as np
    from scipy.special import ndtri
    from scipy.stats import kstwo  # takes a second to load

    widest = kstwo.isf(LEVEL, max(1, dim))
    below = np.arange(dim) / max(1, dim)
    low = ndtri(np.clip(below + 1 / max(1, dim) - widest, 0.0, 1.0))
    return low, ndtri(np.clip(below + widest, 0.0, 1.0))
