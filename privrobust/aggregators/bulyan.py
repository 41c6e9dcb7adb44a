"""Bulyan: a rule that chooses messages, and then averages coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.coordinate_wise import mean_around_median
from privrobust.aggregators.distances import Geometry
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Bulyan(Aggregator):
    """Krum chooses n - 2f messages, of whose values the n - 4f nearest to the median count.

    Each choice is Krum's among the messages that are left, by their squared distances to their
    nearest others: as many of those as Krum counts, and at least one. Of equal scores the message
    with the least sum of squared distances to all that are left is chosen. The values are averaged
    coordinate by coordinate, around the median of those chosen. (The authors' program chooses two
    messages fewer, and means of several.)

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        The Hidden Vulnerability of Distributed Learning in Byzantium
        (https://arxiv.org/abs/1802.07927).

    """

    paper: ClassVar[str] = "El Mhamdi, Guerraoui, Rouault 2018"

    f: int = parameter(0, least=0)

    def least_workers(self) -> int:
        """Return the least n with `n >= 4f + 3`."""
        return 4 * self.f + 3

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return means around the median of the chosen."""
        geometry = Geometry.of(messages)
        rows = _chosen(geometry.squared_distances(), self.f)
        at = rows.unsqueeze(-1).expand(*rows.shape, messages.shape[-1])
        return mean_around_median(geometry.messages.gather(-2, at), 2 * self.f)


def _chosen(distances: Tensor, f: int) -> Tensor:
    """Return the rows of the n - 2f chosen, `(..., n, n)` to `(..., n - 2f)`, in order."""
    n = distances.shape[-1]
    own = torch.eye(n, dtype=torch.bool, device=distances.device)
    is_left = torch.ones_like(distances[..., 0], dtype=torch.bool)
    for left in range(n, 2 * f, -1):
        apart = distances.masked_fill(own | ~is_left.unsqueeze(-2), torch.inf)
        nearest = max(left - f - 2, min(left - 1, 1))
        scores = apart.sort(dim=-1).values[..., :nearest].sum(-1)
        scores = scores.masked_fill(~is_left, torch.inf)
        is_least = scores == scores.amin(-1, keepdim=True)
        # of two that are nearest to each other, whose scores are equal, whatever their order
        to_all = apart.masked_fill(apart.isinf(), 0.0).sum(-1).masked_fill(~is_least, torch.inf)
        is_left = is_left.scatter(-1, to_all.argmin(-1, keepdim=True), False)
    return (~is_left).int().argsort(dim=-1, descending=True, stable=True)[..., : n - 2 * f]
