"""Min-Max and Min-Sum: as far from the honest mean as distances between honest messages allow.

Both send `mean + gamma * direction` with the largest gamma that keeps the message inside what
honest messages show. The paper searches gamma by halving steps; as the constraint is a quadratic in
gamma, it is solved here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.distances import Geometry
from privrobust.attacks.base import Attack, Generators, collude
from privrobust.late import torch
from privrobust.spread import mean_and_std

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["unit", "sign", "std"]


@dataclass(frozen=True)
class _Bounded(Attack):
    """`mean + gamma * direction`."""

    direction: Direction = "std"

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """From every Byzantine worker."""
        mean, direction = self._direction(honest)
        square = direction.double().square().sum(-1, keepdim=True)
        # <direction, mean - x_i>
        along = ((mean * direction).sum(-1, keepdim=True) - _dot(honest, direction)).double()
        gamma = self._gamma(Geometry.of(honest), along, square)
        gamma = torch.where(square > 0, gamma / square, 0.0).to(mean.dtype)
        return collude(torch.addcmul(mean, gamma, direction), byzantine)

    def _direction(self, honest: Tensor) -> tuple[Tensor, Tensor]:
        """The honest mean, and where the message goes from there."""
        if self.direction == "std":
            mean, std = mean_and_std(honest)
            return mean, std.neg_()
        mean = honest.mean(dim=-2)
        if self.direction == "sign":
            return mean, mean.sign().neg_()
        return mean, torch.nn.functional.normalize(mean, dim=-1).neg_()

    @abstractmethod
    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """The largest gamma, times the direction's square, `(..., 1)`.

        Args:
            geometry: of the honest messages.
            along: `<direction, mean - x_i>`, `(..., h)`.
            square: of the direction's norm, `(..., 1)`.

        """


@dataclass(frozen=True)
class MinMax(_Bounded):
    """No further from any honest message than honest messages are from each other.

    Args:
        direction: from the mean: "std" (minus the standard deviations), "sign" (minus the mean's
            sign) or "unit" (minus the mean, of norm 1).

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Min-Max"

    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """Solves `|mean - x_i|^2 + 2 gamma along_i + gamma^2 square = most` for each i."""
        most = geometry.squared_distances().amax((-2, -1)).unsqueeze(-1)
        room = most - _from_mean(geometry)
        return ((along.square() + square * room.clamp(min=0.0)).sqrt() - along).amin(
            -1, keepdim=True
        )


@dataclass(frozen=True)
class MinSum(_Bounded):
    """Of no larger sum of squared distances to honest messages than an honest message has.

    Args:
        direction: as of Min-Max.

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Min-Sum"

    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """Solves `sum_i |mean - x_i|^2 + h gamma^2 square = most`: the `along_i` add up to 0."""
        most = geometry.squared_distances().sum(-1).amax(-1, keepdim=True)
        room = most - _from_mean(geometry).sum(-1, keepdim=True)
        return (square * room.clamp(min=0.0) / along.shape[-1]).sqrt()


def _from_mean(geometry: Geometry) -> Tensor:
    """Squared distances to the mean, `(..., h)`."""
    uniform = torch.full_like(geometry.squares(), 1 / geometry.messages.shape[-2])
    return geometry.squared_distances_to(uniform)


def _dot(honest: Tensor, direction: Tensor) -> Tensor:
    """`(..., h, d)` and `(..., d)` to `(..., h)`."""
    return (honest @ direction.unsqueeze(-1)).squeeze(-1)
