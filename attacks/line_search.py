"""Line search: as strong as the rule lets it be, at every step."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.attacks.base import Attack, Craft, Generators, Setting, collude
from privrobust.configured import parameter
from privrobust.errors import SpecError
from privrobust.spread import mean_and_std


@dataclass(frozen=True)
class LineSearch(Attack):
    """ALIE or inner-product manipulation, its strength searched for against the rule.

    At every step, and for every lane by itself, it climbs towards the strength t that maximises the
    distance between the aggregate and the honest mean, for any rule: steps double while the
    distance grows, then shrink. Where the distance has several peaks it may find a lower one. It
    runs the rule once for each evaluation.

    Args:
        family: "alie" sends `mean - t * std`, "inner_product" sends `-t * mean`.
        against: the rule, as a spec names it, or itself; needed outside a run, which tells its own.
        evaluations: of the rule, a step.
        first: the first step of t.
        shrink: what later steps are multiplied with.

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021; ByzFL's optimised ALIE and IPM"

    family: Literal["alie", "inner_product"] = "alie"
    against: Aggregator | str | None = None
    evaluations: int = parameter(20, least=1)
    first: float = parameter(1.0, above=0)
    shrink: float = parameter(0.8, above=0, below=1)

    def in_run(self, setting: Setting) -> Craft:
        """Against the run's rule, unless another was given."""
        return self if self.against is not None else replace(self, against=setting.aggregator)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """The best found, from every Byzantine worker."""
        rule = self._rule(byzantine)
        mean, std = mean_and_std(honest)
        origin, direction = (
            (mean, -std) if self.family == "alie" else (torch.zeros_like(mean), -mean)
        )
        messages = torch.cat([honest, collude(origin, byzantine)], dim=-2)

        def distance(strength: Tensor) -> Tensor:
            message = torch.addcmul(origin, strength, direction)
            messages[..., honest.shape[-2] :, :] = message.unsqueeze(-2)
            error = rule(messages, generator) - mean
            size: Tensor = torch.linalg.vector_norm(error, dim=-1, keepdim=True)
            return size

        best = torch.zeros_like(mean[..., :1])
        furthest = distance(best)
        step = torch.full_like(best, self.first)
        expands = torch.ones_like(best, dtype=torch.bool)
        for _ in range(self.evaluations - 1):
            moved = distance(best + step)
            better = moved > furthest
            best = torch.where(better, best + step, best)
            furthest = torch.where(better, moved, furthest)
            expands &= better
            step = step * torch.where(expands, 2.0, self.shrink)
        return collude(torch.addcmul(origin, best, direction), byzantine)

    def _rule(self, byzantine: int) -> Aggregator:
        if self.against is None:
            raise SpecError("LineSearch.against: needed outside a run; accepted: a rule's name")
        if isinstance(self.against, str):
            return get_aggregator(self.against, byzantine)
        return self.against
