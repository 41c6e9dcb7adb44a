"""Label poisoning: follow the protocol on bad data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.attacks.base import Attack, Generators, Sees
from privrobust.attacks.examples import Examples
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class _Poisoning(Attack):
    """Clips, averages and perturbs as honest workers do, on labels of its own."""

    sees: ClassVar[Sees] = "own"

    def craft(self, own: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return what the protocol makes of the bad labels."""
        return own


@dataclass(frozen=True)
class LabelFlip(_Poisoning):
    """Byzantine workers train honestly on labels `classes - 1 - y`.

    References:
        Byzantine-Resilient Non-Convex Stochastic Gradient Descent
        (https://arxiv.org/abs/2012.14368).

    """

    paper: ClassVar[str] = "Allen-Zhu et al. 2021, section 5"

    def poison(self, data: Examples, generator: Generator) -> Examples:
        """Mirror labels."""
        return data._replace(labels=data.classes - 1 - data.labels)


@dataclass(frozen=True)
class LabelShift(_Poisoning):
    """Byzantine workers train honestly on labels `(y + shift) mod classes`.

    Args:
        shift: how far; a multiple of the number of classes poisons nothing.

    """

    paper: ClassVar[str] = "this project"

    shift: int = parameter(1, least=1)

    def poison(self, data: Examples, generator: Generator) -> Examples:
        """Shift labels."""
        return data._replace(labels=(data.labels + self.shift % data.classes) % data.classes)
