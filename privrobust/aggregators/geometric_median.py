"""The point with the least sum of distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.distances import Geometry, row, times
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GeometricMedian(Aggregator):
    """The point with the least sum of distances to the messages, by smoothed Weiszfeld steps.

    It starts near the message whose median distance to the others is least, which is near honest
    ones while they are the majority, wherever the others are. Robust while f < n/2.

    Args:
        smoothing: distances below it count as this much (nu of the paper), in units of the median
            distance of that message to the others.
        iterations: Weiszfeld steps at most.

    References:
        Robust Aggregation for Federated Learning (https://arxiv.org/abs/1912.13445).

    """

    paper: ClassVar[str] = "Pillutla, Kakade, Harchaoui 2022, Algorithm 2"
    robust: ClassVar[bool] = True

    smoothing: float = parameter(1e-6, above=0)
    iterations: int = parameter(100, least=1)

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return `4 ((n - f) / (n - 2f))^2`, that of the exact point."""
        if 2 * byzantine >= n:
            return math.inf
        return 4 * ((n - byzantine) / (n - 2 * byzantine)) ** 2

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return a weighted mean of the messages."""
        geometry = Geometry.of(messages)
        between = geometry.squared_distances().sqrt_()
        medians = between.median(dim=-1).values
        least, central = medians.min(dim=-1, keepdim=True)
        from_central = row(between, central.squeeze(-1))
        smoothing = (self.smoothing * least).clamp_(min=torch.finfo(least.dtype).tiny)
        weights = _inverse(torch.maximum(from_central, least), smoothing)
        moves = torch.ones_like(least, dtype=torch.bool)
        # a move that rounding could have made is none; 1e-10 where float64 is finer than needed
        still = max(torch.finfo(messages.dtype).eps, 1e-10) * least
        for _ in range(self.iterations):
            distances = geometry.squared_distances_to(weights).sqrt_()
            change = _inverse(distances, smoothing) - weights
            weights = weights + change * moves  # a lane that has converged stays
            moves = moves & (_norm(geometry, change) > still)
            if not bool(moves.any()):
                break
        return geometry.weighted(weights)


def _norm(geometry: Geometry, weights: Tensor) -> Tensor:
    """Return that of the sum of `weight * message`, `(..., 1)`, of weights that sum to 0."""
    squares = (weights * times(geometry.products, weights)).sum(-1, keepdim=True)
    return squares.clamp_(min=0.0).sqrt_()


def _inverse(distances: Tensor, least: Tensor) -> Tensor:
    """Return weights in proportion to 1 / distance, which sum to 1."""
    distances = torch.maximum(distances, least)
    weights = distances.amin(-1, keepdim=True) / distances
    return weights / weights.sum(-1, keepdim=True)
