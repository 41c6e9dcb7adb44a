"""What a model gets that has learnt nothing, as far as stored accuracies tell."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE = 512
"""How many runs of a dataset are asked: five times as many as most have classes."""

_MOST_CLASSES = 1000  # more would take long to solve for, and their chance is next to nothing
_MOST_SOLVED = 100  # as many linear programs are a second's work
_EXACT = 1e-6  # shares of classes are whole multiples of one example's, far above this
_PLAIN = 1e-4  # how far from the truth a solution of equations may be: less than is printed


@dataclass(frozen=True)
class Chance:
    """The accuracy of a model that gives the same answer whatever it sees: between two bounds."""

    least: float
    most: float
    """As the least where runs determine it."""


_UNKNOWN = Chance(math.nan, math.nan)
_Floats = npt.NDArray[np.float64]


def chance(measured: Iterable[tuple[Any, Any]]) -> Chance:
    """Return the accuracy of a model that gives the same answer whatever it sees.

    That is the share of the largest class. An accuracy is the mean of those by class, weighted by
    their shares, which are the same for all runs on the same held-out split: as many runs as there
    are classes, no two alike, have but one solution. Where there are fewer, or runs are too much
    alike, as those are that learnt nothing, linear programs find the least and the largest share
    that the largest class may have.

    Args:
        measured: accuracy, and a list of those by class as JSON or decoded, of some runs on the
            same split; what is damaged is left out.

    Returns:
        Bounds from 0 to 1 on the share of the largest class: 1 / classes and 1 where these runs
        contradict each other; NaN where there are none.

    """
    rows = [row for row in map(_read, measured) if row is not None]
    if not rows:
        return _UNKNOWN
    classes = Counter(len(by_class) for _, by_class in rows).most_common(1)[0][0]
    kept = [row for row in rows if len(row[1]) == classes]
    accuracies = np.array([1.0, *(accuracy for accuracy, _ in kept)])
    by_class = np.array([np.ones(classes), *(by_class for _, by_class in kept)])
    there = ~np.isnan(by_class).any(axis=0)  # a class without held-out examples has no accuracy
    by_class = by_class[:, there]
    if not there.any():
        return _UNKNOWN
    shares, _, rank, singular = np.linalg.lstsq(by_class, accuracies, rcond=None)
    is_solved = (
        rank == len(shares)
        and _EXACT * len(accuracies) ** 0.5 < _PLAIN * singular[-1]
        and np.allclose(by_class @ shares, accuracies, rtol=0, atol=_EXACT)
        and shares.min() > -_PLAIN
    )
    if is_solved:
        return Chance(float(shares.max()), float(shares.max()))
    return _bounds(*np.split(np.unique(np.column_stack([by_class, accuracies]), axis=0), [-1], 1))


def _bounds(by_class: _Floats, accuracies: _Floats) -> Chance:
    """Bound the largest of the shares that agree with every accuracy, to rounding."""
    from scipy.optimize import linprog  # a tenth of a second that most stores do without

    classes = by_class.shape[1]
    right = accuracies.ravel()
    # the shares, then what none of them exceeds
    limits = np.block(
        [
            [by_class, np.zeros((len(right), 1))],
            [-by_class, np.zeros((len(right), 1))],
            [np.eye(classes), -np.ones((classes, 1))],
        ]
    )
    at_most = np.concatenate([right + _EXACT, _EXACT - right, np.zeros(classes)])
    found = linprog([*[0] * classes, 1], limits, at_most, bounds=(0, 1))
    if not found.success:
        return Chance(1 / classes, 1.0)
    least = max(float(found.fun or 0), 1 / classes)
    if classes > _MOST_SOLVED:
        return Chance(least, 1.0)
    ends = [
        linprog(-one, limits[: 2 * len(right), :-1], at_most[: 2 * len(right)], bounds=(0, 1))
        for one in np.eye(classes)
    ]
    most = max(-float(end.fun or 0) if end.success else 1.0 for end in ends)
    return Chance(least, least if most - least < _PLAIN else min(most, 1.0))


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
