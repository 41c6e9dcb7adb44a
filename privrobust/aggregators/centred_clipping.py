"""Averages of what messages add to a common point, clipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.distances import Geometry
from privrobust.aggregators.known_noise import KnownNoise
from privrobust.aggregators.scaling import scaled
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

Start = Literal["medoid", "mean", "zero"]
Unit = Literal["message", "noise"]


@dataclass(frozen=True)
class CentredClipping(Aggregator):
    """`v + mean(clip(x_i - v, radius))`, repeated; v starts at the medoid unless told.

    The medoid is the message with the least sum of distances to the others. The paper starts at the
    last step's aggregate; starting anew keeps a rule a function of its messages. Whatever a worker
    sends, it moves a round by `radius / n` at most. It is robust from the medoid: one worker can
    move the mean, as a start, anywhere, and zero may be anywhere to the messages.

    A radius far below the length of the noise leaves v where it starts: at one message, noise and
    all. So a radius that fits goes with the noise, `unit="noise"`: a radius of 1 is then
    `sqrt(d) s + C'`, how long noise and a clipped gradient make an honest message. s is the
    standard deviation of the noise in it (b, if that is Gaussian and one step's), and C' the norm
    that a clipped batch exceeds but rarely, `C (1 + 3 / sqrt(B))`. All of that is public
    (`KnownNoise.longest`). Behind `nnm` or `bucketing`, whose means are shorter, it is too long.

    Args:
        radius: the norm to clip to (tau of the paper), in that unit.
        iterations: rounds (L of the paper).
        start: where v starts.
        unit: that of the messages, or how long the run's noise makes an honest one.

    References:
        Learning from History for Byzantine Robust Optimization (https://arxiv.org/abs/2012.10333).

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2021, Algorithm 2"
    robust: ClassVar[bool] = True
    _noise: ClassVar[KnownNoise | None] = None

    radius: float = parameter(10.0, above=0)
    iterations: int = parameter(3, least=1)
    start: Start = "medoid"
    unit: Unit = "message"

    def __post_init__(self) -> None:
        """Settle whether it is robust, by where it starts, and what it is told, by its unit."""
        super().__post_init__()
        object.__setattr__(self, "robust", self.start == "medoid")
        object.__setattr__(self, "knows_reach", self.unit == "noise")

    def in_run(self, noise: KnownNoise) -> Self:
        """Return the rule with the run's noise, which may be the unit of its radius."""
        begun = replace(self)
        object.__setattr__(begun, "_noise", noise)
        return begun

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return a weighted sum of the messages, as v is in every round."""
        geometry = Geometry.of(messages, may_shift=self.start != "zero")
        weights = self._first(geometry)
        radius = scaled(weights.new_tensor(self.radius) * self._unit(messages), -geometry.power)
        n = weights.shape[-1]
        for _ in range(self.iterations):
            distances = geometry.squared_distances_to(weights).sqrt_()
            factors = (radius / distances).clamp_(max=1.0)
            weights = weights * (1 - factors.mean(-1, keepdim=True)) + factors / n
        return geometry.weighted(weights)

    def _unit(self, messages: Tensor) -> Tensor | float:
        """Return what a radius of 1 is, of each lane `(..., 1)`."""
        if self.unit == "message":
            return 1.0
        if self._noise is None:
            raise SpecError(
                "CentredClipping: unit='noise' outside a run, where no noise is known; accepted: "
                "in_run, or unit='message'"
            )
        return self._noise.longest(messages.shape[-1]).squeeze(-1)

    def _first(self, geometry: Geometry) -> Tensor:
        """Return the weights of v at first."""
        none = torch.zeros_like(geometry.squares())
        if self.start == "zero":
            return none
        if self.start == "mean":
            return none + 1 / none.shape[-1]
        medoid = geometry.squared_distances().sqrt_().sum(-1).argmin(-1, keepdim=True)
        return none.scatter_(-1, medoid, 1.0)
