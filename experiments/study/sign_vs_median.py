"""Which message for the same budget: a vector of numbers, or one bit for each?"""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from privrobust.data import get_dataset
from privrobust.models.validation import initial_parameters
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.tables import FORMATS, PRESETS
from study.experiment import Experiment
from study.outcomes import ALL_BROKEN, broken, outcomes, situation
from study.verdicts import Verdict, judge, untested

_FIELDS = ["aggregator", "heterogeneity", "target_epsilon"]
_MARGIN = 1  # point
_BITS = {"median": 32, "majority_vote": 1}  # a coordinate


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that the sign vote is not worse than the median by over a point."""
    accuracy = outcomes(runs, _FIELDS)
    signs, median = (accuracy.loc[[name]].droplevel(0) for name in ("majority_vote", "median"))
    lost = broken(accuracy)
    found = []
    differences: Iterable[tuple[Any, pd.Series]] = (signs - median).iterrows()
    for (heterogeneity, epsilon, f), difference in differences:
        claim = (
            f"heterogeneity {heterogeneity:g}, epsilon {epsilon:g}, {situation(f)}: "
            f"the sign vote is worse than the median by at most {_MARGIN} point"
        )
        if lost.xs((heterogeneity, epsilon, f), level=(1, 2, 3)).all():
            found.append(untested(claim, ALL_BROKEN))
        else:
            found.append(judge(claim, difference, (-_MARGIN, math.inf)))
    return found


def table(runs: pd.DataFrame) -> str:
    """Tell what either message takes, and what it leads to."""
    task = runs[["dataset", "model", "steps"]].drop_duplicates()
    assert len(task) == 1
    dataset, model, steps = task.iloc[0]
    dim = initial_parameters(model, get_dataset(dataset), (0,))[1].shape[-1]
    sizes = [
        f"| {method} | {bits} | {bits * dim:,} | {bits * dim * steps / 8e6:.2f} MB |"
        for method, bits in _BITS.items()
    ]
    return "\n".join(
        [
            f"A message has {dim} coordinates; a run takes {steps} from each worker.",
            "",
            "| method | bits a coordinate | bits a message | a worker's messages of a run |",
            "| --- | --- | --- | --- |",
            *sizes,
            "",
            FORMATS["markdown"](PRESETS["trilemma"](runs)),
        ]
    )


figure = epsilon_figure

EXPERIMENT = Experiment(claims, table, figure)
