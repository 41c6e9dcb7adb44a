"""Rules that look for the direction in which messages differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Minority
from privrobust.aggregators.distances import Geometry, mean_of, times
from privrobust.aggregators.nearest import OfSubsets, subsets
from privrobust.core.lazy_imports import torch

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
    values, vectors = torch.linalg.eigh(roots.unsqueeze(-1) * centred * roots.unsqueeze(-2))
    along = times(centred, roots * vectors[..., -1])
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
    values: Tensor = torch.linalg.eigvalsh(centred)
    return values[..., -1]
