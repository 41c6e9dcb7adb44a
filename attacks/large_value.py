"""Large value: a huge vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.moments import mean
from privrobust.attacks.base import Attack, Generators, collude, constant, normal
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LargeValue(Attack):
    """A huge vector: against the honest mean, constant, or in random directions.

    It ruins a mean at once. Against the mean it is, for a coordinate-wise median, the extreme in
    that direction: while honest values are smaller than the scale, every Byzantine value sits
    beyond every honest one, on the wrong side (and at 0 where their mean is exactly 0). Against a
    sign vote it is one vote a worker, no more.

    Args:
        scale: the size of every coordinate, in the quadratic mean for random directions.
        direction: "against_mean", "constant" (all coordinates positive), or "random" (a direction
            for each Byzantine worker and step); the last two see nothing.

    References:
        RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from
        Heterogeneous Datasets (https://arxiv.org/abs/1811.03761).

    """

    paper: ClassVar[str] = "Li et al. 2019, RSA, same-value attack"

    scale: float = parameter(1e3, above=0)
    direction: Literal["against_mean", "constant", "random"] = "against_mean"

    def __post_init__(self) -> None:
        """Settle what it sees: only the first direction needs honest messages."""
        super().__post_init__()
        if self.direction != "against_mean":
            object.__setattr__(self, "sees", "nothing")

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `-scale * sign(mean(honest))`, or a vector in another direction."""
        if self.direction == "random":
            drawn = normal(honest, byzantine, generator)
            size = self.scale * math.sqrt(honest.shape[-1])
            return drawn.mul_(size / drawn.norm(dim=-1, keepdim=True))
        if self.direction == "constant":
            return constant(honest, byzantine, self.scale)
        return collude(mean(honest).sign_().mul_(-self.scale), byzantine)
