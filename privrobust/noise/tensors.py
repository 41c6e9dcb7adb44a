"""Noise by tensor operations: on a GPU, and where the compiled loop is not to be had.

The same law as `exact` in float64, for whole tensors of words at a time, and which numbers are too
close to a half for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    from torch import Tensor

# The most that these functions are off by, as a share of the radius (or size) and of the scale:
# logarithm, root, sine and cosine to 4 units in the last place each, and the words' finite length.
_SLACK = 2.0**-46
_LEAST_SLACK = 2.0**-55
# Words so close to 0 or to 2^64 that their length tells.
_SHORT = 1 << 43
_BELOW_SIGN = (1 << 63) - 1


def gaussian(words: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Draw Gaussian noise from words.

    Args:
        words: int64 `(..., blocks, 2)`.
        scale: m, the standard deviation in steps, float64, broadcast against `(..., blocks)`.

    Returns:
        Whole numbers in float64 `(..., blocks, 2)`, and which of them are doubtful.

    """
    noise, radius, short = standard_normal(words)
    scale = scale.unsqueeze(-1)
    return rounded(noise * scale, radius * scale, scale, short)


def standard_normal(words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw standard normal numbers from words, not rounded.

    Args:
        words: int64 `(..., blocks, 2)`.

    Returns:
        The numbers `(..., blocks, 2)`; the radius of each block, a share of which they may be off
        by, and whether its word is so short that they may be off by more, `(..., blocks, 1)`.

    """
    u, t = words.unbind(-1)
    size, short = _minus_log(u, 0.5)
    radius = size.mul_(2).sqrt_()
    angle = ((t & _BELOW_SIGN) - (1 << 62)).double() * (math.pi * 2.0**-63)
    signed = torch.where(t < 0, -radius, radius)
    noise = torch.stack([signed * angle.sin(), signed * angle.cos()], -1)
    return noise, radius.unsqueeze(-1), short.unsqueeze(-1)


def laplace(words: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Draw Laplace noise from words, as `gaussian`; m is the scale parameter."""
    size, short = _minus_log(words << 1, 1.0)
    size = size * scale.unsqueeze(-1)
    return rounded(torch.where(words < 0, -size, size), size, scale.unsqueeze(-1), short)


def logistic(words: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Draw logistic noise from words, as `gaussian`; m is the scale parameter."""
    of_below, short = _minus_log(words, 0.5)
    of_above, _ = _minus_log(~words, 0.5)  # of 1 - u, as near to its own ends
    scale = scale.unsqueeze(-1)
    return rounded((of_above - of_below) * scale, (of_above + of_below) * scale, scale, short)


def _minus_log(words: Tensor, middle: float) -> tuple[Tensor, Tensor]:
    """Return -ln(u) of fractions u of 2^64, precise near 0 and near 1, and where it is not."""
    folded = words ^ (words >> 63)  # how far from 0 or, where negative as int64, from 1
    fraction = (folded.double() + middle) * 2.0**-64
    size = torch.where(words < 0, torch.log1p(-fraction), torch.log(fraction))
    return size.neg_(), folded < _SHORT


def rounded(
    noise: Tensor, size: Tensor, scale: Tensor | float, short: Tensor
) -> tuple[Tensor, Tensor]:
    """Round noise that is off by a share of its size and of its scale; which are doubtful?"""
    whole = noise.round()
    room = 0.5 - size * _SLACK - scale * _LEAST_SLACK
    return whole, ((noise - whole).abs() > room) | short
