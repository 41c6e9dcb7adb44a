"""R1: on iid data, is a small b harmless, and is it best?"""

import math

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.tables import FORMATS, PRESETS
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import outcomes, parts, situation
from study.verdicts import Verdict, all_of, judge

_FIELDS = ["aggregator", "noise_scale"]
_SMALL = 0.01
_MARGIN = 1  # point


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each method, clean and attacked: small b changes little; the largest b is worse."""
    found = []
    accuracy = outcomes(runs, _FIELDS)
    for (method, f), part in parts(accuracy, ["aggregator", "byzantine"]):
        by_b = part.sort_index()
        where = f"{method}, {situation(f)}"
        small = [b for b in by_b.index if 0 < b <= _SMALL]
        found.append(
            all_of(
                f"{where}: b up to {_SMALL:g} changes accuracy by at most {_MARGIN} point",
                [
                    judge(
                        f"b = {b:g}",
                        by_b.loc[b] - by_b.loc[0.0],
                        (-_MARGIN, _MARGIN),
                        level=0.9,
                        comparisons=len(small),
                    )
                    for b in small
                ],
            )
        )
        largest = by_b.index[-1]
        found.append(
            judge(
                f"{where}: b = {largest:g} is worse than b = 0 by over {_MARGIN} point",
                by_b.loc[0.0] - by_b.loc[largest],
                (_MARGIN, math.inf),
            )
        )
    return found


def table(runs: pd.DataFrame) -> str:
    """Lay out what b does."""
    return FORMATS["markdown"](PRESETS["noise"](runs))


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against b: a panel clean and attacked, a line a method."""
    accuracy = outcomes(runs, _FIELDS)
    accuracy.index = pd.MultiIndex.from_tuples(
        (f"worst case, f = {f}" if f else "clean", method, b) for method, b, f in accuracy.index
    )
    return lines_figure(
        accuracy, "noise scale b", "accuracy in %", grey="without noise", are_shares=True
    )


EXPERIMENT = Experiment(claims, table, figure)
