"""Bulyan: a rule that chooses messages, and then averages coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator
from privrobust.aggregators.coordinate_wise import mean_around_median
from privrobust.aggregators.distances import Geometry, lanes_of
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

# Coordinates handled together: the chosen values of a block stay in the processor's cache.
_BLOCK = 1 << 14


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
        made = messages.new_empty(*messages.shape[:-2], messages.shape[-1])
        lanes = (
            lanes_of(geometry.messages),
            lanes_of(rows.unsqueeze(-1)),
            lanes_of(made.unsqueeze(-2)),
        )
        for lane, chosen, into in zip(*lanes, strict=True):
            # a copy of all that is chosen would take longer than the rest
            blocks = zip(lane.split(_BLOCK, -1), into.split(_BLOCK, -1), strict=True)
            for block, into_block in blocks:
                values = block.index_select(-2, chosen.squeeze(-1))
                into_block.copy_(mean_around_median(values, 2 * self.f))
        return made


def _chosen(distances: Tensor, f: int) -> Tensor:
    """Return the rows of the n - 2f chosen, `(..., n, n)` to `(..., n - 2f)`, in order."""
    n = distances.shape[-1]
    # of each its others, the nearest first
    others = distances.diagonal_scatter(
        torch.full_like(distances.diagonal(dim1=-2, dim2=-1), torch.inf), dim1=-2, dim2=-1
    )
    apart, who = (each[..., :-1] for each in others.sort(dim=-1, stable=True))
    is_left = torch.ones_like(distances[..., 0], dtype=torch.bool)
    for left in range(n, 2 * f, -1):
        counts = is_left.unsqueeze(-2).expand_as(others).gather(-1, who)
        nearest = counts & (counts.cumsum(-1) <= max(1, left - f - 2))
        scores = (apart * nearest).sum(-1).masked_fill(~is_left, torch.inf)
        # the two that are nearest to each other may have equal scores, whatever their order
        is_least = scores == scores.amin(-1, keepdim=True)
        of_all = (apart * counts).sum(-1).masked_fill(~is_least, torch.inf)
        is_left = is_left.scatter(-1, of_all.argmin(-1, keepdim=True), False)
    return is_left.int().argsort(dim=-1, stable=True)[..., : n - 2 * f]
