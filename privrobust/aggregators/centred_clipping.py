"""Averages of what messages add to a common point, clipped."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.coordinate_wise import Mean, Median
from privrobust.aggregators.distances import Geometry, bounded
from privrobust.configured import parameter

Start = Literal["median", "mean", "zero"]


@dataclass(frozen=True)
class CentredClipping(Aggregator):
    """`v + mean(clip(x_i - v, radius))`, repeated; v starts at the median unless told.

    The paper starts at the last step's aggregate; starting anew at each step's median keeps a rule
    a function of its messages. Whatever a worker sends, it moves a round by `radius / n` at most.

    Args:
        radius: the norm to clip to (tau of the paper), in the unit of the messages.
        iterations: rounds (L of the paper).
        start: where v starts.

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2021, Algorithm 2"

    radius: float = parameter(10.0, above=0)
    iterations: int = parameter(3, least=1)
    start: Start = "median"

    def aggregate(self, messages: Tensor) -> Tensor:
        """The start, moved."""
        messages, _ = bounded(messages)
        start = _start(self.start, messages)
        geometry = Geometry.of(messages, centre=start)
        weights = torch.zeros_like(geometry.norms)
        n = weights.shape[-1]
        for _ in range(self.iterations):
            # v is start + sum_i weight_i (x_i - start)
            means = (geometry.products @ weights.unsqueeze(-1)).squeeze(-1)
            of_v = (weights * means).sum(-1, keepdim=True)
            squares = geometry.products.diagonal(dim1=-2, dim2=-1)
            distances = (squares - 2 * means + of_v).clamp_(min=0.0).sqrt_()
            factors = (self.radius / distances).clamp_(max=1.0)
            weights = weights * (1 - factors.mean(-1, keepdim=True)) + factors / n
        rest = (1 - weights.sum(-1, keepdim=True)).to(start.dtype)
        return geometry.weighted(weights).addcmul_(start, rest)


def _start(start: Start, messages: Tensor) -> Tensor:
    if start == "zero":
        return torch.zeros_like(messages[..., 0, :])
    return (Median() if start == "median" else Mean()).aggregate(messages)
