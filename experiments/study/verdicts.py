"""Whether data bear a claim out: an interval of an effect, held against what the claim accepts.

A claim names what it accepts: an effect above a margin, within two margins, an exponent near that
of theory. It holds where the whole interval is accepted, does not where none of it is, and is
undecided in between. So nothing follows from a test that merely found no difference.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from privrobust.reporting.intervals import half_width

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


@dataclass(frozen=True)
class Verdict:
    """One claim, and what the data say."""

    claim: str
    outcome: str
    effect: float
    low: float
    high: float
    unit: str
    test: str
    """What the interval is."""


def judge(
    claim: str,
    sample: npt.ArrayLike,
    accepted: tuple[float, float],
    unit: str = "points",
    level: float = 0.95,
    comparisons: int = 1,
) -> Verdict:
    """Hold the mean of a sample against what a claim accepts.

    Args:
        claim: in words.
        sample: independent values, one a seed: differences of paired runs, slopes, ...
        accepted: the least and the largest mean with which the claim is true.
        unit: of the values.
        level: confidence of the Student interval. 90 % makes an equivalence claim the two one-sided
            tests of Schuirmann 1987 at 5 %.
        comparisons: how many intervals this one is chosen from; each gets its share of the error
            (Bonferroni).

    Returns:
        Undecided without two values, or where one is missing: a failed run says nothing.

    """
    values = np.asarray(sample, dtype=float)
    shared = f", Bonferroni for {comparisons}" if comparisons > 1 else ""
    test = f"{level:.0%} Student interval, {values.size} seeds{shared}"
    mean = float(values.mean()) if values.size else math.nan
    if values.size < 2 or not np.isfinite(values).all():
        return Verdict(claim, UNDECIDED, mean, math.nan, math.nan, unit, test)
    half = float(half_width(values.std(ddof=1), values.size, 1 - (1 - level) / comparisons))
    low, high = mean - half, mean + half
    return Verdict(claim, _outcome(low, high, accepted), mean, low, high, unit, test)


def judge_two(
    claim: str,
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    accepted: tuple[float, float],
    unit: str = "points",
    level: float = 0.95,
) -> Verdict:
    """Hold the difference of two means against what a claim accepts; nothing pairs the samples.

    By the interval of Welch 1947, whose samples may differ in number and variance.

    Args:
        claim: in words.
        one: independent values.
        other: independent values, whose mean is taken from that of `one`.
        accepted: the least and the largest difference with which the claim is true.
        unit: of the values.
        level: confidence of the interval, as for `judge`.

    Returns:
        Undecided without two values in each, or where one is missing, or where none differ.

    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    test = f"{level:.0%} Welch interval, {first.size} and {second.size} seeds"
    if min(first.size, second.size) < 2:
        return Verdict(claim, UNDECIDED, math.nan, math.nan, math.nan, unit, test)
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
    low, high = float(found.low), float(found.high)
    return Verdict(
        claim,
        _outcome(low, high, accepted),
        float(first.mean() - second.mean()),
        low,
        high,
        unit,
        test,
    )


def _outcome(low: float, high: float, accepted: tuple[float, float]) -> str:
    if accepted[0] <= low and high <= accepted[1]:
        return HOLDS
    return FAILS if high < accepted[0] or accepted[1] < low else UNDECIDED


def untested(claim: str, why: str) -> Verdict:
    """Undecided, since the data cannot speak to it: two settings that both broke are not equal."""
    return Verdict(claim, UNDECIDED, math.nan, math.nan, math.nan, "", f"not tested: {why}")


def any_of(claim: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Whether one of them holds, shown by the one with the largest effect among those that decide.

    Give `judge` their number as `comparisons`.
    """
    return _combined(claim, verdicts, decides=HOLDS, otherwise=FAILS, first=max)


def all_of(claim: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Whether all hold, shown by the one with the least effect among those that decide.

    That all hold would need no correction (intersection-union, Berger 1982); that one does not,
    does: give `judge` their number as `comparisons`.
    """
    return _combined(claim, verdicts, decides=FAILS, otherwise=HOLDS, first=min)


def _combined(
    claim: str,
    verdicts: Sequence[Verdict],
    decides: str,
    otherwise: str,
    first: Callable[..., Verdict],
) -> Verdict:
    outcomes = {verdict.outcome for verdict in verdicts}
    outcome = decides if decides in outcomes else UNDECIDED
    if outcomes == {otherwise}:
        outcome = otherwise
    shown = first(
        (verdict for verdict in verdicts if verdict.outcome == outcome),
        key=lambda verdict: -math.inf if math.isnan(verdict.effect) else verdict.effect,
    )
    return replace(shown, claim=f"{claim} ({shown.claim})", outcome=outcome)


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many claims came out how."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    said = [
        f"{counts[outcome]} {one if counts[outcome] == 1 else many}"
        for outcome, one, many in (
            (HOLDS, "holds", "hold"),
            (FAILS, "does not", "do not"),
            (UNDECIDED, "is undecided", "are undecided"),
        )
    ]
    return f"Of {len(verdicts)} claims {said[0]}, {said[1]}, and {said[2]}."


def markdown(verdicts: Iterable[Verdict]) -> str:
    """Write a table in Markdown, a row a claim."""
    rows = ["| claim | verdict | effect | interval | test |", "| --- | --- | --- | --- | --- |"]
    for verdict in verdicts:
        effect = "" if math.isnan(verdict.effect) else f"{verdict.effect:+.2f} {verdict.unit}"
        interval = "" if math.isnan(verdict.low) else f"{verdict.low:+.2f} to {verdict.high:+.2f}"
        rows.append(
            f"| {verdict.claim} | **{verdict.outcome}** | {effect} | {interval} | {verdict.test} |"
        )
    return "\n".join(rows)
