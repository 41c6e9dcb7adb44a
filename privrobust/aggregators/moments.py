"""Mean and standard deviation of messages over workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privrobust.aggregators.scaling import (
    all_are_safe,
    are_safe,
    exponents,
    of_unit_size,
    scaled,
    sums_of_squares,
)
from privrobust.core.lazy_imports import torch
from privrobust.kernels.backend import takes

if TYPE_CHECKING:
    from torch import Tensor


# Numbers handled together: they stay in the processor's cache. How a sum over workers is rounded
# depends on a coordinate's place, modulo the stride: so it does not on how many lanes there are.
_BLOCK = 1 << 19
_STRIDE = 1 << 8


def mean(messages: Tensor) -> Tensor:
    """Average over workers, `(..., n, d)` to `(..., d)`: finite where the messages are.

    A float32 is added in double precision, whose range no sum of them leaves.
    """
    if messages.dtype == torch.float32:
        if takes(messages):
            from privrobust.kernels import moments

            return moments.mean()(messages)[0]
        return messages.mean(dim=-2, dtype=torch.float64).float()
    found = messages.mean(dim=-2)
    if bool(found.sum().isfinite()):  # and so are all
        return found
    infinite = ~found.isfinite()
    power = infinite.unsqueeze(-2) * messages.shape[-2].bit_length()  # their sum is finite
    finite = scaled(scaled(messages, -power).mean(dim=-2), power.squeeze(-2))
    # rounding takes no mean beyond the values
    finite = finite.minimum(messages.amax(dim=-2)).maximum(messages.amin(dim=-2))
    return torch.where(infinite, finite, found)


def mean_and_std(honest: Tensor) -> tuple[Tensor, Tensor]:
    """Return both over workers, `(..., h, d)` to `(..., d)` each; the variance divides by h.

    They are not finite where a message is not. Of float32 they are computed in double precision.
    """
    if honest.dtype == torch.float32:
        if takes(honest):
            from privrobust.kernels import moments

            mean, std = moments.mean_and_std()(honest)
            return mean, std
        first = honest[..., :1, :].double()
        mean, variance = _mean_and_variance(honest.double() - first)
        return mean.add_(first.squeeze(-2)).float(), variance.sqrt_().float()
    mean, variance = _mean_and_variance(honest)
    if all_are_safe(variance):
        return mean, variance.sqrt_()
    largest = torch.maximum(honest.amax(dim=-2), honest.amin(dim=-2).neg_())
    if all_are_safe(largest.masked_fill(largest == 0, 1.0).square_()):
        return mean, variance.sqrt_()  # workers agree, as on the zeros of sparse gradients
    powers = exponents(largest.unsqueeze(-1)).squeeze(-1) * ~are_safe(largest.square())
    mean, variance = _mean_and_variance(scaled(honest, -powers.unsqueeze(-2)))
    return scaled(mean, powers), scaled(variance.sqrt_(), powers)


def _mean_and_variance(honest: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = (honest.new_empty(*honest.shape[:-2], honest.shape[-1]) for _ in range(2))
    width = _BLOCK // max(1, honest[..., :1].numel()) // _STRIDE * _STRIDE
    blocks = (each.split(max(_STRIDE, width), -1) for each in (honest, mean, variance))
    for block, mean_of_block, variance_of_block in zip(*blocks, strict=True):
        torch.mean(block, dim=-2, out=mean_of_block)
        deviations = (block - mean_of_block.unsqueeze(-2)).square_()
        torch.mean(deviations, dim=-2, out=variance_of_block)
    return mean, variance


def deviations_from(mean: Tensor, messages: Tensor) -> tuple[Tensor, Tensor]:
    """Return messages less their mean, scaled to a size to square, and powers `(..., 1, 1)`."""
    middle = mean.unsqueeze(-2)
    deviations = messages - middle
    if all_are_safe(sums_of_squares(deviations)):
        return deviations, torch.zeros_like(deviations[..., :1, :1], dtype=torch.int32)
    infinite = ~deviations.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    if bool(infinite.any()):  # of vast messages, of which a quarter deviates finitely
        share = torch.where(infinite, 0.25, 1.0).to(messages.dtype)
        deviations = messages * share - middle * share
    deviations, powers = of_unit_size(deviations)
    return deviations, powers + 2 * infinite
