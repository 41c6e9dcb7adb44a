"""The point with the least sum of distances."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.distances import Geometry
from privrobust.configured import parameter

# Weights that change by less than this have converged.
_CONVERGED = 1e-9


@dataclass(frozen=True)
class GeometricMedian(Aggregator):
    """The point with the least sum of distances to the messages, by smoothed Weiszfeld steps.

    It starts at the mean weighted by closeness to the others. Robust while f < n/2.

    Args:
        smoothing: distances below it count as this much (nu of the paper).
        iterations: Weiszfeld steps at most.

    """

    paper: ClassVar[str] = "Pillutla, Kakade, Harchaoui 2022, Algorithm 2"

    smoothing: float = parameter(1e-6, above=0)
    iterations: int = parameter(100, least=1)

    def aggregate(self, messages: Tensor) -> Tensor:
        """A weighted mean of the messages."""
        geometry = Geometry.of(messages)
        weights = _inverse(geometry.squared_distances().sqrt().sum(-1), self.smoothing)
        for _ in range(self.iterations):
            distances = geometry.squared_distances_to(weights).sqrt()
            update = _inverse(distances, self.smoothing)
            moves = (update - weights).abs().amax(-1, keepdim=True) > _CONVERGED
            weights = torch.where(moves, update, weights)  # a lane beside it changes nothing
            if not bool(moves.any()):
                break
        return geometry.weighted(weights)


def _inverse(distances: Tensor, least: float) -> Tensor:
    """Weights that sum to 1."""
    weights = 1 / distances.clamp(min=least)
    return weights / weights.sum(-1, keepdim=True)
