"""Inner-product manipulation: turn the aggregate against the honest mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.moments import mean
from privrobust.attacks.base import Attack, Generators, collude
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InnerProduct(Attack):
    """`-tau * mean` of the honest messages: Fall of Empires.

    Small tau hides near 0 and turns rules that trust short or near messages, large tau turns a
    mean. The same placement as `SignFlip`, known under its own name and strength.

    Args:
        tau: the strength (epsilon of the paper).

    References:
        Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation
        (https://arxiv.org/abs/1903.03936).

    """

    paper: ClassVar[str] = "Xie, Koyejo, Gupta 2020, Fall of Empires"

    tau: float = parameter(0.5, above=0)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `-tau * mean(honest)`, from every Byzantine worker."""
        return collude(mean(honest).mul_(-self.tau), byzantine)
