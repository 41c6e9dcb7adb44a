"""R2: what clipping does to utility, and to the gradients themselves."""

import math

import pandas as pd
import torch
from matplotlib.figure import Figure

from privrobust.aggregators import Median
from privrobust.reporting.tables import FORMATS, PRESETS
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, NONE, broken, outcomes, parts, situation
from study.probe import gradients, specs
from study.verdicts import Verdict, any_of, judge, untested

_FIELDS = ["aggregator", "heterogeneity", "target_epsilon", "noise_scale", "clip_norm"]
_LEVELS = ["aggregator", "heterogeneity", "held", "byzantine"]
_MARGIN = 1  # point


def _accuracy(runs: pd.DataFrame) -> pd.DataFrame:
    """By method, heterogeneity, what was held, f and C; a column a seed."""
    accuracy = outcomes(runs, _FIELDS).reset_index()
    epsilon, b = accuracy.pop("target_epsilon"), accuracy.pop("noise_scale")
    accuracy["held"] = [
        f"epsilon = {target:g}" if target != NONE else f"b = {scale:g}"
        for target, scale in zip(epsilon, b, strict=True)
    ]
    return accuracy.set_index([*_LEVELS, "clip_norm"])


def _series(accuracy: pd.DataFrame) -> list[tuple[tuple[str, float, str, int], pd.DataFrame]]:
    """Part accuracies by method, heterogeneity, what was held and f: what is left is by C."""
    return [(at, part.sort_index()) for at, part in parts(accuracy, _LEVELS)]


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Where some smaller C is better, or the least worse, than one that clips next to nothing."""
    found = []
    accuracy = _accuracy(runs)
    lost = broken(accuracy)
    for (method, heterogeneity, held, f), by_c in _series(accuracy):
        largest, smaller = by_c.index[-1], by_c.index[:-1]
        where = f"{method}, heterogeneity {heterogeneity:g}, {held}, {situation(f)}"
        claim = f"{where}: some C is better than C = {largest:g} by over {_MARGIN} point"
        if lost.xs((method, heterogeneity, held, f), level=(0, 1, 2, 3)).all():
            found.append(untested(claim, ALL_BROKEN))
            continue
        found.append(
            any_of(
                claim,
                [
                    judge(f"C = {c:g}", by_c.loc[c] - by_c.loc[largest], (_MARGIN, math.inf),
                          comparisons=len(smaller))
                    for c in smaller
                ],
            )
        )  # fmt: skip
        if held.startswith("b"):
            least = smaller[0]
            found.append(
                judge(
                    f"{where}: C = {least:g} is worse than C = {largest:g} by over {_MARGIN} point",
                    by_c.loc[largest] - by_c.loc[least],
                    (_MARGIN, math.inf),
                )
            )
    return found


def effect_on_gradients(runs: pd.DataFrame, every: int = 30) -> pd.DataFrame:
    """Measure what each C does to gradients without noise, at the rate of the largest C.

    Returns:
        By heterogeneity and C, means over steps and seeds: `clipped`, the share of examples; `mean`
        and `median`, how far the aggregate of clipped messages lies from that of unclipped ones, in
        lengths of the mean of the unclipped.

    """
    limits = sorted(float(c) for c in runs["clip_norm"].unique())
    whole = runs["clip_norm"] == limits[-1]
    clean = (runs["byzantine"] == 0) & (runs["aggregator"] == "mean")
    rows = []
    for spec in specs(runs[whole & clean & (runs["noise_scale"] == 0)]):
        for step in gradients(spec, limits, every):
            mean, median = step.whole.mean(0), Median()(step.whole)
            for limit, messages in zip(limits, step.clipped, strict=True):
                rows.append(
                    {
                        "heterogeneity": spec.heterogeneity,
                        "C": limit,
                        "clipped": float((step.norms > limit).double().mean()),
                        "mean": float(torch.dist(messages.mean(0), mean) / mean.norm()),
                        "median": float(torch.dist(Median()(messages), median) / mean.norm()),
                    }
                )
    return pd.DataFrame(rows).groupby(["heterogeneity", "C"]).mean()


def table(runs: pd.DataFrame) -> str:
    """Gradients, then accuracies."""
    rows = [
        "What C does to the honest gradients of 15 workers, at every 30th step of training by "
        "plain averages of whole gradients without noise: the share of examples that are clipped, "
        "and how far it moves the mean and the median of the messages, in lengths of the mean of "
        "whole ones.",
        "",
        "| heterogeneity | C | clipped | bias added to the mean | to the median |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in effect_on_gradients(runs).reset_index().itertuples(index=False):
        rows.append(
            f"| {row.heterogeneity:g} | {row.C:g} | {row.clipped:.0%} | {row.mean:.2f} "
            f"| {row.median:.2f} |"
        )
    return "\n".join([*rows, "", FORMATS["markdown"](PRESETS["clipping"](runs))])


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against C: a panel for what was held and f, a line a method and partition."""
    parts = {
        (f"{held}, {f'worst, f = {f}' if f else 'clean'}", f"{method}, heterogeneity {h:g}"): by_c
        for (method, h, held, f), by_c in _series(_accuracy(runs))
    }
    return lines_figure(pd.concat(parts), "clipping norm C", "accuracy in %", are_shares=True)


EXPERIMENT = Experiment(claims, table, figure)
