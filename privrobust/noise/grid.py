"""The public grid on which a gradient meets its noise, so that no low bit tells what was added.

Both are rounded to whole numbers of steps gamma, and their sum is sent. Rounding moves a coordinate
by at most half a step, so it moves two neighbours apart by at most `gamma sqrt(d)` in L2, `gamma d`
in L1. Gamma is chosen, from public numbers alone, for this to be at most 2^-12 of what one unit
contributes (0.024 %), and b is enlarged by as much: noise over distance stays what accountants are
told.

References: Mironov 2012 (floats give values away); Canonne, Kamath, Steinke 2020 (noise on whole
numbers).
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from privrobust.core.numbers import shown
from privrobust.errors import SpecError

SHARE = 2.0**-12
"""The most that rounding adds to the distance of neighbours, as a share of it."""

MOST_STEPS = 2.0**51
"""Of a value, up to which its sum with noise is exact in float64."""

LARGEST_SCALE = 2.0**48
"""Steps of a scale up to which a draw is below 2^52, tails included."""

# Bits of b in steps where nothing is private: as many as float32 messages tell.
_UNBOUNDED_BITS = 26


class Grid(NamedTuple):
    """Gamma, and the scale of the noise in steps of it."""

    step: float
    """Gamma, a power of two: dividing by it is exact."""
    scale: float
    """`b (1 + SHARE) / gamma`, rounded up."""


class Grids(NamedTuple):
    """Those of many vectors."""

    steps: npt.NDArray[np.floating[Any]]
    """`(rows,)`"""
    scales: npt.NDArray[np.floating[Any]]
    """`(rows,)`"""

    @classmethod
    def of(cls, grids: Iterable[Grid]) -> "Grids":
        """Gather one a row."""
        steps, scales = np.array([*grids], dtype=np.float64).reshape(-1, 2).T
        return cls(steps.copy(), scales.copy())


def grid(
    noise_scale: float, contribution: float, dim: int, order: int, field: str = "noise_scale"
) -> Grid:
    """Choose the grid of a release.

    Args:
        noise_scale: b, above 0.
        contribution: the most that one unit adds to a message, or infinity; then nothing is
            private, and the grid is fine against b.
        dim: d, the coordinates of a message.
        order: of the norm that bounds the contribution, 1 or 2.
        field: what b is called, for the error.

    Raises:
        SpecError: b is so large against the contribution that no grid in 64-bit numbers is both.

    """
    wider = math.nextafter(noise_scale * (1 + SHARE), math.inf)
    if math.isinf(contribution):
        step = math.ldexp(1.0, math.frexp(noise_scale)[1] - _UNBOUNDED_BITS)
        return Grid(step, wider / step)
    rounding = float(dim) if order == 1 else math.sqrt(dim)
    finest = SHARE * contribution / rounding * (1 - 2.0**-50)
    step = math.ldexp(1.0, math.frexp(finest)[1] - 1)
    if not wider / step <= LARGEST_SCALE:
        raise SpecError(
            f"{field}: {shown(noise_scale)} is too large for a grid that is fine against a "
            f"contribution of {contribution:.3g} in {dim} coordinates; accepted: at most "
            f"{LARGEST_SCALE * step / (1 + SHARE):.3g}"
        )
    return Grid(step, wider / step)
