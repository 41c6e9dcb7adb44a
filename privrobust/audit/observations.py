"""What an attack found: guesses about many canaries of one run, or detections over many runs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privrobust.core.numbers import as_float, as_whole
from privrobust.errors import SpecError, shown


def _count(counts: Any, field: str, most: int | None = None, of: str = "") -> int:
    """Make a count of a frozen dataclass a whole number from 0 to what it counts among."""
    value = getattr(counts, field)
    if most is None:
        whole = as_whole(field, value, "a whole number of at least 1", least=1)
    else:
        accepted = f"a whole number from 0 to {most}, the {of}"
        whole = as_whole(field, value, accepted, least=0, most=most)
    object.__setattr__(counts, field, whole)
    return whole


@dataclass(frozen=True)
class Guesses:
    """Say how many guesses about the canaries of one run were right.

    Attributes:
        canaries: m, each of which was in the data with probability 1/2, independently.
        guesses: r, about how many of them the attack said "in" or "out"; fixed beforehand.
        correct: v, how many of these guesses were right.

    """

    canaries: int
    guesses: int
    correct: int

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            SpecError: they are no whole numbers, or not 0 <= correct <= guesses <= canaries.

        """
        canaries = _count(self, "canaries")
        guesses = _count(self, "guesses", canaries, "canaries")
        _count(self, "correct", guesses, "guesses")


@dataclass(frozen=True)
class Detections:
    """Say in how many runs an attack said "in", of those with the canary and of those without.

    Attributes:
        runs_with: independent runs with the canary.
        true_positives: those among them in which the attack said "in".
        runs_without: independent runs without it.
        false_positives: those among them in which the attack said "in".

    """

    runs_with: int
    true_positives: int
    runs_without: int
    false_positives: int

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            SpecError: they are no whole numbers, or there are more positives than runs.

        """
        _count(self, "true_positives", _count(self, "runs_with"), "runs_with")
        _count(self, "false_positives", _count(self, "runs_without"), "runs_without")


def guess_by_score(scores: Any, included: Any, said_in: int, said_out: int) -> Guesses:
    """Guess "in" for the highest scores, "out" for the lowest, and abstain between them.

    Of equal scores at a cut, those are taken first for which the guess is wrong. So the count is
    at most that of every rule that knows scores alone, and the order in which canaries are listed
    (perhaps those that were in first) cannot help.

    Args:
        scores: one a canary, higher where it was more likely in.
        included: for each canary, whether it was in.
        said_in: k_plus, how many of the highest are guessed to be in.
        said_out: k_minus, how many of the lowest are guessed to be out. Both are fixed before
            `included` is looked at; to try several use `best_of`.

    Raises:
        SpecError: scores are not numbers, or NaN; `included` holds something else than truth
            values, or of another number; more guesses than canaries.

    """
    values, was_in = _scores("scores", scores), np.asarray(included)
    if was_in.dtype != bool or was_in.shape != values.shape:
        raise SpecError(
            f"included: {shown(included)} is not a list of {len(values)} truth values, "
            "one for each score"
        )
    most = len(values)
    high = as_whole("said_in", said_in, f"a whole number from 0 to {most}", least=0, most=most)
    most -= high
    low = as_whole(
        "said_out",
        said_out,
        f"a whole number from 0 to {most}, the canaries beyond said_in",
        least=0,
        most=most,
    )
    in_order = was_in[np.lexsort((~was_in, values))]  # of equal scores, first those that were in
    right = in_order[len(values) - high :].sum() + (~in_order[:low]).sum()
    return Guesses(len(values), high + low, int(right))


def detect_above(with_canary: Any, without_canary: Any, threshold: float) -> Detections:
    """Say "in" for scores above a threshold that was chosen before, or on other runs.

    Args:
        with_canary: the score of each run with the canary.
        without_canary: the score of each run without.
        threshold: a finite number. One that was chosen by looking at these scores makes the
            bound wrong: `detect_at_ranks` is for that.

    Raises:
        SpecError: scores or the threshold are not numbers, or NaN.

    """
    inside, outside = _scores("with_canary", with_canary), _scores("without_canary", without_canary)
    cut = as_float("threshold", threshold, "a finite number")
    return Detections(
        len(inside), int((inside > cut).sum()), len(outside), int((outside > cut).sum())
    )


def detect_at_rank(with_canary: Any, without_canary: Any, rank: int) -> Detections:
    """Say "in" above the (rank+1)-th largest score without the canary: `rank` false positives.

    Which rank is decided before, or on other runs; `detect_at_ranks` has the proof, and tries many.

    Raises:
        SpecError: scores are not numbers, or NaN; there are not so many without the canary.

    """
    inside, outside = _scores("with_canary", with_canary), _scores("without_canary", without_canary)
    most = len(outside) - 1
    rank = as_whole("rank", rank, f"a whole number from 0 to {most}", least=0, most=most)
    threshold = np.partition(outside, most - rank)[most - rank]
    return Detections(len(inside), int((inside > threshold).sum()), len(outside), rank)


def detect_at_share(scores: Any, included: Any, share: float) -> Detections:
    """Say "in" above the threshold that a share of the scores without the canary exceeds.

    Args:
        scores: one a trial.
        included: for each, whether its canary was in; some were, and some were not.
        share: of those without it, how many are to lie above; decided as a rank is.

    Raises:
        SpecError: as `detect_at_rank`.

    """
    inside, outside = scores[included], scores[~included]
    return detect_at_rank(inside, outside, round(share * (len(outside) - 1)))


def distance(scores: Any, included: Any) -> float:
    """Return how far "in" lies above "out", in standard deviations; numbers may be huge."""
    scaled = scores / max(float(np.abs(scores).max()), 1e-300)
    inside, outside = scaled[included], scaled[~included]
    spread = math.sqrt((inside.var() + outside.var()) / 2)
    return float(inside.mean() - outside.mean()) / max(spread, 1e-300)


def detect_at_ranks(with_canary: Any, without_canary: Any) -> tuple[Detections, ...]:
    """Say "in" above thresholds that the scores themselves give, for `best_of` to choose from.

    Threshold k is the (k+1)-th largest of the n scores without the canary, and counts as having
    k false positives, for k = 0, 1, 2, 4, ... below n/2 and as many from the other end. Each
    alone is as good as one that was fixed beforehand:

    - Of runs without the canary let P[score > t] be the false positive rate of t. At scores of
      a continuous law it is uniform on [0, 1], so at threshold k it is the (k+1)-th least of n
      uniform numbers, which is Beta(k+1, n-k): the law whose quantile is Clopper and Pearson's
      upper limit for k of n. The limit errs with exactly its stated probability. Where scores may
      be equal, the rate is smaller yet.
    - Of runs with the canary the scores are independent of the threshold, so that given it, true
      positives are binomial.

    How many thresholds there are depends on n alone, so that `best_of` can correct for them.

    Raises:
        SpecError: scores are not numbers, or NaN.

    """
    count = len(_scores("without_canary", without_canary))
    ranks = {0, *(1 << power for power in range(count.bit_length()) if 2 << power < count)}
    ranks |= {count - 1 - rank for rank in ranks}
    return tuple(detect_at_rank(with_canary, without_canary, rank) for rank in sorted(ranks))


def _scores(field: str, scores: Any) -> npt.NDArray[np.float64]:
    try:
        values = np.asarray(scores)
    except Exception:  # of ragged lists, and whatever a user's class raises
        values = np.empty(0)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iuf":
        raise SpecError(f"{field}: {shown(scores)} is not a list of numbers")
    if (bad := np.isnan(values)).any():
        raise SpecError(f"{field}: nan at {int(bad.argmax())} is not a number")
    return values.astype(np.float64)
