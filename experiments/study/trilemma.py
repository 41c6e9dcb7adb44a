"""What one can have of utility, privacy and robustness."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment
from study.outcomes import ALL_BROKEN, NONE, at_budget, broken, outcomes, seeds_at
from study.verdicts import Verdict, any_of, judge, untested

_FIELDS = ["aggregator", "target_epsilon"]
_ROBUST = "nnm + trimmed_mean"


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim what privacy does to the gap, who withstands what, and that a rule beats the median."""
    accuracy = outcomes(runs, _FIELDS)
    epsilons = sorted(float(at) for at in accuracy.index.unique(1) if at != NONE)
    fs = [f for f in accuracy.index.unique("byzantine") if f]
    methods = list(accuracy.index.unique(0))
    found = [_gap_widens(accuracy, method, epsilons[0], f) for method in methods for f in fs]
    found += [_someone_keeps_half(accuracy, methods, at, f) for at in (*epsilons, NONE) for f in fs]
    found += [_median_is_behind(accuracy, at, f) for at in (*epsilons, NONE) for f in fs]
    return found


def _gap_widens(accuracy: pd.DataFrame, method: str, epsilon: float, f: int) -> Verdict:
    def gap(at: Any) -> pd.Series:
        return seeds_at(accuracy, method, at, 0) - seeds_at(accuracy, method, at, f)

    claim = (
        f"{method}, f = {f}: the gap is wider by over 1 point at epsilon {epsilon:g} than "
        "without noise"
    )
    if broken(accuracy).loc[(method, NONE, f)]:
        return untested(claim, "under half of clean accuracy is left without noise")
    return judge(claim, gap(epsilon) - gap(NONE), (1, math.inf))


def _someone_keeps_half(
    accuracy: pd.DataFrame, methods: list[str], epsilon: Any, f: int
) -> Verdict:
    return any_of(
        f"{at_budget(epsilon)}, f = {f}: some method keeps half of its clean accuracy",
        [
            judge(
                method,
                seeds_at(accuracy, method, epsilon, f) - seeds_at(accuracy, method, epsilon, 0) / 2,
                (0, math.inf),
                comparisons=len(methods),
            )
            for method in methods
        ],
    )


def _median_is_behind(accuracy: pd.DataFrame, epsilon: Any, f: int) -> Verdict:
    claim = (
        f"{at_budget(epsilon)}, f = {f}, worst case: {_ROBUST} is better than the median by over "
        "1 point"
    )
    if broken(accuracy).loc[[(_ROBUST, epsilon, f), ("median", epsilon, f)]].all():
        return untested(claim, ALL_BROKEN)
    return judge(
        claim,
        seeds_at(accuracy, _ROBUST, epsilon, f) - seeds_at(accuracy, "median", epsilon, f),
        (1, math.inf),
    )


def table(runs: pd.DataFrame) -> str:
    """Epsilon by methods by f."""
    return FORMATS["markdown"](
        lay_out(runs, ("clean", "worst", "gap"), rows=["epsilon", "aggregator"])
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the settings that none beats."""
    return pareto_figure(runs)


EXPERIMENT = Experiment(claims, table, figure)
