"""Which radius of centred clipping is best of all for those who know the attacks."""

import pandas as pd

from study.centred_clipping import (
    RIVAL,
    THUMB,
    TUNED,
    accuracies,
    better,
    budgets,
    figure,
    table,
    withstands,
)
from study.experiment import Experiment
from study.verdicts import Verdict

_F = 4
_MARGIN, _AS_GOOD = 1, 2  # points


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that the oracle's radius withstands, gains over that of the noise, and equals NNM.

    Clean accuracy is held against NNM's alone: where the radius of the noise is broken at every
    rate, an oracle's choice of its rate is arbitrary.
    """
    accuracy = accuracies(runs)
    found = []
    for epsilon in budgets(accuracy):
        found += [
            withstands(accuracy, TUNED, epsilon, _F),
            better(accuracy, (TUNED, THUMB), epsilon, _F, _MARGIN),
            better(accuracy, (TUNED, RIVAL), epsilon, _F, -_AS_GOOD),
            better(accuracy, (TUNED, RIVAL), epsilon, 0, -_AS_GOOD),
        ]
    return found


EXPERIMENT = Experiment(claims, table, figure)
