"""Whether models learnt anything: whether an accuracy is clearly above chance."""

from typing import Any

import numpy as np
import numpy.typing as npt

from privrobust.reporting.intervals import CONFIDENCE, half_width

RESOLUTION = 0.001
"""The least standard deviation of seeds that verdicts believe: about one held-out example.

Seeds agree by accident, most easily where there are two of them.
"""
_MARGIN = 0.1  # of one seed: three standard errors of any accuracy, on 225 held-out examples


def clearly_above(
    mean: Any, half: Any, seeds: Any, chance: Any, level: float = CONFIDENCE
) -> npt.NDArray[np.bool_]:
    """Tell whether a mean accuracy over seeds is clearly above chance.

    The Student interval of the mean lies above it, with a deviation of at least `RESOLUTION`; a
    single seed, which has none, lies above it by ten points.

    Args:
        mean: of accuracies, one a seed; broadcast against the other arguments.
        half: half of the interval, NaN of a single seed.
        seeds: how many they are.
        chance: what a model gets that has learnt nothing, at most; nothing is compared with NaN.
        level: of the interval.

    """
    mean, chance = np.asarray(mean, float), np.asarray(chance, float)
    half = np.maximum(np.asarray(half, float), half_width(RESOLUTION, seeds, level))
    low = mean - np.where(np.isnan(half), _MARGIN, half)
    return np.asarray(np.isnan(chance) | (low > chance))
