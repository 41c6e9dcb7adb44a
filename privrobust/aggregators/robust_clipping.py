"""Pre-aggregators that shorten long messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Generators, Minority, PreAggregator
from privrobust.aggregators.distances import bounded
from privrobust.aggregators.scaling import scaled
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor

# Powers of two from which on a float32 loses digits.
_TINY = 120


@dataclass(frozen=True)
class StaticClipping(PreAggregator):
    """Every message is clipped to one norm.

    Args:
        norm: the norm, in the unit of the messages.

    References:
        Adaptive Gradient Clipping for Robust Federated Learning, whose first version is Boosting
        Robustness by Clipping Gradients (https://arxiv.org/abs/2405.14432).

    """

    paper: ClassVar[str] = "Allouah et al. 2024, Boosting robustness by clipping gradients"

    norm: float = parameter(2.0, above=0)

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Return as many messages as before."""
        messages, norms = bounded(messages)
        return _shortened(messages, norms, norms.new_full((), self.norm))


@dataclass(frozen=True)
class ARC(Minority, PreAggregator):
    """Adaptive robust clipping: the `floor(2 f (n - f) / n)` longest are cut to the next norm.

    Args:
        f: Byzantine workers; a spec gives its own.

    References:
        Adaptive Gradient Clipping for Robust Federated Learning, whose first version is Boosting
        Robustness by Clipping Gradients (https://arxiv.org/abs/2405.14432).

    """

    paper: ClassVar[str] = (
        "Allouah et al. 2025, Adaptive gradient clipping for robust federated learning"
    )

    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Return as many messages as before."""
        messages, norms = bounded(messages)
        n = norms.shape[-1]
        longest = 2 * self.f * (n - self.f) // n
        return _shortened(messages, norms, norms.sort(dim=-1).values[..., [n - longest - 1]])


def _shortened(messages: Tensor, norms: Tensor, most: Tensor) -> Tensor:
    factors = (most / norms).clamp(max=1.0).nan_to_num(nan=1.0).unsqueeze(-1)  # 0 stays
    shares, powers = torch.frexp(factors)
    shortened = messages * factors.to(messages.dtype)
    tiny = powers < -_TINY  # no factor of the messages' type, perhaps
    if bool(tiny.any()):  # for these alone: halves of others may be no numbers
        rescaled = scaled(messages * shares.to(messages.dtype), powers)
        return torch.where(tiny, rescaled, shortened)
    return shortened
