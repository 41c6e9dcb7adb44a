"""Pre-aggregators that replace messages by averages of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privrobust.aggregators.base import Generators, PreAggregator
from privrobust.aggregators.distances import Geometry, bounded
from privrobust.configured import parameter


@dataclass(frozen=True)
class NNM(PreAggregator):
    """Nearest-neighbour mixing: every message becomes the mean of its n - f nearest, itself too.

    Args:
        f: Byzantine workers; a spec gives its own.

    """

    paper: ClassVar[str] = "Allouah et al. 2023, Fixing by mixing"

    f: int = parameter(0, least=0)

    def least_workers(self) -> int:
        """`n > 2f`."""
        return 2 * self.f + 1

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """As many messages as before."""
        geometry = Geometry.of(messages)
        distances = geometry.squared_distances()
        count = distances.shape[-1] - self.f
        nearest = distances.argsort(dim=-1, stable=True)[..., :count]
        return geometry.weighted(torch.zeros_like(distances).scatter_(-1, nearest, 1 / count))


@dataclass(frozen=True)
class Bucketing(PreAggregator):
    """Averages of s messages each, dealt to buckets at random; the last may hold fewer.

    A rule behind it sees `ceil(n / s)` messages, of which f may still be Byzantine.

    Args:
        s: messages in a bucket.

    """

    paper: ClassVar[str] = "Karimireddy, He, Jaggi 2022, Algorithm 1"

    s: int = parameter(2, least=1)

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Fewer messages."""
        messages, _ = bounded(messages)
        n = messages.shape[-2]
        bucket = torch.arange(n, device=messages.device) // self.s
        weights = (bucket == bucket.unique().unsqueeze(-1)).to(messages.dtype)
        weights /= weights.sum(-1, keepdim=True)
        if isinstance(generator, Sequence):
            orders = torch.stack([_order(n, each, messages.device) for each in generator])
            dealt = weights[:, orders].movedim(1, 0)  # (lanes, buckets, n)
            dealt = dealt.view(len(orders), *[1] * (messages.dim() - 3), -1, n)
        else:
            dealt = weights[:, _order(n, generator, messages.device)]
        return torch.matmul(dealt, messages)


def _order(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.randperm(n, generator=generator, device=device)
