"""R1: more noise, less robust? Damage is clean accuracy less that under the worst attack."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, NONE, broken, clean_of, outcomes, parts, slopes
from study.verdicts import Verdict, judge, untested

_FIELDS = ["aggregator", "heterogeneity", "noise_scale"]
_SMALL = 0.1  # the largest b of the slope: beyond, noise alone takes what attacks would


def damage(runs: pd.DataFrame) -> pd.DataFrame:
    """Points of accuracy that the worst attack takes, by setting and f > 0; a column a seed."""
    accuracy = outcomes(runs, _FIELDS)
    return (clean_of(accuracy) - accuracy).drop(0, level="byzantine")


def breaks(runs: pd.DataFrame) -> pd.DataFrame:
    """Find the least b at which under half of clean accuracy is left; infinite where none does it.

    By method, heterogeneity and f; a column a seed, NaN where a run failed.
    """
    accuracy = outcomes(runs, _FIELDS)
    is_lost = (accuracy < clean_of(accuracy) / 2).drop(0, level="byzantine")
    b = is_lost.index.get_level_values("noise_scale").to_numpy(dtype=float)
    least = pd.DataFrame(
        np.where(is_lost, b[:, None], math.inf), index=is_lost.index, columns=is_lost.columns
    )
    levels = ["aggregator", "heterogeneity", "byzantine"]
    failed = damage(runs).isna().groupby(level=levels, sort=False).any()
    return least.groupby(level=levels, sort=False).min().mask(failed)


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each method and partition: damage grows with b, f by f; the b that breaks it falls."""
    lost, breaking = damage(runs), breaks(runs)
    is_broken = broken(outcomes(runs, _FIELDS))
    found = [
        _grows(at, part, is_broken.xs(at, level=(0, 1, 3))) for at, part in parts(lost, [0, 1, 3])
    ]
    found += [
        _falls(at, part, sorted(runs["noise_scale"].unique()))
        for at, part in parts(breaking, [0, 1])
    ]
    return found


def _grows(at: tuple[str, float, int], by_b: pd.DataFrame, is_broken: pd.Series) -> Verdict:
    method, heterogeneity, f = at
    claim = (
        f"{method}, heterogeneity {heterogeneity:g}, f = {f}: damage grows by over 1 point a "
        f"decade of b (0 < b <= {_SMALL:g})"
    )
    if is_broken.all():
        return untested(claim, ALL_BROKEN)
    by_b = by_b[(by_b.index > 0) & (by_b.index <= _SMALL)]
    slope = slopes(by_b, np.log10(by_b.index.to_numpy(dtype=float)))
    return judge(claim, slope, (1, math.inf), "points a decade")


def _falls(at: tuple[str, float], by_f: pd.DataFrame, tried: list[float]) -> Verdict:
    method, heterogeneity = at
    claim = (
        f"{method}, heterogeneity {heterogeneity:g}: the least b that breaks it falls as f grows, "
        f"by over a tenth of a step a worker ({len(tried)} values of b were tried)"
    )
    if (by_f == 0).all(axis=None):
        return untested(claim, "every f breaks it without noise")
    by_f = by_f.sort_index()
    places = by_f.map(lambda b: b if math.isnan(b) else sum(each < b for each in tried))
    return judge(claim, slopes(places, by_f.index.to_list()), (-math.inf, -0.1),
                 "steps of b a worker")  # fmt: skip


def table(runs: pd.DataFrame) -> str:
    """Tell the b that breaks each setting, in most seeds and all; then the damage by attack."""
    breaking = breaks(runs)
    fs = sorted(breaking.index.unique("byzantine"))
    rows = [
        "The least b at which the worst attack leaves under half of the clean accuracy: the median "
        "over seeds, and their range.",
        "",
        "| method | heterogeneity | " + " | ".join(f"f = {f}" for f in fs) + " |",
        "| --- | --- |" + " --- |" * len(fs),
    ]
    for (method, heterogeneity), by_f in parts(breaking, [0, 1]):
        cells = [_range(by_f.loc[f]) for f in fs]
        rows.append(f"| {method} | {heterogeneity:g} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *_by_attack(runs)])


def _by_attack(runs: pd.DataFrame) -> list[str]:
    """Mean damage of each attack, one table, at a b between the least and the largest."""
    tried = sorted(runs["noise_scale"].unique())
    b = tried[len(tried) // 2]
    here = runs[runs["noise_scale"] == b]
    levels = ["aggregator", "heterogeneity", "byzantine", "attack"]
    accuracy = here.assign(attack=here["attack"].fillna(NONE)).groupby(levels)["accuracy"].mean()
    clean = accuracy.xs(0, level="byzantine").droplevel("attack")
    attacked = accuracy.drop(0, level="byzantine").unstack("byzantine")
    lost = -100 * attacked.sub(clean.reindex(attacked.index.droplevel("attack")).to_numpy(), axis=0)
    return [
        f"What each attack takes from the clean accuracy at b = {b:g}, in points, means over "
        "seeds.",
        "",
        "| method | heterogeneity | attack | " + " | ".join(f"f = {f}" for f in lost) + " |",
        "| --- | --- | --- |" + " ---: |" * len(lost.columns),
        *(
            f"| {method} | {heterogeneity:g} | {attack} | "
            + " | ".join(f"{points:.0f}" for points in row)
            + " |"
            for (method, heterogeneity, attack), row in lost.iterrows()
        ),
    ]


def _range(values: pd.Series) -> str:
    low, middle, high = (_b(float(values.quantile(q, interpolation="lower"))) for q in (0, 0.5, 1))
    return middle if low == high else f"{middle} ({low} to {high})"


def _b(value: float) -> str:
    return "none" if math.isinf(value) else "failed" if math.isnan(value) else f"{value:g}"


def figure(runs: pd.DataFrame) -> Figure:
    """Damage against b: a panel a method and partition, a line an f."""
    lost = damage(runs)
    lost = lost[lost.index.get_level_values("byzantine").isin([1, 2, 4, 7])]
    lost.index = pd.MultiIndex.from_tuples(
        (f"{method}, heterogeneity {heterogeneity:g}", f"f = {f}", b)
        for method, heterogeneity, b, f in lost.index
    )
    return lines_figure(
        lost,
        "noise scale b",
        "damage in points",
        ["f = 3, 5 and 6 lie between, in the table."],
        grey="without noise",
    )


EXPERIMENT = Experiment(claims, table, figure)
