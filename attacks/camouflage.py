"""Camouflage: noise by its numbers, and in their order the worst message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators import NoiseAware
from privrobust.aggregators.known_noise import longest_square, quantile_band
from privrobust.aggregators.moments import mean
from privrobust.aggregators.noise_aware import cosines, gains, remembered
from privrobust.aggregators.scaling import lengths, unit
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

_HALVINGS = 50
_SHORTER = 1e-4  # share of the squared norm that rounding may add


@dataclass(frozen=True)
class Camouflage(Attack):
    """Of all messages that pass for noise, the one furthest against what honest workers want.

    Tests of a message's norm and of the distribution of its coordinates, such as `NoiseAware`
    makes, do not see which coordinate has which value. So the message is made of values that a
    Kolmogorov-Smirnov test accepts, in the order of minus the honest mean: the coordinates that
    honest workers raise most get the lowest. Of such messages the one with the largest inner
    product with minus the mean is `clip(t * a_i, low_i, high_i)` for the i-th smallest coordinate
    a_i of that, between the ends of what the test accepts, with the largest t that the norm allows:
    the conditions of Karush, Kuhn and Tucker, and the rearrangement inequality.

    Against `NoiseAware` the workers keep the book that the server keeps, with the mean of the
    honest messages in place of its gradient. A message of the same making that points with the
    honest mean scores far above any honest one; then they harm for as long as that lasts. Against
    other rules they always harm.

    Args:
        memory: momentum of the mean of honest messages that they push against.
        noise_std: of the honest noise; a run tells its own, 0 outside one. The message is in
            proportion to it.

    """

    paper: ClassVar[str] = "this project"

    memory: float = parameter(0.9, least=0, below=1)
    noise_std: float | None = parameter(None, least=0)

    def in_run(self, setting: Setting) -> Craft:
        """Take the run's noise, unless another was given, and keep the server's book."""
        std = setting.noise_std if self.noise_std is None else None
        return _Crew(self, std, setting.aggregator)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return the message against the mean of these, from every Byzantine worker."""
        return _Crew(self, None, None)(honest, byzantine, generator)


class _Crew:
    """Colluding workers and what they remember of a run, a row a lane."""

    def __init__(self, attack: Camouflage, std: Tensor | None, rule: object) -> None:
        self._attack, self._std = attack, std
        self._rule = rule if isinstance(rule, NoiseAware) else None
        self._against: Tensor | None = None
        self._direction: Tensor | None = None
        self._scores: Tensor | float = 0.0

    def __call__(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        wanted = mean(honest).nan_to_num(0.0, 0.0, 0.0)
        self._against = remembered(self._against, wanted, self._attack.memory)
        sent = self._of_noise(-self._against)
        if self._rule is not None:
            sent = self._as_scores_allow(self._rule, honest, wanted, sent, byzantine)
        return collude(sent, byzantine)

    def _of_noise(self, direction: Tensor) -> Tensor:
        std = direction.new_tensor(self._attack.noise_std or 0.0)
        if self._std is not None:
            std = self._std.squeeze(-2).to(direction)
        return noise_along(direction) * std

    def _as_scores_allow(
        self, rule: NoiseAware, honest: Tensor, wanted: Tensor, harm: Tensor, byzantine: int
    ) -> Tensor:
        """Return the harmful message where the server will still average it, else one it likes."""
        h = honest.shape[-2]
        many = rule.selects(h + byzantine)
        self._direction = remembered(self._direction, wanted, rule.memory)
        help_ = self._of_noise(self._direction)

        def scores_after(sent: Tensor) -> Tensor:
            messages = torch.cat([honest, collude(sent, byzantine)], dim=-2)
            return self._scores + gains(cosines(messages, self._direction), many)

        after = scores_after(harm)
        above = (after[..., :h] >= after[..., h:].amin(-1, keepdim=True)).sum(-1, keepdim=True)
        is_chosen = above <= max(0, many - byzantine)
        sent = torch.where(is_chosen, harm, help_)
        self._scores = torch.where(is_chosen, after, scores_after(help_))
        return sent


def noise_along(direction: Tensor) -> Tensor:
    """Return what passes for standard normal numbers and has the largest inner product with this.

    Args:
        direction: `(..., d)`, of any length.

    Returns:
        `(..., d)`; `passes` accepts it, with a standard deviation of 1 and a reach of 0.

    """
    ascending, places = unit(direction).sort(dim=-1, stable=True)
    low, high = quantile_band(direction)
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
