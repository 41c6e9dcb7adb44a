"""The interface of an attack, and what attacks share."""

import math
from typing import Protocol

import torch
from torch import Tensor

from privrobust.errors import SpecError


class Attack(Protocol):
    """Omniscient and rushing: it sees the honest messages of this step before it chooses."""

    def __call__(
        self, honest: Tensor, byzantine: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """What the Byzantine workers send.

        Args:
            honest: the honest messages as sent, noise included, shape `(..., h, d)`.
            byzantine: how many Byzantine workers there are, f >= 1.
            generator: the stream of attacks that draw; deterministic ones leave it alone.

        Returns:
            Shape `(..., f, d)`, possibly an expanded view.

        Raises:
            SpecError: the attack is not defined for this h and f.

        """
        ...


def collude(message: Tensor, byzantine: int) -> Tensor:
    """All f Byzantine workers send the same message: `(..., d)` to `(..., f, d)`."""
    return message.unsqueeze(-2).expand(*message.shape[:-1], byzantine, message.shape[-1])


def finite_parameter(owner: object, name: str, value: float, *, positive: bool = False) -> None:
    """Refuse a parameter that is no finite (or no positive finite) number."""
    accepted = "a finite number above 0" if positive else "a finite number"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (positive and value <= 0):
        raise SpecError(f"{type(owner).__name__}.{name}: {value!r} is not {accepted}")
