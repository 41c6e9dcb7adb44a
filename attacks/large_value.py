"""Large value: a huge vector."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from privrobust.attacks.base import Attack, Generators, collude, normal
from privrobust.configured import parameter


@dataclass(frozen=True)
class LargeValue(Attack):
    """A huge vector: against the honest mean, constant, or in random directions.

    It ruins a mean at once. Against the mean it is, for a coordinate-wise median, the extreme in
    that direction: every Byzantine value sits beyond every honest one, on the wrong side. Against a
    sign vote it is one vote a worker, no more.

    Args:
        scale: the size of every coordinate, in the quadratic mean for random directions.
        direction: "against_mean", "constant" (all coordinates positive), or "random" (a direction
            for each Byzantine worker and step).

    """

    scale: float = parameter(1e3, above=0)
    direction: Literal["against_mean", "constant", "random"] = "against_mean"

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """`-scale * sign(mean(honest))`, or another direction."""
        if self.direction == "random":
            drawn = normal(honest, byzantine, generator)
            size = self.scale * math.sqrt(honest.shape[-1])
            return drawn.mul_(size / drawn.norm(dim=-1, keepdim=True))
        if self.direction == "constant":
            return collude(torch.full_like(honest[..., 0, :], self.scale), byzantine)
        return collude(honest.mean(dim=-2).sign_().mul_(-self.scale), byzantine)
