"""What the numbers of a table are, in words, and which guarantee its epsilon is."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from privrobust.core.formatting import number, percent
from privrobust.reporting.intervals import TOLD
from privrobust.reporting.metrics import ACCURACY, METRICS, lacking
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.schemes import charged_for
from privrobust.reporting.summary import fixes_workers, setting_levels
from privrobust.reporting.tuning import about_tuning

DIVERGED = "†"
FEW = "°"
FEW_SEEDS = 3
"""Fewer make a Student interval of little use, and are marked."""
BREAKDOWN_NOTE = (
    "breakdown: the largest f/n up to which every attack leaves half of the clean accuracy, and "
    f"more than chance; from what surely holds to what may, where {TOLD} intervals over seeds "
    "leave that open; ≥ where no f that was tried surely breaks it, ? where nothing is decided."
)
GAP_NOTE = "gap: clean less worst, seed by seed."
NEAR_CHANCE = "§"
SUCCESS_NOTE = (
    "success: how many in % of the held-out examples that an attack aims at get the label that it "
    "wants; of these no best is marked. Accuracy, and with it worst, does not count that."
)
FEWER_ATTACKS = "‡"
FEWER_NOTE = f"{FEWER_ATTACKS} fewer attacks were run than on others of its column: never the best."
WITH_PUBLIC_EXAMPLES = ("fltrust", "noise_aware")
"""The rules that ask for `public_examples`, by name, as whoever prints a table loads no rule."""
_MARKS = "¹²³"
_MOST_FAILURES = 3


def breakdown_text(found: Mapping[Any, Any], tried: float) -> str:
    """Write a breakdown point, as from `privrobust.reporting.robustness.breakdown`.

    Args:
        found: a row of that.
        tried: the largest f / n of the setting.

    Returns:
        What is decided of it: a number, two that it lies between, or what it is not below, after ≥;
        `?` where seeds decide nothing, `failed` where that is for a failed run. Of a single seed
        it is a number, marked for that. Empty where there is none, and a mark where nothing was
        learnt.

    """
    if found["near_chance"]:
        return NEAR_CHANCE
    point, low, high = found["point"], found["low"], found["high"]
    unknown = "failed" if found["failed"] else "?"
    if math.isnan(low):
        if math.isnan(point):
            return "failed" if found["failed"] else ""
        return f"{'≥' if point == tried else ''}{point:.2f}{FEW}"
    if math.isinf(high):
        return f"≥{low:.2f}" if low else unknown
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def gap_text(found: Mapping[Any, Any], metric: str = "accuracy") -> str:
    """Write a gap, as from `privrobust.reporting.robustness.robustness`, with its interval.

    Few seeds are marked, and what learnt nothing, of which no gap is good.
    """
    if math.isnan(found["gap"]):
        return ""
    text, half = METRICS[metric].text(found["gap"], found["gap_interval"])
    mark = NEAR_CHANCE if found["near_chance"] else ""
    mark += FEW if found["gap_seeds"] < FEW_SEEDS else ""
    return f"{text}{mark}±{half}" if half else f"{text}{mark}"


def about_chance(summary: pd.DataFrame) -> str:
    """Say what the mark means of settings whose clean accuracy may be that of chance."""
    bounds = summary[["chance", "chance_at_most"]]
    told = chances(bounds.itertuples(index=False, name=None))
    known = f" ({told}, the same answer everywhere)" if told else ""
    return (
        f"{NEAR_CHANCE} clean accuracy not clearly above chance{known}: what may have learnt "
        "nothing has no breakdown point, is never the best, and a small gap is no merit of it."
    )


def chances(bounds: Iterable[tuple[float, float]]) -> str:
    """Write what models get that give the same answer everywhere; nothing where that is unknown.

    Args:
        bounds: the least and the most that it may be, of each split.

    """
    told = [
        percent(least) if least == most else f"{percent(least)} to {percent(most)}"
        for least, most in sorted(each for each in set(bounds) if not math.isnan(each[0]))
    ]
    return f"{' or '.join(dict.fromkeys(told))} %" if told else ""


def most_tried(summary: pd.DataFrame) -> pd.Series:
    """Return the largest f / n of every setting."""
    shares = summary.index.get_level_values("byzantine") / summary["workers"]
    return shares.groupby(level=setting_levels(summary)).max()


def legend(
    runs: pd.DataFrame, summary: pd.DataFrame, metrics: Sequence[str] = ACCURACY
) -> Iterator[str]:
    """Say line by line what a table of metrics, from this summary of runs, shows."""
    counts, shown = summary["seeds"], [METRICS[name] for name in metrics]
    data = " and ".join(runs["evaluate_on"].unique())
    told = "; ".join(metric.told.format(data=data) for metric in shown)
    best = "bold or *: the best of its column among rows on the same data"
    yield (
        f"{told[0].upper()}{told[1:]}: mean over {_seeds(counts)}, ± half of its "
        f"{TOLD} interval"
        f"{f'; {best}' if any(metric.is_compared for metric in shown) else ''}."
    )
    yield from _cautions(runs, metrics)
    if counts.min() < FEW_SEEDS:
        yield f"{FEW} fewer than {FEW_SEEDS} seeds."
    if fixes_workers(runs):
        yield "f of all workers are Byzantine; epsilon is the largest over f."
    elif runs["byzantine"].any():
        yield "f Byzantine workers are added to the honest ones."
    if runs["byzantine"].any():
        most = "least" if shown[0].more_is_better else "largest"
        of = f" of {shown[0].heading}" if len(shown) > 1 else ""
        yield f"worst: the attack with the {most} mean{of}."
    yield from guarantee(runs)
    if runs["diverged"].any():
        yield f"{DIVERGED} in some seed the model's outputs stopped being finite."
    ended = runs["steps_taken"][runs["failure"].isna() & (runs["steps_taken"] < runs["steps"])]
    if len(ended):
        yield f"max_epsilon ended {len(ended)} runs, after {ended.min()} to {ended.max()} steps."
    failures = runs["failure"].dropna().unique()
    yield from (f"failed: {failure}" for failure in failures[:_MOST_FAILURES])
    if len(failures) > _MOST_FAILURES:
        yield f"failed: {len(failures) - _MOST_FAILURES} more reasons, in the store"


def _cautions(runs: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    """Say what epsilon does not cover, how a gap is to be read, and what was never measured."""
    shown = [METRICS[name] for name in metrics]
    if any(metric.sees_training_data for metric in shown):
        yield "What is measured on training examples is not covered by epsilon."
    if not all(metric.is_compared for metric in shown):
        yield "No gap is marked as best: what learnt nothing has none."
    lacks = max(lacking(runs, name) for name in metrics)
    if lacks:
        names = " and ".join(METRICS[name].heading for name in metrics if lacking(runs, name))
        yield (
            f"{lacks} of {len(runs)} runs are of an earlier version, which did not measure "
            f"{names}: cells with one of them are empty."
        )


def _seeds(counts: pd.Series) -> str:
    over = " to ".join(map(str, sorted({counts.min(), counts.max()})))
    return f"{over} seed{'s' if counts.max() > 1 else ''}"


def guarantee(runs: pd.DataFrame) -> Iterator[str]:
    """Say what epsilon holds for, who vouches for it, what it leaves out, and why there is none."""
    yield from promise(runs)
    for reason, mark in epsilon_marks(runs).items():
        yield f"{mark} not private: {reason}."


def promise(runs: pd.DataFrame) -> Iterator[str]:
    """Say what a finite epsilon holds for, who vouches for it, and what it leaves out."""
    finite = runs[runs["epsilon"] < math.inf]
    if len(finite):
        yield (
            f"epsilon: at delta = {deltas(finite)}, by {vouchers(finite, '~ ESTIMATE')}; "
            f"{all_in_short(finite)}, "
            "against whoever sees every message of one run; the largest over honest workers."
        )
        yield from charged_for(finite)
        yield from secrets(finite)
        yield from unprotected(finite)
        yield from about_scaling(finite)
        yield from about_tuning(finite["repeats"])


def secrets(runs: pd.DataFrame) -> Iterator[str]:
    """Say what epsilon takes the observer to know of noise that pairs of workers share, if any."""
    if runs["pairwise_noise"].notna().any():
        yield (
            "pairwise_noise: who sees the messages knows the noise of pairs with a Byzantine or "
            "colluding worker, of others nothing."
        )


def unprotected(runs: pd.DataFrame) -> Iterator[str]:
    """Say of rules that look at examples of the server's own, if any, that epsilon omits these."""
    rules = [rule for rule in runs["aggregator"].unique() if _base_of(rule) in WITH_PUBLIC_EXAMPLES]
    if rules:
        yield (
            f"{', '.join(rules)}: no epsilon protects the examples that the server holds, of the "
            "validation data, which have to be public."
        )


def _base_of(aggregator: str) -> str:
    """Return the name of the rule that comes last, without what is in its brackets."""
    return aggregator.rpartition(" + ")[2].partition("(")[0]


def deltas(runs: pd.DataFrame) -> str:
    """List the deltas of runs."""
    return ", ".join(map(number, runs["delta"].unique()))


def vouchers(runs: pd.DataFrame, estimate: str = "ESTIMATE") -> str:
    """List accountants, for which rules where not for all, and whether each gives a bound.

    Args:
        runs: those of a finite epsilon.
        estimate: what an epsilon that may be too small is called.

    """
    every = list(runs["aggregator"].unique())
    told: dict[str, list[str]] = {}
    used = runs[["accountant_used", "is_upper_bound"]].drop_duplicates()
    for name, is_bound in used.itertuples(index=False):
        its = set(runs["aggregator"][runs["accountant_used"] == name])
        others = [rule for rule in every if rule not in its]
        who = str(name)
        if others:
            of = [rule for rule in every if rule in its]
            few = f"all but {', '.join(others)}" if len(others) < len(of) else ", ".join(of)
            who = f"{name} for {few}"
        kind = "upper bound{}" if is_bound else f"{estimate}, may be too small"
        told.setdefault(kind, []).append(who)
    return ", ".join(
        f"{', '.join(whos)} ({kind.format('s' * (len(whos) > 1))})" for kind, whos in told.items()
    )


def epsilon_marks(runs: pd.DataFrame) -> dict[str, str]:
    """Return why runs are not private, and the mark of each reason."""
    reasons = runs["not_private"].dropna().unique()
    return {reason: _MARKS[min(place, 2)] for place, reason in enumerate(reasons)}
