"""Pre-aggregators that replace messages by averages of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from privrobust.aggregators.base import Generators, Minority, PreAggregator
from privrobust.aggregators.distances import Geometry
from privrobust.configured import parameter


@dataclass(frozen=True)
class NNM(Minority, PreAggregator):
    """Nearest-neighbour mixing: every message becomes the mean of its n - f nearest, itself too.

    Args:
        f: Byzantine workers; a spec gives its own.

    """

    paper: ClassVar[str] = "Allouah et al. 2023, Fixing by mixing"

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """As many messages as before."""
        geometry = Geometry.of(messages)
        distances = geometry.squared_distances()
        count = distances.shape[-1] - self.f
        nearest = distances.argsort(dim=-1, stable=True)[..., :count]
        weights = messages.new_zeros(distances.shape).scatter_(-1, nearest, 1 / count)
        return _mixed(weights, geometry.messages)


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
        if isinstance(generator, Sequence):
            lanes = zip(messages, generator, strict=True)
            return torch.stack([self.transform(lane, each) for lane, each in lanes])
        n, device = messages.shape[-2], messages.device
        order = torch.randperm(n, generator=generator, device=device)
        return torch.stack(
            [messages.index_select(-2, bucket).mean(-2) for bucket in order.split(self.s)], dim=-2
        )


def _mixed(weights: Tensor, messages: Tensor) -> Tensor:
    """`(..., m, n)` and `(..., n, d)` to `(..., m, d)`."""
    if messages.device.type != "cpu":
        return weights @ messages
    out = messages.new_empty(*weights.shape[:-1], messages.shape[-1])
    # of few rows and many columns NumPy's product takes half as long as torch's, or less
    np.matmul(weights.numpy(), messages.numpy(), out=out.numpy())
    return out
