"""Lanes: runs that train side by side as one tensor program, each with settings of its own.

Which runs may is in `privrobust.sweeps.packing`.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from privrobust.spec import RunSpec

T = TypeVar("T")


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
