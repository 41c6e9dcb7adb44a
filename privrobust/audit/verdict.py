"""From trials to a verdict: choose an attack on some of them, and count it on the rest.

Two fifths of the trials teach the attacks and choose one, and where it says "in": what one of two
halves teaches is tried on the other. The other three fifths are counted. What is learned and chosen
knows nothing of those, so a bound is one test; three statements are made of them, each with a third
of what confidence leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from privrobust.audit.corrections import each_confidence
from privrobust.audit.f_dp import f_dp_bound, f_dp_p_value
from privrobust.audit.lower_bound import LowerBound
from privrobust.audit.observations import (
    Detections,
    Guesses,
    detect_at_share,
    distance,
    guess_by_score,
)
from privrobust.audit.one_run import one_run_bound
from privrobust.audit.repeated_runs import clopper_pearson_bound, detected_p_value, gaussian_bound
from privrobust.audit.scores import Score, attacks
from privrobust.audit.trade_offs import TradeOff
from privrobust.audit.trials import Floats, Trials
from privrobust.errors import SpecError

STATEMENTS = 3
"""What is said of each cell of a table: two bounds, and whether the claim stands."""
LEAST_TRIALS = 100
"""Fewer teach nothing and prove nothing."""

_CHOOSE = 0.4
_ROUGHLY = 0.9
"""Confidence of the bounds by which an attack is chosen."""
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
"""Of trials without the canary, how many are to lie above the threshold."""
_SHARES_OF_CLAIMS = (0.0, 0.02, 0.1, 0.35, 0.65)
GUESSED = (0.005, 0.015, 0.05, 0.15, 0.35, 0.5)
"""Of trials, how many are guessed to be in, and as many to be out."""
_AS_MANY = 30.0
"""Trials that what is expected of normal scores counts for, beside what was seen: of few trials,
those thresholds that look best are so by chance."""

_MIDDLE = 0.2
"""The share to be taken where none promises anything."""
_UNLUCKY = 0.1
"""Of thresholds at a rank, how many are to be higher than the one by which an attack is chosen."""


_Seen = TypeVar("_Seen", Detections, Guesses)


@dataclass(frozen=True)
class Verdict:
    """What the trials say.

    Attributes:
        proven: the bound on epsilon, of any mechanism.
        if_gaussian: that on epsilon if the trade-off is Gaussian.
        p_value: the chance of an attack that good if the claim holds, at every delta for which it
            is made; 1 without a claim. Not corrected for other tests.
        attack: which attack found `proven`.

    """

    proven: LowerBound
    if_gaussian: LowerBound
    p_value: float
    attack: str


@dataclass(frozen=True)
class _Tried:
    """An attack, and what it makes of trials that did not teach it: halves, each of its own."""

    name: str
    score: Score
    halves: list[tuple[Floats, Trials]]

    @cached_property
    def distance(self) -> float:
        """Return how far "in" lies above "out", in standard deviations."""
        apart = [distance(scores, trials.included) for scores, trials in self.halves]
        return sum(apart) / len(apart)


def judge(
    trials: Trials,
    delta: float,
    confidence: float,
    claimed: TradeOff | None,
    rng: np.random.Generator,
) -> Verdict:
    """Return what the trials say, each statement with `confidence`.

    Raises:
        SpecError: there are fewer than 100 trials.

    """
    if len(trials) < LEAST_TRIALS:
        raise SpecError(f"runs: {len(trials)} canaries in all; accepted: at least {LEAST_TRIALS}")
    first, second, counted = trials.parted(rng, _CHOOSE / 2, _CHOOSE / 2)
    for part in (first, second, counted):
        if part.included.all() or not part.included.any():  # by chance 2^-19 at most
            raise SpecError(f"runs: all of {len(part)} coins fell alike; accepted: more runs")
    tried = list(_tried(first, second))
    if trials.per_run == 1:
        return _of_runs(tried, counted, delta, confidence, claimed)
    return _of_one_run(tried, counted, delta, confidence, claimed)


def _tried(first: Trials, second: Trials) -> Iterator[_Tried]:
    """Yield the attacks that both halves teach, taught on both."""
    of_first, of_second = dict(attacks(first)), dict(attacks(second))
    for name, score in attacks(Trials.joined([first, second])):
        if name in of_first and name in of_second:
            halves = [(of_first[name](second), second), (of_second[name](first), first)]
            yield _Tried(name, score, halves)


def _of_runs(
    tried: list[_Tried],
    counted: Trials,
    delta: float,
    confidence: float,
    claimed: TradeOff | None,
) -> Verdict:
    expected = [
        (one, share, _expected_detections(one, share, counted)) for one in tried for share in SHARES
    ]

    def best(worth: Callable[[Detections], float]) -> tuple[_Tried, float]:
        return _best(expected, worth)

    def detected(one: _Tried, share: float) -> Detections:
        return detect_at_share(one.score(counted), counted.included, share)

    def epsilon(each: Detections) -> float:
        return clopper_pearson_bound(each, delta, confidence).epsilon_lower_bound

    def epsilon_if_gaussian(each: Detections) -> float:
        return gaussian_bound(each, delta, confidence).epsilon_lower_bound

    sharpest, share = best(epsilon)
    proven = clopper_pearson_bound(detected(sharpest, share), delta, confidence)
    widest, share = best(epsilon_if_gaussian)
    if_gaussian = gaussian_bound(detected(widest, share), delta, confidence)
    # which share tells most against a claim shows in few trials only roughly: all are counted
    p_values = [
        detected_p_value(detected(one, each), claimed) if claimed else 1.0
        for one in {id(one): one for one in (sharpest, widest)}.values()
        for each in _SHARES_OF_CLAIMS
    ]
    p_value = min(1.0, min(p_values) * len(p_values))
    return Verdict(proven, if_gaussian, p_value, sharpest.name)


def _of_one_run(
    tried: list[_Tried],
    counted: Trials,
    delta: float,
    confidence: float,
    claimed: TradeOff | None,
) -> Verdict:
    expected = [
        (one, share, _expected_guesses(one, share, len(counted)))
        for one in tried
        for share in GUESSED
    ]

    def best(worth: Callable[[Guesses], float]) -> tuple[str, Guesses]:
        one, share = _best(expected, worth)
        return one.name, _guesses(one.score(counted), counted, share)

    attack, seen = best(lambda each: one_run_bound(each, delta, _ROUGHLY).epsilon_lower_bound)
    _, spread = best(lambda each: f_dp_bound(each, delta, _ROUGHLY).epsilon_lower_bound)
    return Verdict(
        one_run_bound(seen, delta, confidence),
        f_dp_bound(spread, delta, confidence),
        1.0 if claimed is None else f_dp_p_value(spread, claimed),
        attack,
    )


def _best(
    expected: list[tuple[_Tried, float, _Seen]], worth: Callable[[_Seen], float]
) -> tuple[_Tried, float]:
    """Return the attack and the share that are worth most."""
    found = [
        (round(worth(seen), 2), one.distance, -abs(share - _MIDDLE), one, share)
        for one, share, seen in expected
    ]
    *_, one, share = max(found, key=lambda each: each[:3])
    return one, share


def _expected_detections(one: _Tried, share: float, counted: Trials) -> Detections:
    """Return about what is to be expected of the trials that are counted.

    How many false positives there will be the share decides. Of true ones, what was seen is moved
    towards what is expected of scores that are normal and so far apart; and as fewer trials do not
    reach as far into the tail, from their rate to that of the counted ones by the normal law.
    """
    inside = int(counted.included.sum())
    outside = len(counted) - inside
    rank = round(share * (outside - 1))
    at = float(ndtri(betaincinv(rank + 1, outside - rank, _UNLUCKY)))
    right, runs, tried_at = 0.0, 0.0, 0.0
    for scores, trials in one.halves:
        seen = detect_at_share(scores, trials.included, share)
        right, runs = right + seen.true_positives, runs + seen.runs_with
        rate = (seen.false_positives + 1) / (seen.runs_without + 1)
        tried_at += float(ndtri(min(rate, 1 - 0.5 / seen.runs_without))) / len(one.halves)
    right += _AS_MANY * float(ndtr(tried_at + one.distance))
    rate = (right + 0.5) / (runs + _AS_MANY + 1)
    expected = float(ndtr(at + float(ndtri(rate)) - tried_at))
    return Detections(inside, round(expected * inside), outside, rank)


def _expected_guesses(one: _Tried, share: float, counted: int) -> Guesses:
    """Return about what is to be expected of so many canaries."""
    seen = [_guesses(scores, trials, share) for scores, trials in one.halves]
    said = 2 * max(1, int(share * counted))
    right, of = sum(each.correct for each in seen), sum(each.guesses for each in seen)
    return Guesses(counted, said, round((right + 0.5) / (of + 1) * said))


def _guesses(scores: Floats, trials: Trials, share: float) -> Guesses:
    each = max(1, int(share * len(trials)))
    return guess_by_score(scores, trials.included, each, each)


def confidence_of_each(confidence: float, cells: int) -> float:
    """Return the confidence of each statement, for all of a table's to hold at `confidence`."""
    return each_confidence(confidence, STATEMENTS * cells)


def corrected(p_value: float, cells: int) -> float:
    """Return a p-value that is corrected for all statements of a table."""
    return min(1.0, p_value * STATEMENTS * cells)
