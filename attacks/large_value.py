"""Large value: a huge vector, placed against the honest mean."""

from dataclasses import dataclass

import torch
from torch import Tensor

from privrobust.attacks.protocol import collude, finite_parameter


@dataclass(frozen=True)
class LargeValue:
    """Send `-scale * sign(mean(honest))`: the extreme against the honest direction.

    It ruins a mean at once. Against a coordinate-wise median it is the strongest placement for a
    given sign of the honest mean (every Byzantine value sits beyond every honest one, on the wrong
    side); against a sign vote it is one vote a worker, no more.

    Args:
        scale: the size of every coordinate.

    """

    scale: float = 1e3

    def __post_init__(self) -> None:
        finite_parameter(self, "scale", self.scale, positive=True)

    def __call__(
        self, honest: Tensor, byzantine: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """`-scale * sign(mean(honest))`, from every Byzantine worker."""
        return collude(-self.scale * honest.mean(dim=-2).sign(), byzantine)
