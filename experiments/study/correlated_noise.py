"""Which robust rules profit from noise that cancels in the mean, at equal epsilon?"""

import math

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.intervals import half_width
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, NONE, broken, outcomes, seeds_at, situation
from study.verdicts import Verdict, any_of, judge, untested

_FIELDS = ["aggregator", "pairwise_noise"]
_MARGIN = 1  # point


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim of each rule, clean and attacked, that pairs' noise gains and that it costs a point."""
    accuracy = outcomes(runs, _FIELDS)
    lost = broken(accuracy)
    ratios = [r for r in accuracy.index.unique(1) if r != NONE]
    found = []
    for f in accuracy.index.unique("byzantine"):
        for method in accuracy.index.unique(0):
            is_lost = lost.xs((method, f), level=(0, 2)).all()
            for verb, sign in (("gains", 1), ("costs", -1)):
                claim = f"{method}, {situation(f)}: noise of pairs {verb} over {_MARGIN} point"
                if is_lost:
                    found.append(untested(claim, ALL_BROKEN))
                    continue
                differences = {
                    r: seeds_at(accuracy, method, r, f) - seeds_at(accuracy, method, NONE, f)
                    for r in ratios
                }
                found.append(
                    any_of(
                        claim,
                        [
                            judge(f"r = {r:g}", sign * difference, (_MARGIN, math.inf),
                                  comparisons=len(ratios))
                            for r, difference in differences.items()
                        ],
                    )
                )  # fmt: skip
    return found


def table(runs: pd.DataFrame) -> str:
    """Accuracy by rule, r and f, and the noise that each r takes."""
    accuracy = outcomes(runs, _FIELDS)
    ratios = list(accuracy.index.unique(1))
    fs = list(accuracy.index.unique("byzantine"))
    columns = [(f, r) for f in fs for r in ratios]
    heads = [f"{situation(f)}, {'no pairs' if r == NONE else f'r = {r:g}'}" for f, r in columns]
    rows = ["| rule | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for method in accuracy.index.unique(0):
        cells = []
        for f, r in columns:
            seeds = seeds_at(accuracy, method, r, f)
            half = half_width(seeds.std(ddof=1), seeds.count())
            cells.append(f"{seeds.mean():.1f} ± {half:.1f}")
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            "Accuracy in % on test data under the attack that is worst for each seed, mean over "
            "seeds and half of its 95 % interval, at epsilon "
            f"{', '.join(f'{at:g}' for at in runs['target_epsilon'].unique())}.",
            "",
            *rows,
            "",
            "What each r takes, in standard deviations of the noise:",
            "",
            "| f | r | own noise b | of a message | of the mean of honest messages |",
            "| --- | --- | --- | --- | --- |",
            *noise_rows(runs),
        ]
    )


def noise_rows(runs: pd.DataFrame) -> list[str]:
    """Write the noise of each f and r, a row each."""
    settings = ["byzantine", "pairwise_noise", "honest", "noise_scale"]
    rows = []
    each = runs[settings].fillna({"pairwise_noise": 0.0}).drop_duplicates().sort_values(settings)
    for f, r, honest, b in each.to_numpy():
        message = b * math.sqrt(1 + (honest + f - 1) * r**2)
        mean = b * math.sqrt((1 + f * r**2) / honest)
        rows.append(f"| {f:.0f} | {r:g} | {b:.3f} | {message:.3f} | {mean:.4f} |")
    return rows


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against r: a panel clean and one attacked, a line a rule."""
    accuracy = outcomes(runs, _FIELDS)
    accuracy.index = pd.MultiIndex.from_tuples(
        (situation(f), method, 0.0 if r == NONE else r) for method, r, f in accuracy.index
    )
    return lines_figure(
        accuracy,
        "noise of pairs over own noise, r",
        "accuracy in %",
        ["All points have the same epsilon."],
        grey="each worker's own noise alone",
        are_shares=True,
    )


EXPERIMENT = Experiment(claims, table, figure)
