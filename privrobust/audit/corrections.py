"""Many tests, one confidence: tables of bounds, and the best of several."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from privrobust.audit.lower_bound import LowerBound, check_confidence
from privrobust.audit.observations import Detections, Guesses
from privrobust.core.numbers import as_whole
from privrobust.errors import SpecError

Observed = TypeVar("Observed", Guesses, Detections)


def each_confidence(confidence: float, tests: int) -> float:
    """Return the confidence that each of several bounds needs, for all to hold at once.

    Bonferroni: if each is wrong with probability (1 - confidence) / tests, any is with at most
    1 - confidence, however they depend on each other (cells of a table share runs). Holm's steps
    reject a few more claims at the same error, but they say only which claims are false, while
    a table prints bounds, all of which are to hold.

    Raises:
        SpecError: confidence is not in (0, 1), or there is less than one test.

    >>> round(each_confidence(0.95, 10), 6)
    0.995
    """
    confidence = check_confidence(confidence)
    return 1 - (1 - confidence) / as_whole("tests", tests, "a whole number from 1 up", least=1)


def best_of(
    observed: Sequence[Observed],
    bound: Callable[[Observed, float], LowerBound],
    confidence: float = 0.95,
) -> LowerBound:
    """Return the largest bound of several numbers of guesses, or thresholds, corrected for that.

    Args:
        observed: what was seen, as many as were planned without looking at who was in.
        bound: makes a bound from one of them at a confidence.
        confidence: of the bound that is returned.

    Raises:
        SpecError: nothing was observed, or confidence is not in (0, 1).

    >>> from privrobust.audit import Guesses, one_run_bound
    >>> seen = [Guesses(1000, 100, 95), Guesses(1000, 500, 400)]
    >>> best = best_of(seen, lambda each, level: one_run_bound(each, 1e-5, level))
    >>> best.observed.guesses, best.tests, round(best.epsilon_lower_bound, 3)
    (100, 2, 2.051)
    """
    if not observed:
        raise SpecError("observed: () is not at least one observation")
    level = each_confidence(confidence, len(observed))
    largest = max(
        (bound(each, level) for each in observed), key=lambda one: one.epsilon_lower_bound
    )
    return replace(largest, confidence=check_confidence(confidence), tests=len(observed))
