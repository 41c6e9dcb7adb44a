"""What a model gets that has learnt nothing, as far as stored accuracies tell."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

SAMPLE = 512
"""How many runs of a dataset are asked: five times as many as most have classes."""

_MOST_CLASSES = 1000  # more would take long to solve for, and their chance is next to nothing
_EXACT = 1e-6  # shares of classes are whole multiples of one example's, far above this


def chance(measured: Iterable[tuple[Any, Any]]) -> float:
    """Return the accuracy of a model that gives the same answer whatever it sees.

    That is the share of the largest class. An accuracy is the mean of those by class, weighted by
    their shares, which are the same for all runs on the same held-out split: as many runs as there
    are classes, no two alike, have but one solution.

    Args:
        measured: accuracy, and a list of those by class as JSON or decoded, of some runs on the
            same split; what is damaged is left out.

    Returns:
        From 0 to 1: the share of the largest class, or 1 / classes, the least that it can be, where
        these runs do not tell; NaN where there are none.

    """
    rows = [row for row in map(_read, measured) if row is not None]
    if not rows:
        return math.nan
    classes = Counter(len(by_class) for _, by_class in rows).most_common(1)[0][0]
    kept = [row for row in rows if len(row[1]) == classes]
    accuracies = np.array([1.0, *(accuracy for accuracy, _ in kept)])
    by_class = np.array([np.ones(classes), *(by_class for _, by_class in kept)])
    there = ~np.isnan(by_class).any(axis=0)  # a class without held-out examples has no accuracy
    by_class = by_class[:, there]
    if not there.any():
        return math.nan
    shares, _, rank, _ = np.linalg.lstsq(by_class, accuracies, rcond=_EXACT)
    is_solved = (
        rank == len(shares)
        and np.allclose(by_class @ shares, accuracies, rtol=0, atol=_EXACT)
        and shares.min() > -_EXACT
    )
    return float(shares.max()) if is_solved else 1 / len(shares)


def _read(measured: tuple[Any, Any]) -> tuple[float, list[float]] | None:
    """Return an accuracy and those by class, or nothing where they are damaged."""
    accuracy, by_class = measured
    try:
        values = json.loads(by_class) if isinstance(by_class, str | bytes) else by_class
        whole = float(accuracy), [math.nan if each is None else float(each) for each in values]
    except (ValueError, TypeError, RecursionError):
        return None
    shares = [whole[0], *(each for each in whole[1] if not math.isnan(each))]
    is_sound = 0 < len(whole[1]) <= _MOST_CLASSES and all(0 <= each <= 1 for each in shares)
    return whole if is_sound else None
