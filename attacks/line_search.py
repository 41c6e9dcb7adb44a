"""Line search: as strong as the rule lets it be, at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.aggregators.moments import mean_and_std
from privrobust.aggregators.scaling import lengths
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

# The strongest that the grid tries, in units of the weakest: from hiding in the spread to far
# beyond it. Stronger ones are found by doubling.
_REACH = 512


@dataclass(frozen=True)
class LineSearch(Attack):
    """ALIE or inner-product manipulation, its strength searched for against the rule.

    At every step, and for every lane by itself, it looks for the strength t that maximises the
    distance between the aggregate and the honest mean, for any rule: half of the evaluations go to
    0 and a geometric grid, the rest halve the gaps on both sides of the best so far, or double a
    strength that is best at the grid's end. Peaks narrower than a step of the grid may be missed.
    A rule that remembers is searched as if what was tried had been sent.

    Args:
        family: "alie" sends `mean - t * std`, "inner_product" sends `-t * mean`; their signs, to a
            rule that asks for signs.
        against: the rule, as a spec names it, or itself; needed outside a run, which tells its own.
        evaluations: of the rule, a step.
        weakest: the least t of the grid above 0; it ends at 512 times as much.

    References:
        Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning (https://doi.org/10.14722/ndss.2021.24498).

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021; ByzFL's optimised ALIE and IPM"

    family: Literal["alie", "inner_product"] = "alie"
    against: Aggregator | str | None = None
    evaluations: int = parameter(20, least=1)
    weakest: float = parameter(0.125, above=0)

    def in_run(self, setting: Setting) -> Craft:
        """Search against the run's rule, unless another was given; either is started once."""
        known = setting.known

        def started(rule: Aggregator) -> LineSearch:
            return replace(self, against=rule if known is None else rule.started(known))

        if self.against is None:
            return started(setting.aggregator).craft

        @cache
        def searching(byzantine: int) -> LineSearch:
            return started(self._rule(byzantine))

        def craft(honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
            return searching(byzantine).craft(honest, byzantine, generator)

        return craft

    def fits(self, aggregator: Aggregator, honest: int, byzantine: int) -> None:
        """Refuse a run in which the rule is not defined."""
        rule = aggregator if self.against is None else self._rule(byzantine)
        if rule.public_examples:
            raise SpecError(
                "LineSearch.against: a rule that sees a gradient of the server's own; accepted: "
                "one that sees messages alone"
            )
        if rule.knows_reach and aggregator.message == "sign":
            raise SpecError(
                "LineSearch.against: a rule that is told how long messages are, where signs are "
                "sent; accepted: one that sees messages alone"
            )
        rule.try_out(honest + byzantine)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return the strongest message found, from every Byzantine worker."""
        rule = self._rule(byzantine)
        mean, std = mean_and_std(honest)
        origin, direction = (
            (mean, -std) if self.family == "alie" else (torch.zeros_like(mean), -mean)
        )
        messages = torch.cat([honest, collude(origin, byzantine)], dim=-2)

        def message(strength: Tensor) -> Tensor:
            sent = torch.addcmul(origin, strength, direction)
            # of what is sent to such a rule, the server takes the sign
            return sent.nan_to_num_(nan=1.0).sign_() if rule.message == "sign" else sent

        def distance(strength: Tensor) -> Tensor:
            messages[..., honest.shape[-2] :, :] = message(strength).unsqueeze(-2)
            error = rule(messages, generator) - mean
            size = lengths(error).unsqueeze(-1)
            return size.nan_to_num(torch.inf, torch.inf)  # no aggregate is further off than none

        best = self._searched(distance, mean[..., :1])
        return collude(message(best), byzantine)

    def _searched(self, distance: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
        """Return the strength of each lane, `(..., 1)`."""
        count = (self.evaluations + 1) // 2
        strengths = np.geomspace(self.weakest, _REACH * self.weakest, count - 1)
        grid = torch.tensor([0.0, *strengths, torch.inf]).to(like)
        distances = torch.stack([distance(each.expand_as(like)) for each in grid[:-1]])
        furthest, at = distances.max(dim=0)
        low, best, high = grid[(at - 1).clamp(min=0)], grid[at], grid[at + 1]
        for _ in range(self.evaluations - count):
            upwards = high - best > best - low
            above = torch.minimum(high, (3 * best).clamp(min=2 * self.weakest))
            tried = (best + torch.where(upwards, above, low)) / 2
            moved = distance(tried)
            better = moved > furthest
            # the better of the two is the best, and the other an end of the gaps beside it
            low = torch.where(better == upwards, torch.where(better, best, tried), low)
            high = torch.where(better != upwards, torch.where(better, best, tried), high)
            best = torch.where(better, tried, best)
            furthest = torch.where(better, moved, furthest)
        return best

    def _rule(self, byzantine: int) -> Aggregator:
        if self.against is None:
            raise SpecError("LineSearch.against: needed outside a run; accepted: a rule's name")
        if isinstance(self.against, str):
            return get_aggregator(self.against, byzantine)
        return self.against
