"""A Little Is Enough: hide inside the spread of the honest messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.moments import mean_and_std
from privrobust.aggregators.scaling import lengths
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import as_whole
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ALIE(Attack):
    """`mean - z * std` of the honest messages, coordinate-wise.

    The standard deviation is that of what was *sent*, with denominator h as in the authors' code:
    noise that honest workers add for privacy widens the room that the attacker hides in. A z that
    is searched for at every step is `LineSearch`.

    Args:
        z: standard deviations from the mean; None takes the published `z_max` of n and f.

    References:
        A Little Is Enough: Circumventing Defenses for Distributed Learning
        (https://arxiv.org/abs/1902.06156).

    >>> honest = torch.tensor([[1.0, 5.0], [3.0, 5.0]])  # mean (2, 5), deviation (1, 0)
    >>> ALIE(z=1.5)(honest, byzantine=1)
    tensor([[0.5000, 5.0000]])
    """

    paper: ClassVar[str] = "Baruch, Baruch, Goldberg 2019, Algorithm 3"

    z: float | None = parameter(None)

    def check(self, honest: int, byzantine: int) -> None:
        """Refuse numbers of workers for which there is no z, if none was given."""
        if self.z is None:
            z_max(honest + byzantine, byzantine)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `mean - z * std`, from every Byzantine worker."""
        z = z_max(honest.shape[-2] + byzantine, byzantine) if self.z is None else self.z
        mean, std = mean_and_std(honest)
        return collude(mean.sub_(std, alpha=z), byzantine)


@dataclass(frozen=True)
class NoiseAwareALIE(Attack):
    """As far from the honest mean as noise puts a message from what it would be, the worst way.

    Every coordinate is moved by `z * s` against the sign of the honest mean. The spread s is one
    number, `s^2 = noise_std^2 + (mean sample variance - noise_std^2, if that is positive)`: what
    the known noise must leave, and what the data add, without the sampling error of h messages
    that ALIE takes for room. With z at most 1 the message lies, on average, no further from honest
    ones than they lie from each other: squared distances are `(z^2 + 1 - 1/h) s^2 d` and
    `2 s^2 d`. So distances to others do not tell it.

    Args:
        z: spreads from the mean.
        noise_std: of the honest noise; a run tells its own, 0 outside one.

    References:
        A Little Is Enough: Circumventing Defenses for Distributed Learning
        (https://arxiv.org/abs/1902.06156).

    """

    paper: ClassVar[str] = "this project, after Baruch, Baruch, Goldberg 2019"

    z: float = parameter(1.0, above=0)
    noise_std: float | None = parameter(None, least=0)

    def in_run(self, setting: Setting) -> Craft:
        """Take the run's noise, unless another was given."""
        if self.noise_std is not None:
            return self.craft
        return partial(self._hide, noise_std=setting.noise_std)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `mean - z * s * sign(mean)`, from every Byzantine worker."""
        noise_std = torch.full_like(honest[..., :1, :1], self.noise_std or 0.0)
        return self._hide(honest, byzantine, generator, noise_std)

    def _hide(
        self, honest: Tensor, byzantine: int, generator: Generators, noise_std: Tensor
    ) -> Tensor:
        h = honest.shape[-2]
        mean, std = mean_and_std(honest)
        unbiased = (h / max(1, h - 1) / max(1, std.shape[-1])) ** 0.5
        spread = torch.maximum(lengths(std).unsqueeze(-1) * unbiased, noise_std.squeeze(-2))
        return collude(mean - mean.sign().mul_((spread * self.z).to(mean.dtype)), byzantine)


def z_max(n: int, f: int) -> float:
    """Return the published z (Baruch et al. 2019, Algorithm 3, steps 1 and 2).

    `s = floor(n/2 + 1) - f` honest supporters are needed for a majority, so
    `z = Phi^-1((n - f - s) / (n - f))`.

    Raises:
        SpecError: f workers have a majority already, or of two workers there is none to hide from.

    """
    n, f = as_whole("n", n, "a whole number"), as_whole("f", f, "a whole number")
    supporters = n // 2 + 1 - f
    hidden = (n - f - supporters) / (n - f)
    if not 0 < hidden < 1:
        raise SpecError(
            f"ALIE: z is not defined for {f} Byzantine of {n} workers; "
            "accepted: at least 3 workers, at most half of them Byzantine; or give z"
        )
    return NormalDist().inv_cdf(hidden)
