"""Student's interval of a mean over seeds: one place for all that prints or draws one."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # what scipy.stats asks, without the second that it loads

CONFIDENCE = 0.95
TOLD = f"{100 * CONFIDENCE:g} %"
"""As it is printed."""


def half_width(deviation: Any, count: Any, level: float = CONFIDENCE) -> npt.NDArray[np.float64]:
    """Return half of the Student interval of a mean: `t * deviation / sqrt(count)`.

    Args:
        deviation: the standard deviation of the sample, with `count - 1` in its denominator.
        count: how many values are in the sample; broadcast against `deviation`.
        level: the chance that the interval covers the true mean of a normal law.

    Returns:
        An array of the broadcast shape; NaN where there are less than two values.

    """
    count = np.asarray(count, dtype=np.float64)
    critical = stdtrit(np.where(count > 1, count - 1, np.nan), (1 + level) / 2)
    return np.asarray(critical * np.asarray(deviation, dtype=np.float64) / count**0.5)
