"""Does privacy with a median starve minority classes?

A rule starves some class if its worst class is behind the mean's worst class, and by more than its
accuracy is behind the mean's: what fails on all classes alike starves none of them.
"""

import math
import re
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.metrics import METRICS
from privrobust.reporting.summary import summarise
from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, at_budget, seeds_at
from study.verdicts import Verdict, all_of, judge, untested

_LEAST_EACH = re.compile(r", least=\d+")  # for which the title of a panel has no room
_MARGIN = 1  # point
_LEAST = 5.0  # % of the mean's worst class: below, there is nothing to take from it


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each rule and partition: it starves a class, at each epsilon; privacy makes it worse."""
    accuracy, worst = of_seeds(runs, "accuracy"), of_seeds(runs, "worst_class_accuracy")
    epsilons = list(dict.fromkeys(accuracy.index.get_level_values("target_epsilon")))
    found = []
    for rule in [name for name in runs["aggregator"].unique() if name != "mean"]:
        for partition in dict.fromkeys(accuracy.index.get_level_values("partition")):
            behind = {
                at: [
                    seeds_at(each, "mean", partition, at) - seeds_at(each, rule, partition, at)
                    for each in (worst, accuracy)
                ]
                for at in epsilons
            }
            has = {at: float(seeds_at(worst, "mean", partition, at).mean()) for at in epsilons}
            where = f"{rule}, {partition}"
            found += [_starves(where, at, has[at], *behind[at]) for at in epsilons]
            found += [
                _is_worse(where, at, min(has[at], has[NONE]), behind[at][0] - behind[NONE][0])
                for at in epsilons
                if at != NONE
            ]
    return found


def _starves(where: str, at: Any, has: float, of_worst: pd.Series, of_all: pd.Series) -> Verdict:
    claim = (
        f"{where}, {at_budget(at)}: its worst class is behind the mean's, and by more than accuracy"
    )
    if has < _LEAST:
        return untested(claim, _nothing(has))
    beyond = (_MARGIN, math.inf)
    each = [
        judge("the worst class", of_worst, beyond, comparisons=2),
        judge("beyond accuracy", of_worst - of_all, beyond, comparisons=2),
    ]
    return all_of(f"{claim}, each by over {_MARGIN} point", each)


def _is_worse(where: str, at: Any, has: float, wider: pd.Series) -> Verdict:
    claim = (
        f"{where}: {at_budget(at)} puts the worst class further behind the mean's than no noise "
        f"does, by over {_MARGIN} point"
    )
    if has < _LEAST:
        return untested(claim, _nothing(has))
    return judge(claim, wider, (_MARGIN, math.inf))


def _nothing(has: float) -> str:
    return f"the worst class of the mean has {has:.1f} %"


def of_seeds(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lay a metric out, in %, by aggregator, partition and epsilon, a column a seed."""
    similar = runs["partition"] == "similarity"
    named = runs["heterogeneity"].map({0: "iid", 1: "one block of labels each"})
    target = pd.to_numeric(runs["target_epsilon"])
    known = runs.assign(
        partition=runs["partition"].mask(similar, named),
        target_epsilon=target.astype(object).where(target.notna(), NONE),
        value=100 * METRICS[metric].of(runs),
    )
    levels = ["aggregator", "partition", "target_epsilon", "seed"]
    values: pd.DataFrame = known.set_index(levels)["value"].unstack("seed", sort=False)
    return values


def table(runs: pd.DataFrame) -> str:
    """Tell accuracy, and that of the worst class and the worst worker, by partition and epsilon."""
    metrics = ("accuracy", "worst_class_accuracy", "worst_worker_accuracy")
    rows = ["heterogeneity", "epsilon", "aggregator"]
    return FORMATS["markdown"](lay_out(runs, ("clean",), rows=rows, metrics=metrics))


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy of the worst class against 1 / epsilon: a panel a partition, a line a rule."""
    worst = of_seeds(runs, "worst_class_accuracy")
    worst.index = pd.MultiIndex.from_tuples(
        (_LEAST_EACH.sub("", partition), rule, 0.0 if at == NONE else 1 / at)
        for rule, partition, at in worst.index
    )
    return lines_figure(
        worst, "1 / epsilon", "worst class in %", grey="without noise", are_shares=True
    )


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with intervals, of all metrics."""
    return summarise(runs, list(METRICS)).reset_index()


EXPERIMENT = Experiment(claims, table, figure, cells)
