"""R4: does the best learning rate move with b?

By the descent lemma, where noise dwarfs everything else, a step of SGD gains `lr |g|^2` and loses a
constant times `lr^2 b^2`: over T steps the best rate goes as 1 / b, as in Theorem 6 of Chen et al.
2020. A step along a majority vote of signs, whose expectation goes as g / b, gains `lr |g|^2 / b`
and loses a constant times `lr^2`, however large b is. What is to be gained over all steps is the
same, so that the bound, `b / (lr T) + lr b` times constants, is least at a rate without b.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.tables import FORMATS, PRESETS
from study.experiment import Experiment
from study.outcomes import parts, slopes
from study.rates import best_rate
from study.verdicts import Verdict, judge

_LARGE = 0.03  # the least b of the slope: from there on noise is most of what aggregates vary by
_NEAR = 0.3  # of an exponent
_THEORY = """In theory, by the descent lemma: where noise is most of what an aggregate varies by, a
step along a mean or a median loses a constant times `lr^2 b^2` and gains `lr |g|^2`, so that the
best rate goes as 1 / b. That is what Theorem 6 of the paper implies for the median: its bound,
`2 D / (lr T) + O(d / b^2) + O(lr d b^2)`, is least at a constant times `1 / (b sqrt(d T))`. A step
along a majority of signs gains `lr |g|^2 / b` and loses a constant times `lr^2`, whatever b is: the
best rate does not move (our derivation, not Theorem 5).

"""


def best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """log10 of the best learning rate, by method, heterogeneity and b; a column a seed.

    As `study.rates.best_rate` has it.
    """
    levels = ["aggregator", "heterogeneity", "noise_scale", "seed"]
    found = {
        at: best_rate(part.set_index("learning_rate")["accuracy"].astype(float).sort_index())
        for at, part in runs.groupby(levels, sort=False)
    }
    return pd.Series(found).rename_axis(levels).unstack("seed")


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim the exponent of the best rate in b, for each method and partition."""
    found = []
    for (method, heterogeneity), part in parts(best_rates(runs), [0, 1]):
        by_b = part[part.index >= _LARGE].sort_index()
        exponent = slopes(by_b, np.log10(by_b.index.to_numpy(dtype=float)))
        theory = 0.0 if method == "majority_vote" else -1.0
        where = f"{method}, heterogeneity {heterogeneity:g}"
        found.append(
            judge(
                f"{where}: the best rate goes as b^{theory:g} within {_NEAR:g} (b >= {_LARGE:g})",
                exponent,
                (theory - _NEAR, theory + _NEAR),
                "exponent",
            )
        )
        found.append(
            judge(
                f"{where}: the best rate falls with b (b >= {_LARGE:g})",
                exponent,
                (-math.inf, 0),
                "exponent",
            )
        )
    return found


def table(runs: pd.DataFrame) -> str:
    """Tell the best rate of each method and b."""
    return _THEORY + FORMATS["markdown"](PRESETS["tuning"](runs))


def figure(runs: pd.DataFrame) -> Figure:
    """Best rates against b."""
    return learning_rate_figure(runs)


EXPERIMENT = Experiment(claims, table, figure)
