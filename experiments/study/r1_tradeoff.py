"""R1: with few Byzantine workers and heterogeneous data, is some noise better than none?"""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, broken, outcomes, parts
from study.verdicts import HOLDS, Verdict, any_of, judge, untested

_FIELDS = ["aggregator", "heterogeneity", "noise_scale"]
_RESAMPLES = 2000


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each method, partition and f: some b > 0 is better than none by over a point."""
    found = []
    accuracy = outcomes(runs, _FIELDS)
    lost = broken(accuracy)
    for (method, heterogeneity, f), part in _settings(accuracy):
        without, noises = part.loc[0.0], [b for b in part.index if b > 0]
        claim = (
            f"{method}, heterogeneity {heterogeneity:g}, f = {f}: "
            "some noise is better than none by over 1 point"
        )
        if lost.xs((method, heterogeneity, f), level=(0, 1, 3)).all():
            found.append(untested(claim, ALL_BROKEN))
            continue
        found.append(
            any_of(
                claim,
                [
                    judge(f"b = {b:g}", part.loc[b] - without, (1, math.inf), "points",
                          comparisons=len(noises))
                    for b in noises
                ],
            )
        )  # fmt: skip
    return found


def _settings(accuracy: pd.DataFrame) -> list[tuple[tuple[str, float, int], pd.DataFrame]]:
    """Part accuracies by method, heterogeneity and f: what is left is by b, a column a seed."""
    found = parts(accuracy.sort_index(), ["aggregator", "heterogeneity", "byzantine"])
    return sorted(found, key=lambda each: each[0])


def best_noise(accuracy: pd.DataFrame, seed: int = 0) -> tuple[float, float, float]:
    """Find the b of the best mean accuracy, and a 95 % percentile interval: seeds are resampled.

    Args:
        accuracy: by b, a column a seed; a b where a run failed, or lacks, is no candidate.
        seed: of the resampling.

    Returns:
        NaN where there is no candidate.

    """
    accuracy = accuracy.dropna()
    if accuracy.empty:
        return math.nan, math.nan, math.nan
    values = accuracy.to_numpy()
    b = accuracy.index.to_numpy(dtype=float)
    draws = np.random.default_rng(seed).integers(
        values.shape[1], size=(_RESAMPLES, values.shape[1])
    )
    chosen = b[values[:, draws].mean(-1).argmax(0)]
    low, high = np.quantile(chosen, [0.025, 0.975], method="nearest")
    return float(b[values.mean(1).argmax()]), float(low), float(high)


def table(runs: pd.DataFrame) -> str:
    """Tell the best b by heterogeneity and f, with intervals; a star where some noise is better."""
    accuracy = outcomes(runs, _FIELDS)
    settings, lost = dict(_settings(accuracy)), broken(accuracy)
    held = {
        at for at, verdict in zip(settings, claims(runs), strict=True) if verdict.outcome == HOLDS
    }
    fs = sorted({f for _, _, f in settings})
    rows = [
        "The b of the best accuracy under the worst attack (clean at f = 0), with a 95 % bootstrap "
        "interval over seeds, of the values that were tried; \\* where some noise is better than "
        "none by over a point.",
        "",
        "| method | heterogeneity | " + " | ".join(f"f = {f}" for f in fs) + " |",
        "| --- | --- |" + " --- |" * len(fs),
    ]
    for method, heterogeneity in dict.fromkeys(at[:2] for at in settings):
        cells = []
        for f in fs:
            at = (method, heterogeneity, f)
            best, low, high = best_noise(settings[at])
            star = " \\*" if at in held else ""
            is_lost = lost.xs(at, level=(0, 1, 3)).all()
            told = f"{best:g} ({low:g} to {high:g}){star}"
            cells.append("broken" if is_lost else "failed" if math.isnan(best) else told)
        rows.append(f"| {method} | {heterogeneity:g} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against b: a panel a method and partition, a line an f."""
    accuracy = outcomes(runs, _FIELDS)
    accuracy.index = pd.MultiIndex.from_tuples(
        (f"{method}, heterogeneity {heterogeneity:g}", f"f = {f}", b)
        for method, heterogeneity, b, f in accuracy.index
    )
    return lines_figure(
        accuracy,
        "noise scale b",
        "worst accuracy in %",
        ["f = 0: clean accuracy."],
        grey="without noise",
        are_shares=True,
    )


EXPERIMENT = Experiment(claims, table, figure)
