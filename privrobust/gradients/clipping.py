"""Clipping: how much of each gradient counts, so that no unit moves a sum by more than C.

The rules see the norms of a gradient's layers. Whatever the rule, what is left has at most the norm
C as a whole: C is the sensitivity that the accountants are given, and epsilon does not depend on
the rule. They clip to `C (1 - 2^-20)`, which leaves room for all rounding
(`privrobust.gradients.summation`).

>>> import torch
>>> norms, c = torch.tensor([[[3.0, 4.0]]]).double(), torch.tensor([1.0])
>>> Flat(order=2).factors(norms, c)
tensor([[[0.2000, 0.2000]]], dtype=torch.float64)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from privrobust.gradients.batch import Batch
from privrobust.gradients.factors import vector_norms
from privrobust.gradients.summation import ROOM


class ClippedSums(NamedTuple):
    """The clipped gradients of one step."""

    sums: Tensor
    """`(lanes, workers, dim)`, float64: sum over each worker's batch of the clipped gradients"""
    norms: Tensor
    """`(lanes, workers, pad)`, float64: norm of every example's whole gradient, 0 where padded"""


class GradientSum(Protocol):
    """A way to sum clipped gradients for one model."""

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Clip each example's gradient to its lane's C; one that is not finite adds 0.

        Args:
            parameters: `(lanes, dim)`.
            batch: of every lane's workers.
            clip_norms: `(lanes,)`; infinity does not clip.
            divisor: of the sums, which divides the factors: no pass over the sums.

        Raises:
            SpecError: a batch has more examples than the bound on rounding covers.

        """
        ...


@dataclass(frozen=True)
class ClippingRule(ABC):
    """Scales gradients down to the norm C."""

    order: int = 2
    """Of the norm: 2, or 1 for Laplace noise."""

    def factors(self, norms: Tensor, clip_norms: Tensor) -> Tensor:
        """Return what to multiply each layer of each gradient with, float64.

        Args:
            norms: `(lanes, ..., layers)`, float64.
            clip_norms: C of each lane, `(lanes,)`; infinity does not clip.

        Returns:
            The shape of `norms`; 0 where a norm is infinite, NaN or vast, so that no gradient ever
            moves a sum by more than C.

        """
        limits = clip_norms.view(-1, *[1] * (norms.dim() - 1)).double() * ROOM
        factors = self._scale(norms, limits)
        # NaN is not; nor are tiny factors, whose products with float32 numbers could be subnormal
        usable = factors >= 1e-200
        return torch.where(usable, factors, 0.0)

    def whole(self, norms: Tensor) -> Tensor:
        """Join norms of a gradient's layers to those of the whole, `(..., layers)` to `(...)`."""
        whole: Tensor = torch.linalg.vector_norm(norms, self.order, dim=-1)
        return whole

    @abstractmethod
    def _scale(self, norms: Tensor, limits: Tensor) -> Tensor:
        """Return the factors, those that are not finite included."""


class Flat(ClippingRule):
    """`min(1, C / |g|)` for the whole gradient (Abadi et al. 2016, Algorithm 1)."""

    def _scale(self, norms: Tensor, limits: Tensor) -> Tensor:
        return (limits / self.whole(norms).unsqueeze(-1)).clamp(max=1.0).expand_as(norms)


class PerLayer(ClippingRule):
    """Each of K layers to its own share of C (McMahan et al. 2018).

    The shares are equal, `C / sqrt(K)` in L2 and `C / K` in L1, and make up C together.
    """

    def _scale(self, norms: Tensor, limits: Tensor) -> Tensor:
        shares = limits / float(norms.shape[-1] ** (1 / self.order))
        return (shares / norms).clamp(max=1.0)


class Automatic(ClippingRule):
    """`C / (|g| + 0.01)`: every gradient is scaled, small ones up (AUTO-S, Bu et al. 2023).

    The direction counts and C is absorbed by the learning rate; 0.01 is the paper's stability
    constant.
    """

    def _scale(self, norms: Tensor, limits: Tensor) -> Tensor:
        return (limits / (self.whole(norms).unsqueeze(-1) + 0.01)).expand_as(norms)


CLIPPING_RULES: dict[str, type[ClippingRule]] = {
    "flat": Flat,
    "per_layer": PerLayer,
    "automatic": Automatic,
}


def clip_vectors(
    vectors: Tensor, layers: Sequence[int], rule: ClippingRule, clip_norms: Tensor
) -> ClippedSums:
    """Clip whole vectors `(lanes, workers, dim)`, float64, in place; norms `(lanes, workers, 1)`.

    A vector that is not finite becomes 0, as with examples.

    Args:
        vectors: one a worker.
        layers: how many of its numbers belong to each layer, in order.
        rule: how to clip.
        clip_norms: C of each lane, `(lanes,)`.

    """
    parts = vectors.split(list(layers), dim=-1)
    shape = vectors.shape[:2]
    norms = torch.stack([vector_norms(part.flatten(0, 1), rule.order) for part in parts], dim=-1)
    factors = rule.factors(norms.unflatten(0, shape), clip_norms).unsqueeze(-2)
    for part, factor in zip(parts, factors.unbind(-1), strict=True):
        part.mul_(factor).masked_fill_(factor == 0, 0.0)
    return ClippedSums(vectors, rule.whole(norms).view(*shape, 1))
