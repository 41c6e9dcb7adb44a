"""The vote of signSGD: each coordinate moves as most workers' signs say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.order_statistics import in_blocks
from privrobust.core.lazy_imports import torch
from privrobust.kernels.backend import takes

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
        return majority(messages)


def majority(messages: Tensor) -> Tensor:
    """Return which sign most have, `(..., n, d)` to `(..., d)` of -1, 0 and 1."""
    if takes(messages):
        from privrobust.kernels import moments

        return moments.votes(messages.dtype)(messages)[0]
    return in_blocks(_signs, messages)


def _signs(messages: Tensor) -> Tensor:
    signs = torch.where(messages.isnan(), 1.0, messages.sign())  # torch's sign of NaN is 0
    return signs.sum(dim=-2).sign_()
