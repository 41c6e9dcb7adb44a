"""The best learning rate between those that were tried, and what another one would have cost."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd


def best_rate(accuracy: pd.Series) -> float:
    """Return log10 of the best rate: the top of a parabola through the best one and its neighbours.

    Args:
        accuracy: of each rate that was tried, indexed by it, in order; NaN where a run failed.

    Returns:
        That of the best one itself where it is the first or the last; NaN where all runs failed.

    """
    if accuracy.isna().all():
        return math.nan
    rates = np.log10(accuracy.index.to_numpy(dtype=float))
    best = int(accuracy.fillna(-math.inf).to_numpy().argmax())
    if not 0 < best < len(rates) - 1:
        return float(rates[best])
    near = slice(best - 1, best + 2)
    curvature, slope, _ = np.polyfit(rates[near], accuracy.iloc[near], 2)
    return float(-slope / (2 * curvature)) if curvature < 0 else float(rates[best])


def is_at_edge(accuracy: pd.Series) -> bool:
    """Tell whether the best rate is the first or the last that was tried; no, where all failed."""
    best = int(accuracy.fillna(-math.inf).to_numpy().argmax())
    return bool(accuracy.notna().any()) and not 0 < best < len(accuracy) - 1


def accuracy_at(accuracy: pd.DataFrame, log_rate: float) -> npt.NDArray[np.float64]:
    """Interpolate the accuracy of a rate between its neighbours, along log10 of rates.

    Where accuracy is concave, a straight line lies below it: a loss is not told too small.

    Args:
        accuracy: indexed by rates, in order; a column a seed.
        log_rate: log10 of the rate.

    Returns:
        One a seed; NaN for a rate beyond those that were tried, of which nothing is known.

    """
    rates = np.log10(accuracy.index.to_numpy(dtype=float))
    values = accuracy.to_numpy(dtype=float).T
    return np.array(
        [np.interp(log_rate, rates, each, left=math.nan, right=math.nan) for each in values]
    )
