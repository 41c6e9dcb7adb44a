"""Rules that trust messages with near neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Minority
from privrobust.aggregators.distances import Geometry, bounded, mean_of
from privrobust.aggregators.scaling import are_safe, lengths
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

MOST_SUBSETS = 100_000
"""How many subsets of workers a rule that tries them all will try."""

# Numbers held at a time while subsets are tried (32 MiB).
_HELD = 1 << 22

# Coordinates handled together: a block of them stays in the processor's cache.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class _Krum(Aggregator):
    """Scores every message by its squared distances to its nearest others."""

    f: int = parameter(0, least=0)
    neighbours: int | None = parameter(None, least=1)

    def least_workers(self) -> int:
        """Return the least n with `n > 2f + 2` (Proposition 4.2)."""
        return 2 * self.f + 3

    def check(self, n: int) -> None:
        """Refuse fewer messages than it counts neighbours."""
        super().check(n)
        if self.neighbours is not None and self.neighbours >= n:
            raise SpecError(
                f"{type(self).__name__}.neighbours: {self.neighbours} of {n} workers; "
                f"accepted: 1 to {n - 1}"
            )

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return `2h/a (2m/(h-1) + 1)`: h honest, m neighbours that count, `a = m - f + 1`."""
        honest, nearest = n - byzantine, self.neighbours or n - self.f - 2
        near = nearest - byzantine + 1
        if nearest >= honest or near < 1:
            return None
        return 2 * honest / near * (2 * nearest / (honest - 1) + 1)

    def best(self, geometry: Geometry, count: int) -> Tensor:
        """Return the rows of least score, `(..., count)`."""
        distances = geometry.squared_distances()
        nearest = self.neighbours or distances.shape[-1] - self.f - 2
        others = distances.diagonal_scatter(
            torch.full_like(distances.diagonal(dim1=-2, dim2=-1), torch.inf), dim1=-2, dim2=-1
        )
        scores = others.sort(dim=-1).values[..., :nearest].sum(-1)
        return scores.argsort(dim=-1, stable=True)[..., :count]


@dataclass(frozen=True)
class Krum(_Krum):
    """The message nearest to its n - f - 2 nearest others.

    Args:
        f: Byzantine workers; a spec gives its own.
        neighbours: how many others count, instead (n - f - 1 in ByzFL and ByzPy).

    References:
        Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
        (https://arxiv.org/abs/1703.02757).

    """

    paper: ClassVar[str] = "Blanchard et al. 2017"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return one of the messages."""
        geometry = Geometry.of(messages)
        return mean_of(geometry.messages, self.best(geometry, 1))


@dataclass(frozen=True)
class MultiKrum(_Krum):
    """The mean of the n - f messages that Krum scores best.

    Args:
        f: Byzantine workers; a spec gives its own.
        neighbours: as of Krum.
        best_of: how many messages count, instead of n - f.

    References:
        Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
        (https://arxiv.org/abs/1703.02757).

    """

    paper: ClassVar[str] = "Blanchard et al. 2017, section 5"

    best_of: int | None = parameter(None, least=1)

    def check(self, n: int) -> None:
        """Refuse fewer messages than it averages."""
        super().check(n)
        if self.best_of is not None and self.best_of > n:
            raise SpecError(f"MultiKrum.best_of: {self.best_of} of {n} workers; accepted: 1 to {n}")

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return that of Krum, while no more messages count than are honest."""
        counted = self.best_of or n - self.f
        return super().kappa_bound(n, byzantine) if counted <= n - byzantine else None

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of the best."""
        count = self.best_of or messages.shape[-2] - self.f
        geometry = Geometry.of(messages)
        return mean_of(geometry.messages, self.best(geometry, count))


@dataclass(frozen=True)
class OfSubsets(Minority):
    """Tries all subsets of n - f messages, up to 100,000."""

    def check(self, n: int) -> None:
        """Refuse more subsets than it tries."""
        super().check(n)
        size = n - self.f
        if comb(n, size) > MOST_SUBSETS:
            raise SpecError(
                f"{type(self).__name__}: {n} workers have more subsets of {size} than it tries; "
                f"accepted: at most {MOST_SUBSETS:,} (fewer workers, or another f)"
            )


@dataclass(frozen=True)
class MDA(OfSubsets, Aggregator):
    """Minimum-diameter averaging: the mean of the n - f messages that lie closest together.

    All subsets are tried, up to 100,000. Many share the least diameter, as a pair decides it: of
    those, the one with the least sum of squared distances counts.

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        Rousseeuw, Multivariate estimation with high breakdown point (1985); The Hidden
        Vulnerability of Distributed Learning in Byzantium (https://arxiv.org/abs/1802.07927).

    """

    paper: ClassVar[str] = "Rousseeuw 1985; El Mhamdi et al. 2018"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of the subset of least diameter."""
        geometry = Geometry.of(messages)
        distances = geometry.squared_distances()
        n = distances.shape[-1]
        chosen = subsets(n, n - self.f).to(messages.device)
        at_a_time = max(1, _HELD // max(1, distances[..., 0, 0].numel() * (n - self.f) ** 2))
        diameters, sums = [], []
        for some in chosen.split(at_a_time):
            within = distances[..., some.unsqueeze(-1), some.unsqueeze(-2)]
            diameters.append(within.amax((-2, -1)))
            sums.append(within.sum((-2, -1)))
        diameter, total = torch.cat(diameters, dim=-1), torch.cat(sums, dim=-1)
        is_least = diameter == diameter.amin(-1, keepdim=True)
        return mean_of(
            geometry.messages, chosen[total.masked_fill(~is_least, torch.inf).argmin(-1)]
        )


@dataclass(frozen=True)
class MoNNA(Minority, Aggregator):
    """The mean of the n - f messages nearest to a trusted worker's, itself included.

    Args:
        f: Byzantine workers; a spec gives its own.
        trusted: which worker; honest ones come first.

    References:
        Robust Collaborative Learning with Linear Gradient Overhead
        (https://arxiv.org/abs/2209.10931).

    """

    paper: ClassVar[str] = "Farhadkhani et al. 2023, Robust collaborative learning"
    by_place: ClassVar[bool] = True

    trusted: int = parameter(0, least=0)

    def least_workers(self) -> int:
        """Return the least n with `n > 2f` that has the trusted worker."""
        return max(super().least_workers(), self.trusted + 1)

    def fits(self, n: int, byzantine: int) -> None:
        """Refuse a trusted worker that is not honest."""
        if self.trusted >= n - byzantine:
            raise SpecError(
                f"MoNNA.trusted: {self.trusted} is a Byzantine worker; "
                f"accepted: 0 to {n - byzantine - 1}, the honest ones"
            )
        super().fits(n, byzantine)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of its nearest."""
        messages, _ = bounded(messages)
        nearest = self._distances(messages).argsort(dim=-1, stable=True)
        return mean_of(messages, nearest[..., : messages.shape[-2] - self.f])

    def _distances(self, messages: Tensor) -> Tensor:
        """Return those of each to the trusted one's, `(..., n)`."""
        trusted = messages[..., self.trusted, :].unsqueeze(-2)
        blocks = zip(messages.split(_BLOCK, -1), trusted.split(_BLOCK, -1), strict=True)
        parts = torch.stack([(some - one).square_().sum(-1) for some, one in blocks])
        squares = parts.sum(0).double()
        unsafe = ~are_safe(squares)
        unsafe[..., self.trusted] = False  # it is 0 from itself
        distances = squares.sqrt()
        if bool(unsafe.any()):
            some, one = messages[unsafe], trusted.expand_as(messages)[unsafe]
            exact = lengths(some - one)
            # of vast ones, a quarter of the difference is finite
            vast = 4 * lengths(some / 4 - one / 4)
            distances[unsafe] = torch.where(exact.isfinite(), exact, vast)
        return distances


def subsets(n: int, size: int) -> Tensor:
    """Return all subsets of so many of n workers, `(subsets, size)`."""
    return torch.tensor(list(combinations(range(n), size))).view(-1, size)
