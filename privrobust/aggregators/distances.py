"""Inner products and distances of messages, without a tensor of n x n x d.

Rules that weigh whole messages need of them only their n x n inner products: whatever such a rule
computes on the way (distances, means, eigenvectors of a covariance) is made of those, and what it
returns is one weighted mean of the messages. So the messages are read twice, however many rounds
the rule takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privrobust.aggregators.scaling import all_are_safe, are_safe, exponents, lengths, scaled
from privrobust.core.lazy_imports import torch
from privrobust.kernels.backend import takes

if TYPE_CHECKING:
    from torch import Tensor

# Where squared distances are a smaller share of squared norms, float32 products of the messages
# would leave too little of them: what the messages share is subtracted first.
_APART = 0.05

# Coordinates multiplied together in the messages' own precision; their products add up in float64.
# So many of some dozens of messages stay in a core's own cache.
_WIDTH = 1 << 13

# Where all messages are within 2 to plus and minus this power, float64 holds squares of their
# products. A float32 always is; where a float64 is not, lanes have a unit of their own.
_REACH = 200


class Geometry(NamedTuple):
    """Messages, their inner products, and the way back from weights to vectors."""

    messages: Tensor
    """`(..., n, d)`, all finite"""
    products: Tensor
    """`(..., n, n)`, float64: inner products, of the messages less a common shift if need be"""
    power: Tensor
    """`(..., 1)`: they are in units of the square of 2 to this, which is 0 but for float64 that is
    vast or tiny"""

    @classmethod
    def of(cls, messages: Tensor, may_shift: bool = True) -> Geometry:
        """Return the geometry of messages `(..., n, d)`, hostile ones included.

        Messages that are not finite count as the zero vector, which a Byzantine worker might as
        well have sent; float64 longer than 2^200 times the median one, too.

        Where most are alike, products are those of their differences to the most central message,
        the one of least median distance to the others: while honest ones are the majority, one of
        them is no further away, whoever sent it. Distances do not mind.
        """
        products, powers = _scaled_products(messages)
        power = _unit(products, powers)
        hostile = ~_squares(products).isfinite() | (powers > power + _REACH)
        if bool(hostile.any()):
            messages = messages.masked_fill(hostile.unsqueeze(-1), 0.0)
            products = products.masked_fill(hostile.unsqueeze(-1) | hostile.unsqueeze(-2), 0.0)
        products = _in_unit(products, powers, power)
        if may_shift:
            medians = _squared_distances(products).median(dim=-1).values
            least, central = medians.min(dim=-1, keepdim=True)
            alike = least < _APART * _squares(products).gather(-1, central)
            if bool(alike.any()):
                middle = row(messages, central.squeeze(-1)).unsqueeze(-2)
                shifted, power_of_shifted = _products_of_differences(messages, middle)
                products = torch.where(alike.unsqueeze(-1), shifted, products)
                power = torch.where(alike, power_of_shifted, power)
        return cls(messages, products, power)

    def squares(self) -> Tensor:
        """Return inner products of the messages with themselves, `(..., n)`."""
        return _squares(self.products)

    def squared_distances(self) -> Tensor:
        """Return those of each message to each, `(..., n, n)`."""
        return _squared_distances(self.products)

    def squared_distances_to(self, weights: Tensor) -> Tensor:
        """Return those of each message to the sum of `weight * message`, `(..., n)`.

        The weights sum to 1, or the products are not shifted.
        """
        means = times(self.products, weights)
        of_mean = (weights * means).sum(-1, keepdim=True)
        return (self.squares() - 2 * means + of_mean).clamp_(min=0.0)

    def weighted(self, weights: Tensor) -> Tensor:
        """Return the mean by weights that sum to 1, `(..., n)` to `(..., d)`."""
        return weighted_mean(weights, self.messages)


def bounded(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Return messages `(..., n, d)`, zero where not finite, and their norms in float64."""
    norms = lengths(messages)
    hostile = ~norms.isfinite()
    if bool(hostile.any()):
        messages = messages.masked_fill(hostile.unsqueeze(-1), 0.0)
        norms = norms.masked_fill(hostile, 0.0)
    return messages, norms


def combined(weights: Tensor, messages: Tensor) -> Tensor:
    """Return sums of `weight * message`, `(..., k, n)` and `(..., n, d)` to `(..., k, d)`.

    One message after the other, in every lane alike: a BLAS rounds by where a lane lies in memory.
    """
    weights = weights.to(messages.dtype)
    if takes(messages):
        from privrobust.kernels.weighted_sums import weighted_sums

        return weighted_sums(weights, messages)
    sums = messages.new_zeros(*weights.shape[:-1], messages.shape[-1])
    for of_lane, lane, into in zip(
        lanes_of(weights), lanes_of(messages), lanes_of(sums), strict=True
    ):
        for factors, message in zip(of_lane.T, lane, strict=True):
            into += factors.unsqueeze(-1) * message
    return sums


def dots(messages: Tensor, vectors: Tensor) -> Tensor:
    """Return inner products in float64, `(..., n, d)` and `(..., d)` to `(..., n)`."""
    found = messages.new_empty(messages.shape[:-1], dtype=torch.float64)
    several = lanes_of(messages), lanes_of(vectors.unsqueeze(-2)), lanes_of(found.unsqueeze(-2))
    for lane, (vector,), (into,) in zip(*several, strict=True):  # as in `combined`
        torch.sum(lane.double() * vector, dim=-1, out=into)
    return found


def times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Multiply small `(..., m, n)` and `(..., n)` to `(..., m)`; lanes as in `combined`."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)


def mean_of(messages: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of the messages of these rows, `(..., n, d)` and `(..., k)` to `(..., d)`."""
    if rows.shape[-1] == 1:
        return row(messages, rows[..., 0])
    weights = messages.new_zeros(messages.shape[:-1]).scatter_(-1, rows, 1 / rows.shape[-1])
    return weighted_mean(weights, messages)


def weighted_mean(weights: Tensor, messages: Tensor) -> Tensor:
    """Return the mean by weights `(..., n)` that sum to 1, `(..., n, d)` to `(..., d)`.

    Rounding takes none beyond the largest number.
    """
    most = torch.finfo(messages.dtype).max
    return combined(weights.unsqueeze(-2), messages).squeeze(-2).clamp_(-most, most)


def row(messages: Tensor, index: Tensor) -> Tensor:
    """Return one row a lane, `(..., n, d)` and `(...)` to `(..., d)`."""
    at = index[..., None, None].expand(*index.shape, 1, messages.shape[-1])
    return messages.gather(-2, at).squeeze(-2)


def _squares(products: Tensor) -> Tensor:
    return products.diagonal(dim1=-2, dim2=-1)


def _squared_distances(products: Tensor) -> Tensor:
    squares = _squares(products)
    distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * products
    return distances.clamp_(min=0.0)


def _scaled_products(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Return inner products `(..., n, n)`, scaled where tiny or vast, and the powers `(..., n)`.

    Scaled are messages, not lanes: what one of them sends must not make the others' vanish.
    """
    products = products_of(messages)
    powers = torch.zeros_like(_squares(products), dtype=torch.int32)
    if not all_are_safe(_squares(products)):
        unsafe = ~are_safe(_squares(products))
        powers[unsafe] = exponents(messages[unsafe]).squeeze(-1)
        if bool(powers.any()):
            products = products_of(scaled(messages, -powers.unsqueeze(-1)))
    return products, powers


def _products_of_differences(messages: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Return inner products of finite messages less the middle, and the power of their unit."""
    products, powers = _scaled_products(messages - middle)
    infinite = ~_squares(products).isfinite()
    if bool(infinite.any()):  # the difference of vast ones, of which a quarter is finite
        share = torch.where(infinite, 0.25, 1.0).to(messages.dtype).unsqueeze(-1)
        products, powers = _scaled_products(messages * share - middle * share)
        powers = powers + 2 * infinite
    power = _unit(products, powers)
    return _in_unit(products, powers, power), power


def _unit(products: Tensor, powers: Tensor) -> Tensor:
    """Return the power of a lane's unit, `(..., 1)`: 0, or that of the median nonzero message."""
    beyond = (powers.abs() > _REACH).any(-1, keepdim=True)
    if not bool(beyond.any()):
        return beyond.int()
    sizes = powers.double().masked_fill(_squares(products) == 0, torch.nan)
    medians = sizes.nanmedian(dim=-1, keepdim=True).values.nan_to_num(nan=0.0)
    return torch.where(beyond, medians, 0.0).int()


def _in_unit(products: Tensor, powers: Tensor, power: Tensor) -> Tensor:
    """Return inner products of scaled messages as those of the messages, in a lane's unit."""
    if not bool((powers != power).any()):
        return products
    powers = (powers - power).clamp(-2 * _REACH, _REACH)  # beyond, they are next to 0 or to others
    return scaled(products, powers.unsqueeze(-1) + powers.unsqueeze(-2))


def lanes_of(tensor: Tensor) -> Tensor:
    """Flatten all leading axes to one."""
    return tensor.reshape(tensor.shape[:-2].numel(), *tensor.shape[-2:])


def products_of(messages: Tensor) -> Tensor:
    """Return inner products `(..., n, n)` in float64, of messages as they are."""
    if takes(messages):
        from privrobust.kernels.products import inner_products

        return inner_products(messages)
    whole = messages.shape[-1] // _WIDTH * _WIDTH
    total = messages.new_zeros(*messages.shape[:-1], messages.shape[-2], dtype=torch.float64)
    for lane, into in zip(lanes_of(messages), lanes_of(total), strict=True):
        # a copy, as a BLAS rounds by where numbers lie in memory
        into += _gram(lane[:, whole:].clone(memory_format=torch.contiguous_format))
        if whole:
            blocks = lane[:, :whole].clone(memory_format=torch.contiguous_format)
            blocks = blocks.unflatten(-1, (-1, _WIDTH)).transpose(0, 1)
            # a batch of small products: torch takes several times as long for a single long one
            into += (blocks @ blocks.mT).double().sum(0)
    return total


def _gram(messages: Tensor) -> Tensor:
    """Return inner products of short messages `(n, d)`, in their own precision.

    On a processor they are NumPy's, whose bits do not depend on how many threads torch has.
    """
    if messages.device.type != "cpu":
        return messages @ messages.mT
    with np.errstate(over="ignore", invalid="ignore"):  # of hostile messages
        return torch.from_numpy(np.matmul(messages.numpy(), messages.mT.numpy()))
