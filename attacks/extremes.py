"""The strongest messages against a coordinate-wise median and against a majority vote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.majority_vote import majority
from privrobust.aggregators.order_statistics import (
    MOST_COMPARED,
    in_blocks,
    mean_of_ranks,
    ordered,
    sum_of_shares,
)
from privrobust.attacks.base import Attack, Generators, collude
from privrobust.core.lazy_imports import torch
from privrobust.errors import SpecError
from privrobust.kernels.backend import takes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MedianExtreme(Attack):
    """The strongest placement against a median: all at one end of the honest values.

    The median grows with each of its values. So over all that f workers can send, a coordinate's
    median takes its least value when all send minus infinity, its largest when all send infinity,
    and every other lies between. What is furthest from the honest mean is one of these two, and
    what points most against it too. While f < h both are ranks of honest values, for which the
    largest and the smallest honest value do as well as infinity: the messages stay within the
    honest range, so that no check of size can tell them.

    Args:
        goal: "distance" takes the end whose median is further from the honest mean, coordinate by
            coordinate, which maximises every norm of the error; "descent" takes the end against the
            sign of the honest mean, which minimises the inner product with it.

    >>> honest = torch.tensor([[1.0], [2.0], [9.0]])  # mean 4: a median of 1.5 is furthest from it
    >>> MedianExtreme()(honest, byzantine=1)
    tensor([[1.]])
    """

    paper: ClassVar[str] = "this project"

    goal: Literal["distance", "descent"] = "distance"

    def check(self, honest: int, byzantine: int) -> None:
        """Refuse Byzantine workers that are no minority: they could set the median to anything."""
        if byzantine >= honest:
            raise SpecError(
                f"MedianExtreme: {byzantine} Byzantine and {honest} honest workers; "
                "accepted: fewer Byzantine than honest (otherwise large_value moves it anywhere)"
            )

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return in each coordinate the largest or smallest honest value, from every worker."""
        self.check(honest.shape[-2], byzantine)
        return collude(self._end(honest, byzantine), byzantine)

    def _end(self, honest: Tensor, byzantine: int) -> Tensor:
        h = honest.shape[-2]
        if h <= MOST_COMPARED and takes(honest):
            from privrobust.kernels import order

            return order.furthest_end(h, honest.dtype, byzantine, self.goal)(honest)[0]
        return in_blocks(partial(self._end_of_block, byzantine=byzantine), honest)

    def _end_of_block(self, honest: Tensor, byzantine: int) -> Tensor:
        honest = ordered(honest)
        h = honest.shape[-2]
        least, most = honest.amin(dim=-2), honest.amax(dim=-2)
        middle = sum_of_shares(honest.double().unbind(-2), 1 / h)
        if self.goal == "descent":
            return torch.where(middle > 0, least, most)
        n = h + byzantine
        low, high = (n - 1) // 2, n // 2 + 1  # the median's ranks, those of honest values first
        above = mean_of_ranks(honest, low, high)
        below = mean_of_ranks(honest, low - byzantine, high - byzantine)
        # halves, as the difference of vast values is infinite
        middle, above, below = (each.double() / 2 for each in (middle, above, below))
        return torch.where(middle - below > above - middle, least, most)


@dataclass(frozen=True)
class VoteExtreme(Attack):
    """The strongest votes against a majority vote: all against the sum of the honest signs.

    The sum of signs grows with each vote, so the outcome is furthest from the honest one, in every
    coordinate, when all f votes are cast against it; it falls exactly where the honest majority is
    at most f votes (at f it is a tie, which gives 0). Nothing that a worker sends counts for more
    than a vote. Where honest votes are tied, any vote decides, and it is +1.
    """

    paper: ClassVar[str] = "this project"

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `-sign(sum of signs)`, from every Byzantine worker."""
        return collude(majority(honest).gt_(0).mul_(-2).add_(1), byzantine)
