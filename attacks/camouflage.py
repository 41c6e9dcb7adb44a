"""Camouflage: noise by its numbers, and in their order the worst message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.known_noise import longest_square, quantile_band
from privrobust.aggregators.moments import mean
from privrobust.aggregators.noise_aware import remembered
from privrobust.aggregators.scaling import lengths, unit
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

_HALVINGS = 50
_SHORTER = 1e-4  # share of the squared norm that rounding may add
_WITHIN = 1e-5  # of the band of each order statistic, at either end


@dataclass(frozen=True)
class Camouflage(Attack):
    """Of all messages that pass for noise, the one furthest against what honest workers want.

    Tests of a message's norm and of the distribution of its coordinates, such as `NoiseAware`
    makes, do not see which coordinate has which value. So all send values that pass for noise, in
    the order of minus the honest mean: the coordinate that honest workers raise most gets the
    lowest. Where noise hides gradients, that message is as long as an honest one, and nearly all of
    it points backwards (`noise_along`).

    Scores that add up over the run are earned first: of every so many steps, one goes with the
    honest mean. Its cosine to any gradient is far above that of an honest message, which is mostly
    noise, and `NoiseAware` never takes back what was earned.

    Args:
        every: of so many steps the first goes with the honest mean; 1 for all of them.
        memory: momentum of the honest mean, whose single steps are mostly noise too.
        noise_std: of the honest noise; a run tells its own, 0 outside one. The message is in
            proportion to it, so that without noise, and before a vote, they send 0.

    """

    paper: ClassVar[str] = "this project"

    every: int = parameter(4, least=1)
    memory: float = parameter(0.98, least=0, below=1)
    noise_std: float | None = parameter(None, least=0)

    def in_run(self, setting: Setting) -> Craft:
        """Take the run's noise, unless another was given, and count its steps."""
        return _Crew(self, setting)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return the message against the mean of these, from every Byzantine worker."""
        return collude(noise_along(-mean(honest)) * (self.noise_std or 0.0), byzantine)


class _Crew:
    """What colluding workers remember of a run, a row a lane."""

    def __init__(self, attack: Camouflage, setting: Setting) -> None:
        self._attack, self._setting = attack, setting
        self._step = 0
        self._wanted: Tensor | None = None

    def __call__(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        self._wanted = remembered(self._wanted, mean(honest), self._attack.memory)
        is_with_them = self._step % self._attack.every == 0
        self._step += 1
        sent = noise_along(self._wanted if is_with_them else -self._wanted)
        return collude((sent * self._std()).to(honest.dtype), byzantine)

    def _std(self) -> Tensor | float:
        """Return that of the honest noise in this step, which workers' momentum lets grow."""
        if self._attack.noise_std is not None:
            return self._attack.noise_std
        known = self._setting.known
        std = self._setting.noise_std if known is None else known.std_at(self._step)
        return std.squeeze(-2)


def noise_along(direction: Tensor) -> Tensor:
    """Return what passes for standard normal numbers and has the largest inner product with this.

    Of the same values, the order of the direction's own is best (rearrangement inequality). So the
    i-th smallest coordinate a_i gets a value between what the Kolmogorov-Smirnov test accepts as
    i-th smallest, low_i and high_i; and where the norm is bound too, these values are
    `clip(t * a_i, low_i, high_i)` with the largest t that it allows (conditions of Karush, Kuhn and
    Tucker). They ascend with i, as a, low and high do. t is found by halving its power of two.

    Args:
        direction: `(..., d)`, of any length; where it has none, or is not finite, any will do.

    Returns:
        `(..., d)`; `passes` accepts it, with a standard deviation of 1 and a reach of 0.

    """
    direction = direction.nan_to_num(0.0, 0.0, 0.0)
    anywhere = torch.linspace(-1, 1, direction.shape[-1]).to(direction)
    direction = torch.where((direction == 0).all(-1, keepdim=True), anywhere, direction)
    ascending, places = unit(direction).sort(dim=-1, stable=True)
    low, high = quantile_band(direction)
    low, high = low + _WITHIN, high - _WITHIN  # as whoever tests it rounds too
    most = longest_square(direction.shape[-1]) * (1 - _SHORTER)

    def values(power: Tensor) -> Tensor:
        return (ascending * power.exp2()).clamp(low, high)

    # from where no value is moved off its end to where all are
    least = torch.full_like(direction[..., :1], -20.0)
    beyond = torch.full_like(least, 60.0)
    for _ in range(_HALVINGS):
        middle = (least + beyond) / 2
        is_short = lengths(values(middle)).unsqueeze(-1).square() <= most
        least = torch.where(is_short, middle, least)
        beyond = torch.where(is_short, beyond, middle)
    return torch.empty_like(direction).scatter_(-1, places, values(least))
