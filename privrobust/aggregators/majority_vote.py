"""The vote of signSGD: each coordinate moves as most workers' signs say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.order_statistics import in_blocks

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MajorityVote(Aggregator):
    """Coordinate-wise majority vote of signs: noisy signSGD.

    Every message counts by its sign alone: one worker has one vote, however large its values.
    A zero abstains, a tie gives 0, NaN votes +1 (it is ordered as +infinity).

    References:
        Distributed Training with Heterogeneous Data: Bridging Median- and Mean-Based Algorithms
        (https://arxiv.org/abs/1906.01736).

    """

    paper: ClassVar[str] = "Chen et al. 2020, Algorithm 1"
    robust: ClassVar[bool] = True
    message: ClassVar[Literal["vector", "sign"]] = "sign"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the sign of the sum of signs over workers, in {-1, 0, 1}."""
        return in_blocks(_vote, messages)


def _vote(messages: Tensor) -> Tensor:
    if bool(messages.sum().isnan()):  # or infinities of both signs; torch's sign of NaN is 0
        messages = messages.nan_to_num(nan=1.0)
    return messages.sign().sum(dim=-2).sign_()
