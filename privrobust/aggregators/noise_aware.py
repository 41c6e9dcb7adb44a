"""A rule that knows the noise of honest messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from privrobust.aggregators.base import Aggregator, Generators
from privrobust.aggregators.distances import bounded
from privrobust.aggregators.known_noise import KnownNoise, passes
from privrobust.aggregators.moments import mean
from privrobust.aggregators.scaling import lengths, unit
from privrobust.aggregators.trusting import checked_public
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoiseAware(Aggregator):
    """Average the best-scored messages, those without the known noise counted as zero.

    First stage, each step: a message that is not finite, or that `passes` for no noise of the run's
    b, becomes the zero vector. Second stage: its cosine to a mean of the server's own gradients so
    far, of a few public examples. Of the k best, `k = ceil(selected * n)`, those at or above their
    mean add their cosine to their worker's score, others nothing; scores add up over the run, and
    the messages of the k workers with the best are averaged. Workers of equal scores go by the
    step's cosine.

    Honest messages pass where noise hides the gradient, `b sqrt(d)` far above C: with less noise
    the first stage takes honest workers for Byzantine. In noise alone it rejects 5 % of them.
    Withstands, without an honest majority, messages that are not like noise, and such as are but
    point nowhere in particular; not `Camouflage`, which knows the tests.

    The second stage is that of the authors' code: a momentum of the server's gradients, and cosines
    in place of inner products. Other than there, norms leave room for the gradient that clipping
    allows, the server's gradient is clipped as a worker's, and ties do not go by who comes first.
    The first stage is the paper's; their code only logs what it would reject. Worker momentum is
    this project's, of noisy messages; theirs goes into a message before its noise.

    Args:
        examples: how many public examples the server holds.
        selected: share of the workers that are averaged, those assumed to be honest.
        memory: momentum of the server's own gradient.

    References:
        Practical Differentially Private and Byzantine-resilient Federated Learning
        (https://arxiv.org/abs/2304.09762).

    """

    paper: ClassVar[str] = "Xiang, Wang, Lin, Wang 2023, as their code has it"
    by_place: ClassVar[bool] = True
    knows_noise: ClassVar[bool] = True
    knows_reach: ClassVar[bool] = True
    _run: ClassVar[_Run | None] = None

    examples: int = parameter(20, least=1)
    selected: float = parameter(0.5, above=0, most=1)
    memory: float = parameter(0.99, least=0, below=1)

    def __post_init__(self) -> None:
        """Ask for the server's gradient."""
        super().__post_init__()
        object.__setattr__(self, "public_examples", self.examples)

    def in_run(self, noise: KnownNoise) -> Self:
        """Return the rule with the run's noise, and with scores of its own."""
        begun = replace(self)
        object.__setattr__(begun, "_run", _Run(self, noise))
        return begun

    def given(self, generator: Generators, public: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Score by what is like this gradient."""
        return partial(self._aggregated, public=public)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Refuse to aggregate: there is no gradient to score by."""
        return self._aggregated(messages, None)

    def _aggregated(self, messages: Tensor, public: Tensor | None) -> Tensor:
        if self._run is None:
            raise SpecError("NoiseAware: outside a run its noise is not known; accepted: in_run")
        return self._run(messages, checked_public(self, messages, public))

    def selects(self, n: int) -> int:
        """Return how many of n messages are averaged."""
        return max(1, math.ceil(self.selected * n - 1e-9))  # 0.55 * 20 is 11.000000000000002


class _Run:
    """What the server keeps through a run, a row a lane."""

    def __init__(self, rule: NoiseAware, noise: KnownNoise) -> None:
        self._rule, self._noise = rule, noise
        self._steps = 0
        self._direction: Tensor | None = None
        self._scores: Tensor | None = None

    def __call__(self, messages: Tensor, public: Tensor) -> Tensor:
        self._steps += 1
        messages, _ = bounded(messages)
        std = self._noise.std_at(self._steps)
        rejected = ~passes(messages, std, self._noise.reach)
        messages = messages.masked_fill(rejected.unsqueeze(-1), 0.0)
        gradient = bounded(public.unsqueeze(-2))[0].squeeze(-2)
        self._direction = remembered(self._direction, gradient, self._rule.memory)
        found = cosines(messages, self._direction)
        many = self._rule.selects(messages.shape[-2])
        gained = gains(found, many)
        self._scores = gained if self._scores is None else self._scores + gained
        by_cosine = found.argsort(dim=-1, descending=True, stable=True)
        by_score = self._scores.gather(-1, by_cosine).argsort(dim=-1, descending=True, stable=True)
        chosen = by_cosine.gather(-1, by_score)[..., :many, None]
        return mean(messages.gather(-2, chosen.expand(*chosen.shape[:-1], messages.shape[-1])))


def remembered(kept: Tensor | None, new: Tensor, memory: float) -> Tensor:
    """Return the momentum of vectors so far, `kept <- memory kept + (1 - memory) new` from 0."""
    return new * (1 - memory) if kept is None else kept.lerp(new, 1 - memory)


def cosines(messages: Tensor, direction: Tensor) -> Tensor:
    """Return those of messages `(..., n, d)` to a vector `(..., d)`, float64; 0 where one is 0."""
    norms = lengths(messages)
    # row by row: a product of a matrix may round equal rows, as colluders send, to other numbers
    products = (messages * unit(direction).unsqueeze(-2)).sum(-1, dtype=torch.float64)
    return (products / norms).masked_fill(norms == 0, 0.0)


def gains(cosines: Tensor, many: int) -> Tensor:
    """Return what a step adds to scores `(..., n)`: cosines at or above the mean of the best."""
    best = cosines.topk(many, dim=-1).values
    # a mean of equal numbers, which colluders may send, can round to above them
    least = best.mean(-1, keepdim=True).minimum(best[..., :1])
    return cosines.masked_fill(cosines < least, 0.0)
