"""Inner products and distances of messages, without a tensor of n x n x d.

Rules that weigh whole messages need of them only their n x n inner products: whatever such a rule
computes on the way (distances, means, eigenvectors of a covariance) is made of those, and what it
returns is one weighted mean of the messages. So the messages are read twice, however many rounds
the rule takes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Messages of larger norm, infinite ones and NaN count as the zero vector, which a Byzantine worker
# might as well have sent: float32 products of all others are finite.
_VAST = 1e18

# Numbers handled together: they stay in the processor's cache.
_BLOCK = 1 << 19


class Geometry(NamedTuple):
    """Messages, what is known of them, and the way back."""

    messages: Tensor
    """`(..., n, d)`, all finite"""
    norms: Tensor
    """`(..., n)`, float64"""
    products: Tensor
    """`(..., n, n)`, float64: inner products of the messages after a common shift"""

    @classmethod
    def of(cls, messages: Tensor, centre: Tensor | None = None) -> "Geometry":
        """The geometry of messages `(..., n, d)`.

        Args:
            messages: of all workers, hostile ones included.
            centre: the common shift, `(..., d)`; None takes the message of median norm, which is
                no longer than an honest one, so that what all messages share does not hide by
                rounding where they differ.

        """
        messages, norms = bounded(messages)
        if centre is None:
            middle = norms.argsort(dim=-1)[..., (norms.shape[-1] - 1) // 2]
            centre = _row(messages, middle)
        return cls(messages, norms, _products(messages, centre))

    def squared_distances(self) -> Tensor:
        """Of each message to each, `(..., n, n)`."""
        squares = self.products.diagonal(dim1=-2, dim2=-1)
        distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * self.products
        # rounded apart, a message would differ from its equals
        return distances.clamp_(min=0.0)

    def squared_distances_to(self, weights: Tensor) -> Tensor:
        """Of each message to the centre of these weights, `(..., n)`, which sum to 1."""
        means = (self.products @ weights.unsqueeze(-1)).squeeze(-1)
        of_mean = (weights * means).sum(-1, keepdim=True)
        squares = self.products.diagonal(dim1=-2, dim2=-1)
        return (squares - 2 * means + of_mean).clamp_(min=0.0)

    def weighted(self, weights: Tensor) -> Tensor:
        """The sum of `weight * message`, `(..., n)` to `(..., d)`; or of `(..., m, n)` of them."""
        weights = weights.to(self.messages.dtype)
        if weights.dim() == self.messages.dim():
            return weights @ self.messages
        return (weights.unsqueeze(-2) @ self.messages).squeeze(-2)

    def mean_of(self, rows: Tensor) -> Tensor:
        """The mean of the messages of these rows, `(..., k)` to `(..., d)`."""
        if rows.shape[-1] == 1:
            return _row(self.messages, rows[..., 0])
        weights = torch.zeros_like(self.norms).scatter_(-1, rows, 1 / rows.shape[-1])
        return self.weighted(weights)


def bounded(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Messages `(..., n, d)` with zeros for those that are not finite, or vast, and their norms."""
    norms = torch.linalg.vector_norm(messages, dim=-1)
    hostile = ~(norms < _VAST)
    if bool(hostile.any()):
        messages = messages.masked_fill(hostile.unsqueeze(-1), 0.0)
        norms = norms.masked_fill(hostile, 0.0)
    return messages, norms.double()


def _row(messages: Tensor, index: Tensor) -> Tensor:
    """`(..., n, d)` and `(...)` to `(..., d)`."""
    at = index[..., None, None].expand(*index.shape, 1, messages.shape[-1])
    return messages.gather(-2, at).squeeze(-2)


def _products(messages: Tensor, centre: Tensor) -> Tensor:
    """Block by block, the blocks added up in float64."""
    width = max(1, _BLOCK // messages[..., :1].numel())
    total = messages.new_zeros(*messages.shape[:-1], messages.shape[-2], dtype=torch.float64)
    for block, at in zip(messages.split(width, -1), centre.split(width, -1), strict=True):
        shifted = block - at.unsqueeze(-2)
        total += shifted @ shifted.mT
    return total
