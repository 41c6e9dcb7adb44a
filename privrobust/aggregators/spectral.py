"""Rules that look for the direction in which messages differ most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Generators, Minority
from privrobust.aggregators.distances import (
    Geometry,
    bounded,
    mean_of,
    products_of,
    times,
    weighted_mean,
)
from privrobust.aggregators.moments import deviations_from, mean
from privrobust.aggregators.nearest import OfSubsets, subsets
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

# Numbers held at a time while subsets are tried (32 MiB).
_HELD = 1 << 22


@dataclass(frozen=True)
class CAF(Minority, Aggregator):
    """Covariance-bound agnostic filter: messages lose weight where their covariance is largest.

    Until all but n - 2f of the weight is gone, each loses the share of its squared deviation along
    the covariance's top eigenvector; the mean of least top eigenvalue on the way counts. The
    eigenvector is exact (ByzFL and ByzPy take a few power iterations).

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        Towards Trustworthy Federated Learning with Untrusted Participants
        (https://arxiv.org/abs/2505.01874).

    """

    paper: ClassVar[str] = "Allouah et al. 2025, Towards trustworthy federated learning, CAF"

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return a weighted mean of the messages."""
        geometry = Geometry.of(messages)
        weights = torch.ones_like(geometry.squares())
        best = weights
        least = torch.full_like(weights[..., :1], torch.inf)
        n = weights.shape[-1]
        going = torch.ones_like(least, dtype=torch.bool)
        while bool(going.any()):
            value, deviations = _top(geometry.products, weights)
            better = going & (value < least)
            best, least = torch.where(better, weights, best), torch.where(better, value, least)
            deviations = deviations.masked_fill(weights == 0, 0.0)  # those are gone already
            most = deviations.amax(-1, keepdim=True)
            lessened = weights * (1 - deviations / torch.where(most > 0, most, 1.0))
            enough = lessened.sum(-1, keepdim=True) > n - 2 * self.f
            going = going & (most > 0) & enough
            # a lane that has ended keeps weights that it can be divided by
            weights = torch.where(going, lessened, weights)
        return geometry.weighted(best / best.sum(-1, keepdim=True))


def _top(products: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariance's top eigenvalue, `(..., 1)`, and squared deviations along it."""
    total = weights.sum(-1, keepdim=True)
    centred = _centred(products, weights / total)
    roots = weights.sqrt()
    weighted = roots.unsqueeze(-1) * centred * roots.unsqueeze(-2)
    values, vectors = torch.linalg.eigh(_aligned(weighted))
    along = times(centred, roots * vectors[..., : roots.shape[-1], -1])
    value = values[..., -1:].clamp(min=0.0)
    return value / total, along.square() / torch.where(value > 0, value, 1.0)


def _centred(products: Tensor, weights: Tensor) -> Tensor:
    """Return inner products of what remains of the vectors without their weighted mean."""
    means = times(products, weights)
    of_mean = (weights * means).sum(-1)[..., None, None]
    return products - means.unsqueeze(-1) - means.unsqueeze(-2) + of_mean


@dataclass(frozen=True)
class SMEA(OfSubsets, Aggregator):
    """Smallest maximum eigenvalue averaging: the mean of the n - f messages that vary least.

    All subsets are tried, up to 100,000, by the top eigenvalue of their covariance; of equal ones
    the first in lexicographic order counts.

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        On the Privacy-Robustness-Utility Trilemma in Distributed Learning
        (https://arxiv.org/abs/2302.04787).

    """

    paper: ClassVar[str] = "Allouah et al. 2023, On the privacy-robustness-utility trilemma, SMEA"

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return `4f / (n - 2f)`, where f is right."""
        return 4 * self.f / (n - 2 * self.f) if self.f == byzantine else None

    def aggregate(self, messages: Tensor) -> Tensor:
        """Return the mean of the subset of least top eigenvalue."""
        geometry = Geometry.of(messages)
        products = geometry.products
        n = products.shape[-1]
        chosen = subsets(n, n - self.f).to(messages.device)
        at_a_time = max(1, _HELD // max(1, products[..., 0, 0].numel() * (n - self.f) ** 2))
        largest = torch.cat([_largest(products, some) for some in chosen.split(at_a_time)], dim=-1)
        return mean_of(geometry.messages, chosen[largest.argmin(-1)])


def _largest(products: Tensor, chosen: Tensor) -> Tensor:
    """Return the top eigenvalue of each subset's scatter: `(subsets, size)` to `(..., subsets)`."""
    of_subset = products[..., chosen.unsqueeze(-1), chosen.unsqueeze(-2)]
    uniform = torch.full(of_subset.shape[:-1], 1 / chosen.shape[-1], dtype=products.dtype)
    centred = _centred(of_subset, uniform.to(products.device))
    values: Tensor = torch.linalg.eigvalsh(_aligned(centred))
    return values[..., -1]


def _aligned(matrices: Tensor) -> Tensor:
    """Fill up symmetric `(..., n, n)` of no negative eigenvalue with zeros, which add none above 0.

    Then all of them lie alike in memory, by which LAPACK rounds.
    """
    missing = -matrices.shape[-1] % 4
    return torch.nn.functional.pad(matrices, (0, missing, 0, missing))


@dataclass(frozen=True)
class DnC(Minority, Aggregator):
    """Divide and conquer: the mean of messages that a random look at coordinates never drops.

    A round draws coordinates, and drops the messages that deviate most from the mean there, along
    the top eigenvector of their covariance. Where the rounds drop every message, those that the
    fewest rounds drop count. A round sees one direction: of Byzantine messages in several, the
    longest hides the others, and these move the mean without bound. `arc + dnc` has one.

    Args:
        f: Byzantine workers; a spec gives its own.
        rounds: how many looks (niters of the paper).
        coordinates: that a round looks at, or all if there are fewer (b of the paper).
        dropped: messages a round, in units of f, rounded down (c of the paper).

    References:
        Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning (https://doi.org/10.14722/ndss.2021.24498).

    """

    paper: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Algorithm 2"

    rounds: int = parameter(1, least=1)
    coordinates: int = parameter(10_000, least=1)
    dropped: float = parameter(1.0, above=0)

    def check(self, n: int) -> None:
        """Refuse fewer messages than a round drops."""
        super().check(n)
        if self.dropped * self.f >= n:
            raise SpecError(
                f"DnC.dropped: {self.dropped:g} times {self.f} of {n} workers; "
                "accepted: fewer messages than there are"
            )

    def aggregate(self, messages: Tensor) -> Tensor:
        """Aggregate with torch's own stream."""
        return self._aggregated(messages, None)

    def given(self, generator: Generators, public: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Draw coordinates from this stream, or each lane from its own."""
        return partial(self._aggregated, generator=generator)

    def _aggregated(self, messages: Tensor, generator: Generators) -> Tensor:
        """Return the mean of the messages that are dropped least."""
        if isinstance(generator, Sequence):
            made = torch.empty_like(messages[..., 0, :])
            for into, lane, each in zip(made, messages, generator, strict=True):
                into.copy_(self._aggregated(lane, each))
            return made
        messages, norms = bounded(messages)
        times_dropped = torch.zeros_like(norms)
        kept = norms.shape[-1] - int(self.dropped * self.f)
        for _ in range(self.rounds):
            seen = messages
            if self.coordinates < messages.shape[-1]:
                seen = messages.index_select(-1, self._looked_at(messages, generator))
            last = _deviations(seen).argsort(dim=-1, stable=True)[..., kept:]
            times_dropped.scatter_add_(-1, last, torch.ones_like(norms))
        least = (times_dropped == times_dropped.amin(-1, keepdim=True)).to(norms.dtype)
        return weighted_mean(least / least.sum(-1, keepdim=True), messages)

    def _looked_at(self, messages: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw coordinates of a round, all subsets being equally likely."""
        dim, device = messages.shape[-1], messages.device
        if 2 * self.coordinates > dim:
            return torch.randperm(dim, generator=generator, device=device)[: self.coordinates]
        found = torch.empty(0, dtype=torch.int64, device=device)
        while missing := self.coordinates - len(found):  # a permutation of millions takes longer
            more = torch.randint(dim, (missing,), generator=generator, device=device)
            found = torch.cat([found, more]).unique()
        return found


def _deviations(messages: Tensor) -> Tensor:
    """Return squared deviations along the covariance's top eigenvector, in a unit of their own."""
    # of finite messages, vast ones too: a unit by their median would hide those
    deviations, _ = deviations_from(mean(messages), messages)
    _, along = _top(products_of(deviations), messages.new_ones(messages.shape[:-1]).double())
    return along
