"""Mean and standard deviation of messages over workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privrobust.late import torch

if TYPE_CHECKING:
    from torch import Tensor


# Numbers handled together: they stay in the processor's cache.
_BLOCK = 1 << 19


def mean_and_std(honest: Tensor) -> tuple[Tensor, Tensor]:
    """Over workers, `(..., h, d)` to `(..., d)` each; the variance has the denominator h."""
    mean, std = (honest.new_empty(*honest.shape[:-2], honest.shape[-1]) for _ in range(2))
    width = max(1, _BLOCK // max(1, honest[..., :1].numel()))
    blocks = (each.split(width, -1) for each in (honest, mean, std))
    for block, mean_of_block, std_of_block in zip(*blocks, strict=True):
        torch.mean(block, dim=-2, out=mean_of_block)
        deviations = (block - mean_of_block.unsqueeze(-2)).square_()
        torch.mean(deviations, dim=-2, out=std_of_block)
    return mean, std.sqrt_()
