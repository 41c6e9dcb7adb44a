"""Do local steps pay when examples are protected?

A sum of k noisy gradients is about k times a gradient, with sqrt(k) times the noise; and k times as
many noisy steps take a b that is about sqrt(k) times as large. So at a fixed epsilon and number of
messages, as much noise is in a message, relative to what it says, whatever k.
"""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, at_budget, broken, outcomes, parts, situation
from study.verdicts import Verdict, judge, untested

_FIELDS = ["target_epsilon", "aggregator", "heterogeneity", "steps", "local_steps"]
_MARGIN = 1  # point


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim gains at equal messages, and no loss at a tenth of the messages."""
    accuracy = outcomes(runs, _FIELDS)
    lost = broken(accuracy)
    found = []
    for where, part in parts(accuracy, [*_FIELDS[:3], "byzantine"]):
        rounds, steps = min(part.index)[0], max(part.index)[0]
        most = steps // rounds
        once, at_each_step = (rounds, 1), (steps, 1)
        for at in part.index.difference([once, at_each_step]):
            claim = f"{_words(*where)}: {at[1]} local steps are better than one by over {_MARGIN}"
            found.append(_judged(f"{claim} point", part, lost, where, at, once, _MARGIN))
        claim = (
            f"{_words(*where)}: {rounds} messages of {most} local steps are worse than {steps} of "
            f"one by at most {_MARGIN} point"
        )
        found.append(_judged(claim, part, lost, where, (rounds, most), at_each_step, -_MARGIN))
    return found


def _judged(
    claim: str,
    accuracy: pd.DataFrame,
    lost: pd.Series,
    where: Any,
    one: tuple[int, int],
    other: tuple[int, int],
    least: float,
) -> Verdict:
    """Hold a difference of two settings, each messages and local steps, against the least one."""
    *setting, f = where
    if all(lost[(*setting, *each, f)] for each in (one, other)):
        return untested(claim, ALL_BROKEN)
    better, worse = (accuracy.loc[[at]].to_numpy().ravel() for at in (one, other))
    return judge(claim, better - worse, (least, math.inf))


def _words(epsilon: Any, aggregator: str, heterogeneity: float, f: int) -> str:
    return f"{at_budget(epsilon)}, {aggregator}, heterogeneity {heterogeneity:g}, {situation(f)}"


def table(runs: pd.DataFrame) -> str:
    """Tell what each number of local steps leads to."""
    rows = ["noise_scale", "aggregator", "heterogeneity", "steps", "local_steps"]
    return FORMATS["markdown"](lay_out(runs, ("clean", "worst"), rows=rows))


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against local steps, of the fewest messages."""
    rounds = runs["steps"].min()
    accuracy = outcomes(runs[runs["steps"] == rounds], _FIELDS)
    accuracy.index = pd.MultiIndex.from_tuples(
        [
            (f"{aggregator}, heterogeneity {heterogeneity:g}", f"{at_budget(epsilon)}, {how}", k)
            for epsilon, aggregator, heterogeneity, _, k, f in accuracy.index
            for how in [situation(f)]
        ]
    )
    note = f"Each worker sends {rounds} messages."
    return lines_figure(accuracy, "local steps a message", "accuracy in %", [note], are_shares=True)


EXPERIMENT = Experiment(claims, table, figure)
