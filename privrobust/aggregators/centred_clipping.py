"""Averages of what messages add to a common point, clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.distances import Geometry
from privrobust.aggregators.scaling import scaled
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

Start = Literal["medoid", "mean", "zero"]


@dataclass(frozen=True)
class CentredClipping(Aggregator):
    """`v + mean(clip(x_i - v, radius))`, repeated; v starts at the medoid unless told.

    The medoid is the message with the least sum of distances to the others. The paper starts at the
    last step's aggregate; starting anew keeps a rule a function of its messages. Whatever a worker
    sends, it moves a round by `radius / n` at most. It is robust from the medoid: one worker can
    move the mean, as a start, anywhere, and zero may be anywhere to the messages.

    Args:
        radius: the norm to clip to (tau of the paper), in the unit of the messages.
        iterations: rounds (L of the paper).
        start: where v starts.

    References:
        Learning from History for Byzantine Robust Optimization (https://arxiv.org/abs/2012.10333).

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2021, Algorithm 2"
    robust: ClassVar[bool] = True

    radius: float = parameter(10.0, above=0)
    iterations: int = parameter(3, least=1)
    start: Start = "medoid"

    def __post_init__(self) -> None:
        """Settle whether it is robust: that depends on where it starts."""
        super().__post_init__()
        object.__setattr__(self, "robust", self.start == "medoid")

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return a weighted sum of the messages, as v is in every round."""
        geometry = Geometry.of(messages, may_shift=self.start != "zero")
        weights = self._first(geometry)
        radius = scaled(weights.new_full((), self.radius), -geometry.power)
        n = weights.shape[-1]
        for _ in range(self.iterations):
            distances = geometry.squared_distances_to(weights).sqrt_()
            factors = (radius / distances).clamp_(max=1.0)
            weights = weights * (1 - factors.mean(-1, keepdim=True)) + factors / n
        return geometry.weighted(weights)

    def _first(self, geometry: Geometry) -> Tensor:
        """Return the weights of v at first."""
        none = torch.zeros_like(geometry.squares())
        if self.start == "zero":
            return none
        if self.start == "mean":
            return none + 1 / none.shape[-1]
        medoid = geometry.squared_distances().sqrt_().sum(-1).argmin(-1, keepdim=True)
        return none.scatter_(-1, medoid, 1.0)
