"""What every estimator returns, and what all of them are asked."""

from collections.abc import Callable
from dataclasses import dataclass

from privrobust.accountants import gaussian
from privrobust.audit.observations import Detections, Guesses
from privrobust.core.numbers import as_float


@dataclass(frozen=True)
class LowerBound:
    """Say what an attack proves: at this delta, epsilon is no less.

    Attributes:
        epsilon_lower_bound: 0 where nothing was found.
        delta: the delta at which it holds.
        confidence: with which probability at least such a bound is not above the truth.
        observed: what it was computed from.
        estimator: its name.
        paper: whose estimator it is.
        tests: how many bounds it is the largest of, which `confidence` allows for.
        mu: of estimators that assume a Gaussian trade-off, its lower bound; else None.

    """

    epsilon_lower_bound: float
    delta: float
    confidence: float
    observed: Guesses | Detections
    estimator: str
    paper: str
    tests: int = 1
    mu: float | None = None


def check_delta(delta: float) -> float:
    """Return delta as a float.

    Raises:
        SpecError: it is not in [0, 1).

    """
    return as_float("delta", delta, "a number from 0 up, below 1", least=0, below=1)


def check_positive_delta(delta: float) -> float:
    """Return delta as a float, for a law that spends infinitely much at delta 0.

    Raises:
        SpecError: it is not in (0, 1).

    """
    return as_float("delta", delta, "a number between 0 and 1", above=0, below=1)


def check_confidence(confidence: float) -> float:
    """Return a confidence as a float.

    Raises:
        SpecError: it is not in (0, 1).

    """
    return as_float("confidence", confidence, "a number between 0 and 1", above=0, below=1)


def largest_rejected(is_rejected: Callable[[float], bool], tolerance: float = 1e-9) -> float:
    """Return a number above 0 that is rejected, almost the largest such, or 0 if none is found.

    Args:
        is_rejected: whether a number is; those below it then are too.
        tolerance: how far below the supremum, in relation to it, the search may end; also the
            least number that is tried.

    """
    if not is_rejected(tolerance):
        return 0.0
    low, high = tolerance, 1.0
    while is_rejected(high):
        low, high = high, 2 * high
    while high - low > tolerance * high:
        middle = (low + high) / 2
        low, high = (middle, high) if is_rejected(middle) else (low, middle)
    return low


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return epsilon of mu-Gaussian differential privacy at that delta."""
    return gaussian.epsilon(1 / mu, delta) if mu > 0 else 0.0
