"""Pre-aggregators that replace messages by averages of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Generators, Minority, PreAggregator
from privrobust.aggregators.distances import Geometry, combined
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NNM(Minority, PreAggregator):
    """Nearest-neighbour mixing: every message becomes the mean of its n - f nearest, itself too.

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity
        (https://arxiv.org/abs/2302.01772).

    """

    paper: ClassVar[str] = "Allouah et al. 2023, Fixing by mixing"

    def kappa_bound_behind(self, kappa: float, n: int, byzantine: int) -> float | None:
        """Return `8 f (kappa + 1) / (n - f)` where f is right."""
        return 8 * self.f * (kappa + 1) / (n - self.f) if self.f == byzantine else None

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Return as many messages as before."""
        geometry = Geometry.of(messages)
        distances = geometry.squared_distances()
        count = distances.shape[-1] - self.f
        nearest = distances.argsort(dim=-1, stable=True)[..., :count]
        weights = messages.new_zeros(distances.shape).scatter_(-1, nearest, 1 / count)
        return combined(weights, geometry.messages)


@dataclass(frozen=True)
class Bucketing(PreAggregator):
    """Averages of s messages each, dealt to buckets at random; the last may hold fewer.

    A rule behind it sees `ceil(n / s)` messages, of which f may still be Byzantine.

    Args:
        s: messages in a bucket.

    References:
        Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing
        (https://arxiv.org/abs/2006.09365).

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2022, Algorithm 1"
    keeps_places: ClassVar[bool] = False

    s: int = parameter(2, least=1)

    def makes_of(self, n: int) -> int:
        """Return `ceil(n / s)`."""
        return -(-n // self.s)

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Return `ceil(n / s)` averages."""
        if isinstance(generator, Sequence):
            lanes = zip(messages, generator, strict=True)
            return torch.stack([self.transform(lane, each) for lane, each in lanes])
        n, device = messages.shape[-2], messages.device
        order = torch.randperm(n, generator=generator, device=device).tolist()
        buckets = [order[start : start + self.s] for start in range(0, n, self.s)]
        mixed = messages.new_empty(*messages.shape[:-2], len(buckets), messages.shape[-1])
        for bucket, into in zip(buckets, mixed.unbind(-2), strict=True):
            share = 1 / len(bucket)  # of each: the sum of large values may overflow
            torch.mul(messages[..., bucket[0], :], share, out=into)
            for worker in bucket[1:]:
                into.add_(messages[..., worker, :], alpha=share)
        return mixed
