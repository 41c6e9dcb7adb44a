"""Noise laws by name: what workers add to every coordinate of what they send.

Ours meet the gradient on a grid (`privrobust.noise.grid`), so that bits keep what theory promises;
what they hide is known to accountants (`ACCOUNTED_LAWS` in `accountants/release.py`). One of a
user's own is drawn in floating point, and nobody knows what it hides: its epsilon is infinite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import Inexact, plain
from privrobust.core.parameters import Configured
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, failure, shown
from privrobust.noise import exact, tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GridLaw:
    """Symmetric, unimodal, i.i.d. noise of unit scale: the xi of the paper."""

    about: str
    """In a line."""
    std: float
    """Of xi."""
    order: int
    """Of the norm whose bound it hides."""
    exactly: Callable[[int, float, exact.More], int]
    """Draws one coordinate of a block."""
    in_tensors: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Draws many at a time, and says which are doubtful."""


@dataclass(frozen=True)
class NoiseLaw(Configured, ABC):
    """I.i.d. noise of unit scale, of a user's own: b times it is added to every coordinate.

    No accountant knows it, so a run's epsilon is infinite.

    >>> class Cauchy(NoiseLaw):
    ...     "Cauchy noise, of no variance."
    ...     std = math.inf
    ...     def draw(self, uniform):
    ...         return (math.pi * (uniform - 0.5)).tan()
    >>> Cauchy().draw(torch.tensor([0.5]))
    tensor([0.])
    """

    order: ClassVar[int] = 2
    """Of the norm that gradients are clipped in: 2 or 1."""

    @property
    @abstractmethod
    def std(self) -> float:
        """Its standard deviation, above 0, perhaps infinite; some attacks know it."""

    @abstractmethod
    def draw(self, uniform: Tensor) -> Tensor:
        """Turn independent uniform numbers into noise.

        Args:
            uniform: between 0 and 1, both excluded, float64.

        Returns:
            A draw for each, of their shape and type, by the inverse of the distribution function
            or otherwise.

        """


NOISE_LAWS = MappingProxyType({
    "gaussian": GridLaw("Normal, of variance 1.", 1.0, 2, exact.gaussian, tensors.gaussian),
    "laplace": GridLaw(
        "Laplace's, of scale parameter 1 (variance 2).", math.sqrt(2), 1, exact.laplace,
        tensors.laplace,
    ),
    "logistic": GridLaw(
        "Logistic, of scale parameter 1 (variance pi^2 / 3).", math.pi / math.sqrt(3), 2,
        exact.logistic, tensors.logistic,
    ),
})  # fmt: skip
"""Ours, which are drawn on a grid."""

REGISTRY: Registry[GridLaw | type[NoiseLaw]] = Registry(
    "noise", NOISE_LAWS, Own((NoiseLaw,), "a class that derives from privrobust.noise.NoiseLaw")
)


def available_noise_laws() -> list[str]:
    """Return the names that a spec may use."""
    return REGISTRY.available()


def list_noise_laws() -> list[Entry]:
    """Describe every noise law, as `privrobust list noise_laws` shows them."""
    return [
        Entry(name, law.about)
        if isinstance(law := REGISTRY[name], GridLaw)
        else REGISTRY.entry(name, "epsilon is infinite: no accountant knows it")
        for name in available_noise_laws()
    ]


def register_noise_law(name: str, law: type[NoiseLaw]) -> None:
    """Let specs name a noise law; an earlier one of your own of that name is replaced.

    Runs train with it, and their epsilon is infinite, as no accountant knows what it hides. Results
    are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; or it is no noise law's
            class.

    """
    REGISTRY.register(name, law)


def get_noise_law(text: str) -> GridLaw | NoiseLaw:
    """Make the noise law that a spec names: `gaussian`, or `package.module:Class(parameter=1)`.

    Raises:
        SpecError: no such law or parameter, a value that it does not accept, or a law of a user's
            own that is not what it should be.

    """
    if isinstance(text, str) and text in NOISE_LAWS:  # as in nearly all of thousands of releases
        return NOISE_LAWS[text]
    law: GridLaw | NoiseLaw = REGISTRY.get(text)
    if isinstance(law, NoiseLaw):
        _try_out(law)
    return law


@lru_cache(maxsize=64)
def _try_out(law: NoiseLaw) -> None:
    """Refuse a user's law that is not what it should be."""
    drawn(law, torch.arange(1, 64, dtype=torch.float64) / 64)
    try:
        order, std = law.order, law.std
    except Exception as error:  # whatever a user's property raises
        raise failure(law, error, "std") from error
    try:
        accepted = plain(order) in (1, 2) and plain(std) > 0
    except (TypeError, Inexact):
        accepted = False
    if not accepted:
        raise SpecError(
            f"noise: {type(law).__name__} has order {shown(order)} and std {shown(std)}; "
            "accepted: order 1 or 2, std above 0"
        )


def canonical_noise_law(text: str) -> str:
    """Write the same noise law in one way; raises as `get_noise_law`."""
    law = get_noise_law(text)
    return str(text) if law is NOISE_LAWS.get(text) else REGISTRY.canonical(text)


def drawn(law: NoiseLaw, uniform: Tensor) -> Tensor:
    """Draw a user's noise, as `NoiseLaw.draw`.

    Raises:
        SpecError: it fails, or gives anything but a float64 number for each.

    """
    try:
        noise: object = law.draw(uniform)
    except Exception as error:  # whatever a user's law raises
        raise failure(law, error, "draw(self, uniform)") from error
    if (
        not isinstance(noise, torch.Tensor)
        or noise.shape != uniform.shape
        or noise.dtype != uniform.dtype
    ):
        raise SpecError(
            f"noise: {type(law).__name__} draws a {type(noise).__name__}; accepted: a float64 "
            f"tensor {tuple(uniform.shape)}"
        )
    return noise
