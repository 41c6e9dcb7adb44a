"""What canaries add to a worker's message: one coordinate each, or a vector each.

`L` lanes have `m` canaries each, in messages `(L, workers, dim)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from privrobust.gradients.layout import Layout

Factors = Callable[[Tensor], Tensor]
"""Norms of layers `(L, m, layers)` to what each is multiplied with, the same shape."""


class Effects(ABC):
    """Of every canary, if it takes part with weight 1."""

    @abstractmethod
    def sizes(self) -> Tensor:
        """Return L2 norms, `(L, m)`."""

    @abstractmethod
    def along(self, vectors: Tensor) -> Tensor:
        """Return how far vectors `(L, workers, dim)` go along each effect, `(L, m, workers)`."""

    @abstractmethod
    def add_to(self, sums: Tensor, weights: Tensor, workers: Tensor) -> None:
        """Add to `sums`, `(L, workers, dim)`, each effect times its weight at its worker."""

    @abstractmethod
    def in_lanes(self, lanes: int) -> Effects:
        """Return those of one lane for so many."""

    @abstractmethod
    def times(self, amounts: Tensor) -> Effects:
        """Return them multiplied with `(L, 1)` or `(L, m)` numbers."""

    @abstractmethod
    def clipped(self, layout: Layout, order: int, factors: Factors) -> tuple[Effects, Tensor]:
        """Return these gradients clipped, and their norms before it, `(L, m)`.

        Args:
            layout: of the parameters.
            order: of the norm.
            factors: of a clipping rule.

        """


@dataclass(frozen=True)
class Coordinates(Effects):
    """One coordinate each."""

    places: Tensor
    """Which, `(L, m)`."""
    amounts: Tensor
    """How much, `(L, m)`, float64."""

    def sizes(self) -> Tensor:
        """Return L2 norms, `(L, m)`."""
        return self.amounts.abs()

    def along(self, vectors: Tensor) -> Tensor:
        """Return how far vectors `(L, workers, dim)` go along each effect, `(L, m, workers)`."""
        workers = vectors.shape[1]
        at = self.places.unsqueeze(1).expand(-1, workers, -1)
        return (vectors.gather(2, at).double() * self.amounts.sign().unsqueeze(1)).transpose(1, 2)

    def add_to(self, sums: Tensor, weights: Tensor, workers: Tensor) -> None:
        """Add to `sums`, `(L, workers, dim)`, each effect times its weight at its worker."""
        lanes = torch.arange(len(sums)).unsqueeze(1).expand_as(workers)
        added = weights * self.amounts
        added[weights == 0] = 0.0  # of infinite ones too
        sums.index_put_((lanes, workers, self.places), added, accumulate=True)

    def in_lanes(self, lanes: int) -> Effects:
        """Return those of one lane for so many."""
        return Coordinates(self.places.expand(lanes, -1), self.amounts.expand(lanes, -1))

    def times(self, amounts: Tensor) -> Effects:
        """Return them multiplied with `(L, 1)` or `(L, m)` numbers."""
        return Coordinates(self.places, self.amounts * amounts)

    def clipped(self, layout: Layout, order: int, factors: Factors) -> tuple[Effects, Tensor]:
        """Return these gradients clipped, and their norms before it, `(L, m)`."""
        ends = torch.tensor(layout.layer_sizes).cumsum(0)
        layer = torch.bucketize(self.places.contiguous(), ends, right=True).unsqueeze(-1)
        norms = torch.zeros(*self.places.shape, len(ends), dtype=torch.float64)
        norms.scatter_(-1, layer, self.amounts.abs().unsqueeze(-1))
        factor = factors(norms).gather(-1, layer).squeeze(-1)
        return Coordinates(self.places, self.amounts * factor), self.amounts.abs()


@dataclass(frozen=True)
class Vectors(Effects):
    """A vector each."""

    vectors: Tensor
    """`(L, m, dim)`, float64."""

    def sizes(self) -> Tensor:
        """Return L2 norms, `(L, m)`."""
        sizes: Tensor = torch.linalg.vector_norm(self.vectors, dim=-1)
        return sizes

    def along(self, vectors: Tensor) -> Tensor:
        """Return how far vectors `(L, workers, dim)` go along each effect, `(L, m, workers)`."""
        sizes = self.sizes().clamp(min=torch.finfo(torch.float64).tiny)
        return self.vectors @ vectors.double().transpose(1, 2) / sizes.unsqueeze(-1)

    def add_to(self, sums: Tensor, weights: Tensor, workers: Tensor) -> None:
        """Add to `sums`, `(L, workers, dim)`, each effect times its weight at its worker."""
        for lane, (of_lane, weight, worker) in enumerate(
            zip(self.vectors, weights, workers, strict=True)
        ):
            there = weight != 0
            added = weight[there].unsqueeze(-1) * of_lane[there]
            sums[lane].index_add_(0, worker[there], added)

    def in_lanes(self, lanes: int) -> Effects:
        """Return those of one lane for so many."""
        return Vectors(self.vectors.expand(lanes, -1, -1))

    def times(self, amounts: Tensor) -> Effects:
        """Return them multiplied with `(L, 1)` or `(L, m)` numbers."""
        return Vectors(self.vectors * amounts.unsqueeze(-1))

    def clipped(self, layout: Layout, order: int, factors: Factors) -> tuple[Effects, Tensor]:
        """Return these gradients clipped, and their norms before it, `(L, m)`."""
        parts = self.vectors.split(layout.layer_sizes, dim=-1)
        norms = torch.stack(
            [torch.linalg.vector_norm(part, order, dim=-1) for part in parts], dim=-1
        )
        each = factors(norms).unbind(-1)
        scaled = [part * factor.unsqueeze(-1) for part, factor in zip(parts, each, strict=True)]
        return Vectors(torch.cat(scaled, dim=-1)), torch.linalg.vector_norm(norms, order, dim=-1)
