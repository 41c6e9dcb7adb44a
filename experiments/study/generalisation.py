"""Does robustness to Byzantine workers widen the generalisation gap?

Two rules are held against each other after as many steps, in points of accuracy, and at the same
train loss, in nats: a rule that trains more slowly has learnt less by heart, whatever the rule.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.metrics import METRICS
from privrobust.reporting.summary import summarise
from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE
from study.verdicts import Verdict, any_of, judge, untested

_SETTING = ["heterogeneity", "aggregator", "attack"]
_MARGIN = 1  # point
_NATS = 0.05  # more than gaps between the steps that were run are interpolated wrongly by
_LEARNT = 0.5  # of the training examples: below, a gap says nothing

Values = dict[str, pd.DataFrame]
"""Of every metric, indexed by `_SETTING` and `steps`, a column a seed."""


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each rule and partition: it widens the gap when all are honest, and attacks widen its."""
    values = by_seed(runs)
    found = []
    rules = runs["aggregator"].unique()
    attacks = sorted(runs["attack"].dropna().unique())
    for heterogeneity in runs["heterogeneity"].unique():
        for rule in rules:
            clean = (heterogeneity, rule, NONE)
            if rule != "mean":
                of_mean = (heterogeneity, "mean", NONE)
                claim = f"{_at(heterogeneity)}, clean: {rule} has a wider gap than the mean"
                found += _wider(claim, values, {"": clean}, of_mean)
            attacked = {attack: (heterogeneity, rule, attack) for attack in attacks}
            claim = f"{_at(heterogeneity)}, {rule}: some attack widens the gap"
            found += _wider(claim, values, attacked, clean)
    return found


def _wider(
    claim: str, values: Values, settings: dict[str, tuple[Any, ...]], other: tuple[Any, ...]
) -> list[Verdict]:
    """Judge that the gap of some setting is wider than another's: by steps, and by train loss."""
    by_steps = f"{claim} by over {_MARGIN} point, after as many steps"
    by_loss = f"{claim} by over {_NATS} nats, at the same train loss"
    learnt = {name: at for name, at in settings.items() if _has_learnt(values, at)}
    if not learnt or not _has_learnt(values, other):
        why = f"under {_LEARNT:.0%} of the training examples are learnt"
        return [untested(by_steps, why), untested(by_loss, why)]
    points, nats = [], []
    for name, at in learnt.items():
        gap = last(values["generalisation_gap"], at) - last(values["generalisation_gap"], other)
        points.append(judge(name, 100 * gap, (_MARGIN, math.inf), comparisons=len(learnt)))
        excess = excess_at_equal_loss(values, at, other)
        nats.append(judge(name, excess, (_NATS, math.inf), "nats", comparisons=len(learnt)))
    if len(settings) == 1:
        return [_named(by_steps, points[0]), _named(by_loss, nats[0])]
    return [any_of(by_steps, points), any_of(by_loss, nats)]


def _named(claim: str, verdict: Verdict) -> Verdict:
    return Verdict(**{**vars(verdict), "claim": claim})


def by_seed(runs: pd.DataFrame) -> Values:
    """Lay metrics out by setting and steps, a column a seed; NaN where a run failed."""
    known = runs.assign(attack=runs["attack"].fillna(NONE))
    return {
        name: known.assign(value=METRICS[name].of(runs))
        .set_index([*_SETTING, "steps", "seed"])["value"]
        .unstack("seed")
        .sort_index()
        for name in ("train_accuracy", "generalisation_gap", "train_loss", "loss_gap")
    }


def last(values: pd.DataFrame, at: Any) -> pd.Series:
    """Return what a setting has after the most steps, by seed."""
    found: pd.Series = values.loc[at].iloc[-1]
    return found


def _has_learnt(values: Values, at: Any) -> bool:
    return bool(last(values["train_accuracy"], at).mean() >= _LEARNT)


def excess_at_equal_loss(values: Values, at: Any, other: Any) -> list[float]:
    """Subtract gaps of the loss at the train loss of whichever has come less far, seed by seed.

    Gaps are interpolated between the steps of a run, against the logarithm of its train loss. At
    equal train loss the difference is one of held-out losses.

    Returns:
        NaN for a seed in which the other was there before its first measurement.

    """
    found = []
    for seed in values["train_loss"].columns:
        losses, gaps = (
            [values[name].loc[each, seed].to_numpy(dtype=float) for each in (at, other)]
            for name in ("train_loss", "loss_gap")
        )
        target = max(losses[0][-1], losses[1][-1])
        if not all(np.isfinite(each).all() and target <= each[0] for each in losses):
            found.append(math.nan)
            continue
        one, two = (_interpolated(target, *each) for each in zip(losses, gaps, strict=True))
        found.append(one - two)
    return found


def _interpolated(target: float, losses: np.ndarray, gaps: np.ndarray) -> float:
    order = np.argsort(losses)
    return float(np.interp(math.log(target), np.log(losses[order]), gaps[order]))


def _at(heterogeneity: float) -> str:
    return f"heterogeneity {heterogeneity:g}"


def table(runs: pd.DataFrame) -> str:
    """Tell accuracies, gaps and train losses after the most steps."""
    longest = runs[runs["steps"] == runs["steps"].max()]
    metrics = ("accuracy", "train_accuracy", "generalisation_gap", "train_loss")
    rows = ["heterogeneity", "aggregator"]
    return f"After {runs['steps'].max()} steps.\n\n" + FORMATS["markdown"](
        lay_out(longest, ("clean", "worst"), rows=rows, metrics=metrics)
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Gap against steps: a panel a partition and attack, a line a rule."""
    gaps = 100 * by_seed(runs)["generalisation_gap"]
    clean_first = sorted(gaps.index, key=lambda at: (at[0], at[2] != NONE, at[2]))
    gaps = gaps.loc[clean_first]
    gaps.index = pd.MultiIndex.from_tuples(
        (f"{_at(heterogeneity)}, {'clean' if attack == NONE else attack}", rule, steps)
        for heterogeneity, rule, attack, steps in gaps.index
    )
    return lines_figure(gaps, "steps", "gap in points")


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with intervals, of all metrics."""
    return summarise(runs, list(METRICS)).reset_index()


EXPERIMENT = Experiment(claims, table, figure, cells)
