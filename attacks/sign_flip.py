"""Sign-flip: push the average backwards."""

from dataclasses import dataclass

import torch
from torch import Tensor

from privrobust.attacks.protocol import collude, finite_parameter


@dataclass(frozen=True)
class SignFlip:
    """Send minus the honest mean, scaled (Allen-Zhu et al., ICLR 2021, section 5, among others).

    Args:
        scale: how far beyond the mirrored mean; 1 mirrors it.

    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        finite_parameter(self, "scale", self.scale, positive=True)

    def __call__(
        self, honest: Tensor, byzantine: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """`-scale * mean(honest)`, from every Byzantine worker."""
        return collude(-self.scale * honest.mean(dim=-2), byzantine)
