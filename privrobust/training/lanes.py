"""Lanes: runs that train side by side as one tensor program, and what they must share for it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.training.privacy import PrivacyPlan

T = TypeVar("T")


def lane_shape(spec: RunSpec) -> tuple[object, ...]:
    """What runs must share to train side by side in `train_lanes`."""
    return (
        spec.device,
        spec.dataset,
        spec.data_dir,
        spec.model,
        spec.loss,
        spec.honest,
        spec.batch_size,
        spec.sampling_rate,
        PrivacyPlan(spec).steps,
        spec.noise,
        spec.clipping,
        spec.unit,
        spec.worker_sampling_rate,
        spec.evaluate_on,
        spec.evaluate_every,
    )


def distinct(values: Sequence[T], device: torch.device) -> tuple[list[T], Tensor]:
    """The distinct values, and for every value its place among them."""
    kept = list(dict.fromkeys(values))
    return kept, torch.tensor([kept.index(value) for value in values], device=device)


def column(
    lanes: Sequence[RunSpec],
    setting: Callable[[RunSpec], float],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Gather a setting of every lane, `(lanes, 1)`; float64 where it is accounted for."""
    values = [setting(spec) for spec in lanes]
    return torch.tensor(values, dtype=dtype, device=device).unsqueeze(-1)
