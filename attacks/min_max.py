"""Min-Max and Min-Sum: as far from the honest mean as distances between honest messages allow.

Both send `mean + gamma * direction` with the largest gamma that keeps the message inside what
honest messages show. The paper searches gamma by halving steps; as the constraint is a quadratic in
gamma, it is solved here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.distances import Geometry, dots
from privrobust.aggregators.moments import mean, mean_and_std
from privrobust.aggregators.scaling import of_unit_size, scaled, unit
from privrobust.attacks.base import Attack, Generators, collude
from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["unit", "sign", "std"]


@dataclass(frozen=True)
class _Bounded(Attack):
    """`mean + gamma * direction`."""

    direction: Direction = "std"

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `mean + gamma * direction`, from every Byzantine worker."""
        middle, direction = self._direction(honest)
        # squares, of the direction and of the messages, are taken where there are such numbers
        measured, of_direction = of_unit_size(direction.unsqueeze(-2))
        messages, of_messages = of_unit_size(honest)
        geometry = Geometry.of(messages)
        measured = measured.squeeze(-2)
        square = measured.double().square().sum(-1, keepdim=True)
        products = dots(messages, measured)
        along = scaled(products.mean(-1, keepdim=True) - products, -geometry.power)
        gamma = self._gamma(geometry, along, square)
        power = geometry.power + (of_messages - of_direction).squeeze(-2)
        gamma = scaled(torch.where(square > 0, gamma / square, 0.0), power).to(middle.dtype)
        return collude(torch.addcmul(middle, gamma, direction), byzantine)

    def _direction(self, honest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the honest mean, and where the message goes from there."""
        if self.direction == "std":
            middle, std = mean_and_std(honest)
            return middle, std.neg_()
        middle = mean(honest)
        return middle, (middle.sign() if self.direction == "sign" else unit(middle)).neg_()

    @abstractmethod
    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """Return the largest gamma, times the direction's square, `(..., 1)`.

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

    References:
        Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning (https://doi.org/10.14722/ndss.2021.24498).

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Min-Max"

    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """Solve `|mean - x_i|^2 + 2 gamma along_i + gamma^2 square = most` for each i."""
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

    References:
        Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning (https://doi.org/10.14722/ndss.2021.24498).

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Min-Sum"

    def _gamma(self, geometry: Geometry, along: Tensor, square: Tensor) -> Tensor:
        """Solve `sum_i |mean - x_i|^2 + h gamma^2 square = most`: the `along_i` add up to 0."""
        most = geometry.squared_distances().sum(-1).amax(-1, keepdim=True)
        room = most - _from_mean(geometry).sum(-1, keepdim=True)
        return (square * room.clamp(min=0.0) / along.shape[-1]).sqrt()


def _from_mean(geometry: Geometry) -> Tensor:
    """Return squared distances to the mean, `(..., h)`."""
    uniform = torch.full_like(geometry.squares(), 1 / geometry.messages.shape[-2])
    return geometry.squared_distances_to(uniform)
