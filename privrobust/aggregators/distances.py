"""Inner products and distances of messages, without a tensor of n x n x d.

Rules that weigh whole messages need of them only their n x n inner products: whatever such a rule
computes on the way (distances, means, eigenvectors of a covariance) is made of those, and what it
returns is one weighted mean of the messages. So the messages are read twice, however many rounds
the rule takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privrobust.late import torch

if TYPE_CHECKING:
    from torch import Tensor

# Messages of larger norm, infinite ones and NaN count as the zero vector, which a Byzantine worker
# might as well have sent: float32 products of all others are finite.
_VAST = 1e18

# Where squared distances are a smaller share of squared norms, float32 products of the messages
# would leave too little of them: what the messages share is subtracted first.
_APART = 0.05

# Coordinates multiplied together in the messages' own precision; their products add up in float64.
# So many of some dozens of messages stay in a core's own cache.
_WIDTH = 1 << 13


class Geometry(NamedTuple):
    """Messages, their inner products, and the way back from weights to vectors."""

    messages: Tensor
    """`(..., n, d)`, all finite"""
    products: Tensor
    """`(..., n, n)`, float64: inner products, of the messages less a common shift if need be"""

    @classmethod
    def of(cls, messages: Tensor, may_shift: bool = True) -> Geometry:
        """The geometry of messages `(..., n, d)`, hostile ones included.

        Where most are alike, products are those of their differences to the most central message,
        the one of least median distance to the others: while honest ones are the majority, one of
        them is no further away, whoever sent it. Distances do not mind.
        """
        products = _products(messages)
        hostile = ~(_squares(products) < _VAST**2)
        if bool(hostile.any()):
            messages = messages.masked_fill(hostile.unsqueeze(-1), 0.0)
            products = _products(messages)
        if may_shift:
            medians = _squared_distances(products).median(dim=-1).values
            least, central = medians.min(dim=-1, keepdim=True)
            alike = least < _APART * _squares(products).gather(-1, central)
            if bool(alike.any()):
                middle = row(messages, central.squeeze(-1)).unsqueeze(-2)
                products = torch.where(alike.unsqueeze(-1), _products(messages - middle), products)
        return cls(messages, products)

    def squares(self) -> Tensor:
        """Inner products of the messages with themselves, `(..., n)`."""
        return _squares(self.products)

    def squared_distances(self) -> Tensor:
        """Of each message to each, `(..., n, n)`."""
        return _squared_distances(self.products)

    def squared_distances_to(self, weights: Tensor) -> Tensor:
        """Of each message to the sum of `weight * message`, `(..., n)`.

        The weights sum to 1, or the products are not shifted.
        """
        means = (self.products @ weights.unsqueeze(-1)).squeeze(-1)
        of_mean = (weights * means).sum(-1, keepdim=True)
        return (self.squares() - 2 * means + of_mean).clamp_(min=0.0)

    def weighted(self, weights: Tensor) -> Tensor:
        """The sum of `weight * message`, `(..., n)` to `(..., d)`."""
        weights = weights.to(self.messages.dtype)
        return (weights.unsqueeze(-2) @ self.messages).squeeze(-2)


def bounded(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Messages `(..., n, d)` with zeros for those that are not finite, or vast, and their norms."""
    norms = torch.linalg.vector_norm(messages, dim=-1)
    hostile = ~(norms < _VAST)
    if bool(hostile.any()):
        messages = messages.masked_fill(hostile.unsqueeze(-1), 0.0)
        norms = norms.masked_fill(hostile, 0.0)
    return messages, norms


def mean_of(messages: Tensor, rows: Tensor) -> Tensor:
    """The mean of the messages of these rows, `(..., n, d)` and `(..., k)` to `(..., d)`."""
    if rows.shape[-1] == 1:
        return row(messages, rows[..., 0])
    weights = messages.new_zeros(messages.shape[:-1]).scatter_(-1, rows, 1 / rows.shape[-1])
    return (weights.unsqueeze(-2) @ messages).squeeze(-2)


def row(messages: Tensor, index: Tensor) -> Tensor:
    """`(..., n, d)` and `(...)` to `(..., d)`."""
    at = index[..., None, None].expand(*index.shape, 1, messages.shape[-1])
    return messages.gather(-2, at).squeeze(-2)


def _squares(products: Tensor) -> Tensor:
    return products.diagonal(dim1=-2, dim2=-1)


def _squared_distances(products: Tensor) -> Tensor:
    squares = _squares(products)
    distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * products
    return distances.clamp_(min=0.0)


def _products(messages: Tensor) -> Tensor:
    n, d = messages.shape[-2:]
    whole = d // _WIDTH * _WIDTH
    total = _gram(messages[..., whole:]).double()
    if whole:
        for lane, into in zip(messages.reshape(-1, n, d), total.view(-1, n, n), strict=True):
            blocks = lane[:, :whole].unflatten(-1, (-1, _WIDTH)).transpose(0, 1)
            # a batch of small products: torch takes several times as long for a single long one
            into += (blocks @ blocks.mT).double().sum(0)
    return total


def _gram(messages: Tensor) -> Tensor:
    """Inner products of short messages, in their own precision.

    On a processor they are NumPy's, whose bits do not depend on how many threads torch has.
    """
    if messages.device.type != "cpu":
        return messages @ messages.mT
    with np.errstate(over="ignore", invalid="ignore"):  # of hostile messages
        return torch.from_numpy(np.matmul(messages.numpy(), messages.mT.numpy()))
