"""A Little Is Enough: hide inside the spread of the honest messages."""

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from privrobust.attacks.protocol import collude, finite_parameter
from privrobust.errors import SpecError


@dataclass(frozen=True)
class ALIE:
    """Send `mean - z * std` of the honest messages, coordinate-wise (Baruch et al. 2019, Alg. 3).

    The standard deviation is that of what was *sent*, with denominator h as in the authors' code:
    noise that honest workers add for privacy widens the room that the attacker hides in.

    Args:
        z: standard deviations from the mean; None takes the published `z_max` of n and f.

    """

    z: float | None = None

    def __post_init__(self) -> None:
        if self.z is not None:
            finite_parameter(self, "z", self.z)

    def __call__(
        self, honest: Tensor, byzantine: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """`mean - z * std` of the honest messages, from every Byzantine worker."""
        h = honest.shape[-2]
        z = z_max(h + byzantine, byzantine) if self.z is None else self.z
        mean = honest.mean(dim=-2)
        std = (honest - mean.unsqueeze(-2)).square().mean(dim=-2).sqrt()
        return collude(mean - z * std, byzantine)


def z_max(n: int, f: int) -> float:
    """The published z (Baruch et al. 2019, Algorithm 3, steps 1 and 2).

    `s = floor(n/2 + 1) - f` honest supporters are needed for a majority, so
    `z = Phi^-1((n - f - s) / (n - f))`.

    Raises:
        SpecError: f workers have a majority already, or no supporter count makes z finite.

    """
    supporters = n // 2 + 1 - f
    hidden = (n - f - supporters) / (n - f)
    if not 0 < hidden < 1:
        raise SpecError(
            f"ALIE: z is not defined for {f} Byzantine of {n} workers; "
            "it needs at most half of them Byzantine and n - f > floor(n/2 + 1) - f, or give z"
        )
    return NormalDist().inv_cdf(hidden)
