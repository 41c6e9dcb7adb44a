"""Mimic: over-represent one honest worker, which looks perfectly honest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.distances import combined, dots, row
from privrobust.aggregators.moments import deviations_from, mean
from privrobust.aggregators.scaling import scaled, unit
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mimic(Attack):
    """What one honest worker sends: heterogeneous data do the rest.

    Whom to mimic is learned in the first steps of a run: the direction z in which honest messages
    vary most (one step of the power method a step, on the covariance so far), and the worker whose
    messages lie furthest along it on average, counted from the step's mean. Outside a run there is
    one step. It starts at the longest deviation, where the authors' code starts at random.

    Args:
        worker: always this honest worker, instead.
        learning_steps: how many steps the choice is learned for; then it stays.

    References:
        Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing
        (https://arxiv.org/abs/2006.09365).

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2022, mimic"

    worker: int | None = parameter(None, least=0)
    learning_steps: int = parameter(100, least=1)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return one of the honest messages, from every Byzantine worker."""
        return self._choice()(honest, byzantine, generator)

    def check(self, honest: int, byzantine: int) -> None:
        """Refuse a run without the worker that it mimics."""
        if self.worker is not None and self.worker >= honest:
            raise SpecError(
                f"Mimic.worker: {self.worker} of {honest} honest workers; "
                f"accepted: 0 to {honest - 1}"
            )

    def in_run(self, setting: Setting) -> Craft:
        """Remember the run's messages."""
        return self._choice()

    def _choice(self) -> Craft:
        return _Learning(self.learning_steps) if self.worker is None else self._always

    def _always(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        assert self.worker is not None
        self.check(honest.shape[-2], byzantine)
        return collude(honest[..., self.worker, :], byzantine)


class _Learning:
    """Whom to mimic, by lane."""

    def __init__(self, learning_steps: int) -> None:
        self._learning_steps = learning_steps
        self._steps = 0
        self._direction = torch.empty(0)
        self._along = torch.empty(0)

    def __call__(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        if self._steps < self._learning_steps:
            self._learn(honest)
        chosen = self._along.abs().argmax(-1)[..., None, None]
        message = honest.gather(-2, chosen.expand(*chosen.shape[:-1], honest.shape[-1]))
        return collude(message.squeeze(-2), byzantine)

    def _learn(self, honest: Tensor) -> None:
        deviations, powers = deviations_from(mean(honest), honest)
        if not self._steps:
            longest = deviations.norm(dim=-1).argmax(-1)
            self._direction = unit(row(deviations, longest))
            self._along = honest.new_zeros(honest.shape[:-1], dtype=torch.float64)
        self._steps += 1
        weight = 1 / self._steps
        turned = combined(dots(deviations, self._direction).unsqueeze(-2), deviations).squeeze(-2)
        self._direction = unit(torch.lerp(self._direction, unit(turned), weight))
        along = scaled(dots(deviations, self._direction), powers.squeeze(-1))
        self._along = torch.lerp(self._along, along, weight)
