"""Sign-flip: push backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.moments import mean
from privrobust.attacks.base import Attack, Generators, Sees, collude
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SignFlip(Attack):
    """Minus the honest mean, scaled.

    Args:
        scale: how far beyond the mirrored mean; 1 mirrors it.

    References:
        Byzantine-Resilient Non-Convex Stochastic Gradient Descent
        (https://arxiv.org/abs/2012.14368).

    """

    paper: ClassVar[str] = "Allen-Zhu et al. 2021, section 5"

    scale: float = parameter(1.0, above=0)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `-scale * mean(honest)`, from every Byzantine worker."""
        return collude(mean(honest).mul_(-self.scale), byzantine)


@dataclass(frozen=True)
class OwnSignFlip(Attack):
    """Minus what each Byzantine worker itself would send, scaled: blind.

    Args:
        scale: how far beyond the mirrored message; 1 mirrors it.

    References:
        RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from
        Heterogeneous Datasets (https://arxiv.org/abs/1811.03761).

    """

    paper: ClassVar[str] = "Li et al. 2019, RSA"
    sees: ClassVar[Sees] = "own"

    scale: float = parameter(1.0, above=0)

    def craft(self, own: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `-scale * own`, each its own."""
        return own * -self.scale
