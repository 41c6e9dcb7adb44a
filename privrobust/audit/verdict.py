"""From trials to a verdict: choose an attack on some of them, and count it on the rest.

A fifth of the trials teaches the attacks, a fifth chooses one of them and where it says "in", and
the other three fifths are counted. What is learned and chosen knows nothing of those, so a bound is
one test; three statements are made of them, each with a third of what confidence leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

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

_TAUGHT, _CHOSEN = 0.2, 0.2
_ROUGHLY = 0.9
"""Confidence of the bounds by which an attack is chosen."""
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
"""Of trials without the canary, how many are to lie above the threshold."""
_SHARES_OF_CLAIMS = (0.0, 0.02, 0.1, 0.35, 0.65)
_GUESSED = (0.005, 0.015, 0.05, 0.15, 0.35, 0.5)
"""Of trials, how many are guessed to be in, and as many to be out."""


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
    taught, choosing, counted = trials.parted(rng, _TAUGHT, _CHOSEN)
    for part in (taught, choosing, counted):
        if part.included.all() or not part.included.any():  # by chance 2^-19 at most
            raise SpecError(f"runs: all of {len(part)} coins fell alike; accepted: more runs")
    scored = [(name, score, score(choosing)) for name, score in attacks(taught)]
    if trials.per_run == 1:
        return _of_runs(scored, choosing, counted, delta, confidence, claimed)
    return _of_one_run(scored, choosing, counted, delta, confidence, claimed)


_Scored = list[tuple[str, Score, Floats]]  # attacks, with their scores of trials that choose
_Seen = TypeVar("_Seen", Detections, Guesses)


def _of_runs(
    scored: _Scored,
    choosing: Trials,
    counted: Trials,
    delta: float,
    confidence: float,
    claimed: TradeOff | None,
) -> Verdict:
    times = len(counted) / len(choosing)

    def best(worth: Callable[[Detections], float]) -> tuple[str, Score, float]:
        return _best(
            lambda each: worth(_expected_detections(each, times)),
            detected,
            SHARES,
            scored,
            choosing,
        )

    def detected(scores: Floats, trials: Trials, share: float) -> Detections:
        return detect_at_share(scores, trials.included, share)

    def epsilon(each: Detections) -> float:
        return clopper_pearson_bound(each, delta, confidence).epsilon_lower_bound

    def epsilon_if_gaussian(each: Detections) -> float:
        return gaussian_bound(each, delta, confidence).epsilon_lower_bound

    attack, score, share = best(epsilon)
    proven = clopper_pearson_bound(detected(score(counted), counted, share), delta, confidence)
    _, score, share = best(epsilon_if_gaussian)
    scores = score(counted)
    if_gaussian = gaussian_bound(detected(scores, counted, share), delta, confidence)
    # which share tells most against a claim shows in few trials only roughly: all are counted
    p_values = [
        detected_p_value(detected(scores, counted, each), claimed) if claimed else 1.0
        for each in _SHARES_OF_CLAIMS
    ]
    p_value = min(1.0, min(p_values) * len(p_values))
    return Verdict(proven, if_gaussian, p_value, attack)


def _of_one_run(
    scored: _Scored,
    choosing: Trials,
    counted: Trials,
    delta: float,
    confidence: float,
    claimed: TradeOff | None,
) -> Verdict:
    times = len(counted) / len(choosing)

    def best(worth: Callable[[Guesses], float]) -> tuple[str, Guesses]:
        name, score, share = _best(
            lambda each: worth(_expected_guesses(each, times)), _guesses, _GUESSED, scored, choosing
        )
        return name, _guesses(score(counted), counted, share)

    attack, seen = best(lambda each: one_run_bound(each, delta, _ROUGHLY).epsilon_lower_bound)
    _, spread = best(lambda each: f_dp_bound(each, delta, _ROUGHLY).epsilon_lower_bound)
    return Verdict(
        one_run_bound(seen, delta, confidence),
        f_dp_bound(spread, delta, confidence),
        1.0 if claimed is None else f_dp_p_value(spread, claimed),
        attack,
    )


def _best(
    worth: Callable[[_Seen], float],
    seen: Callable[[Floats, Trials, float], _Seen],
    shares: tuple[float, ...],
    scored: _Scored,
    choosing: Trials,
) -> tuple[str, Score, float]:
    """Return the attack and the share that are worth most."""
    *_, name, score, share = max(
        (
            (
                round(worth(seen(scores, choosing, share)), 2),
                distance(scores, choosing.included),
                name,
                score,
                share,
            )
            for name, score, scores in scored
            for share in shares
        ),
        key=lambda one: one[:2],
    )
    return name, score, share


def _expected_detections(seen: Detections, times: float) -> Detections:
    """Return about what is to be expected of so many times as many runs.

    Two are added to every count: of few runs, those that look best are so by chance.
    """

    def more(count: int, of: int) -> tuple[int, int]:
        whole = round(of * times)
        return whole, round((count + 2) / (of + 4) * whole)

    return Detections(
        *more(seen.true_positives, seen.runs_with), *more(seen.false_positives, seen.runs_without)
    )


def _expected_guesses(guesses: Guesses, times: float) -> Guesses:
    """Return about what is to be expected of so many times as many canaries."""
    said = round(guesses.guesses * times)
    right = round((guesses.correct + 0.5) / (guesses.guesses + 1) * said)
    return Guesses(max(said, round(guesses.canaries * times)), said, right)


def _guesses(scores: Floats, trials: Trials, share: float) -> Guesses:
    each = max(1, int(share * len(trials)))
    return guess_by_score(scores, trials.included, each, each)


def confidence_of_each(confidence: float, cells: int) -> float:
    """Return the confidence of each statement, for all of a table's to hold at `confidence`."""
    return each_confidence(confidence, STATEMENTS * cells)


def corrected(p_value: float, cells: int) -> float:
    """Return a p-value that is corrected for all statements of a table."""
    return min(1.0, p_value * STATEMENTS * cells)
