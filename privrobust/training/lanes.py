"""Lanes: runs that train side by side as one tensor program, and what they must share for it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.training.privacy_plan import PrivacyPlan

T = TypeVar("T")

_SHARED = named(lambda field: not field.per_lane)


def lane_shape(spec: RunSpec) -> tuple[object, ...]:
    """Return what runs must share to train side by side in `train_lanes`.

    Those are all fields but the ones whose `Meaning` says that lanes may differ in them; of steps,
    those that the run will take.
    """
    shared = {name: getattr(spec, name) for name in _SHARED} | {"steps": PrivacyPlan(spec).steps}
    return tuple(shared.values())


def distinct(values: Sequence[T], device: torch.device) -> tuple[list[T], Tensor]:
    """Return the distinct values, and for every value its place among them."""
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
