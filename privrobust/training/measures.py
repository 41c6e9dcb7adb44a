"""What is measured as runs train: the model, and how well an aggregate stands for the honest.

The latter is cheap enough for every step at which a run is evaluated, and looks at messages as they
are sent: noise included, and signs where workers send signs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from privrobust.aggregators import Median
from privrobust.aggregators.moments import mean_and_std
from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    from torch import Tensor


class Evaluation(NamedTuple):
    """Of the held-out split, `(lanes,)` each."""

    accuracy: Tensor
    loss: Tensor
    calibration_error: Tensor


class Measures(NamedTuple):
    """Of one step, `(lanes,)` each; NaN where it is not defined."""

    kappa: Tensor
    """`|aggregate - mean|^2 / mean_i |g_i - mean|^2` over the honest messages g_i (Allouah et al.
    2023, Definition 2): how much of their spread the rule's error is; infinite where the aggregate
    is not finite."""
    median_mean_gap: Tensor
    """`|median - mean|` of the honest messages: what Chen et al. 2020 repair with noise."""
    cosine: Tensor
    """Between the aggregate and the honest mean; 0 where one of them is the zero vector."""
    variance: Tensor
    """`|aggregate - last aggregate|^2 / 2`, which estimates the total variance of the aggregate
    over steps that are close (von Neumann 1941)."""
    error: Tensor
    """`|aggregate - mean of the honest vectors before noise|^2`: how far it is from what a step
    without noise and Byzantine workers would take. Of signs it says little."""


def measure(honest: Tensor, update: Tensor, previous: Tensor, wanted: Tensor) -> Measures:
    """Measure one step.

    Args:
        honest: messages, `(lanes, honest, dim)`.
        update: their aggregate with the Byzantine ones, `(lanes, dim)`.
        previous: that of the step before; NaN where there is none.
        wanted: the mean of the honest vectors before noise, `(lanes, dim)`.

    """
    # in float64: a large value's messages are float32 numbers whose squares are not
    mean, std = (each.double() for each in mean_and_std(honest))
    update, spread = update.double(), std.square().sum(-1)
    return Measures(
        kappa=(update - mean).square().sum(-1).nan_to_num(torch.inf, torch.inf) / spread,
        median_mean_gap=(Median()(honest) - mean).norm(dim=-1),
        cosine=torch.nn.functional.cosine_similarity(
            update, mean, dim=-1, eps=torch.finfo(mean.dtype).tiny
        ),
        variance=(update - previous).square().sum(-1) / 2,
        error=(update - wanted).square().sum(-1).nan_to_num(torch.inf, torch.inf),
    )
