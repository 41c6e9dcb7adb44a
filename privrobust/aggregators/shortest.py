"""A rule that trusts short messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Minority
from privrobust.aggregators.distances import bounded, mean_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CGE(Minority, Aggregator):
    """Comparative gradient elimination: the mean of the n - f messages of least norm.

    The papers take their sum; a mean leaves learning rates comparable. Whatever is sent, the
    result is no longer than the longest honest message. Directions are not looked at: a message
    turned around counts in full while it is no longer than others.

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        Byzantine Fault-Tolerant Distributed Machine Learning Using Stochastic Gradient Descent
        (SGD) and Norm-Based Comparative Gradient Elimination (CGE)
        (https://arxiv.org/abs/2008.04699).

    """

    paper: ClassVar[str] = "Gupta, Liu, Vaidya 2021"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of the shortest."""
        messages, norms = bounded(messages)
        shortest = norms.argsort(dim=-1, stable=True)
        return mean_of(messages, shortest[..., : messages.shape[-2] - self.f])
