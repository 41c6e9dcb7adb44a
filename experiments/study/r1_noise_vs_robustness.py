"""R1: more noise, less robust? Damage is clean accuracy less that under the worst attack."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import outcomes, slopes
from study.verdicts import Verdict, judge

_FIELDS = ["aggregator", "heterogeneity", "noise_scale"]
_SMALL = 0.1  # the largest b of the slope: beyond, noise alone takes what attacks would
_FRACTION = 0.5  # of clean accuracy: below, a run is broken


def damage(runs: pd.DataFrame) -> pd.DataFrame:
    """Points of accuracy that the worst attack takes, by setting and f > 0; a column a seed."""
    accuracy = outcomes(runs, _FIELDS)
    clean = accuracy.xs(0, level="byzantine")
    attacked = accuracy.drop(0, level="byzantine")
    return clean.reindex(attacked.index.droplevel("byzantine")).set_axis(attacked.index) - attacked


def breaks(runs: pd.DataFrame) -> pd.DataFrame:
    """The least b at which under half of clean accuracy is left; infinite where none does it.

    By method, heterogeneity and f; a column a seed.
    """
    accuracy = outcomes(runs, _FIELDS)
    clean = accuracy.xs(0, level="byzantine")
    attacked = accuracy.drop(0, level="byzantine")
    base = clean.reindex(attacked.index.droplevel("byzantine")).set_axis(attacked.index)
    broken = attacked < _FRACTION * base
    b = broken.index.get_level_values("noise_scale").to_numpy(dtype=float)
    least = pd.DataFrame(
        np.where(broken, b[:, None], math.inf), index=broken.index, columns=broken.columns
    )
    return least.groupby(level=["aggregator", "heterogeneity", "byzantine"], sort=False).min()


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each method and partition: damage grows with b; the b that breaks it falls with f."""
    found = []
    lost, broken = damage(runs), breaks(runs)
    tried = sorted(runs["noise_scale"].unique())
    for (method, heterogeneity), part in lost.groupby(level=[0, 1], sort=False):
        where = f"{method}, heterogeneity {heterogeneity:g}"
        by_b = part.groupby(level="noise_scale").mean()
        by_b = by_b[(by_b.index > 0) & (by_b.index <= _SMALL)]
        found.append(
            judge(
                f"{where}: damage, averaged over f, grows by over 1 point a decade of b "
                f"(0 < b <= {_SMALL:g})",
                slopes(by_b, np.log10(by_b.index.to_numpy(dtype=float))),
                (1, math.inf),
                "points a decade",
            )
        )
        here = broken.loc[(method, heterogeneity)].sort_index()
        places = here.map(lambda b: tried.index(b) if b < math.inf else len(tried))
        found.append(
            judge(
                f"{where}: the least b that breaks it falls as f grows, by over a tenth of a step "
                f"a worker ({len(tried)} values of b were tried)",
                slopes(places, here.index.to_list()),
                (-math.inf, -0.1),
                "steps of b a worker",
            )
        )
    return found


def table(runs: pd.DataFrame) -> str:
    """The b that breaks each setting: in most seeds, and from the least to the largest."""
    broken = breaks(runs)
    fs = sorted(broken.index.unique("byzantine"))
    rows = [
        "The least b at which the worst attack leaves under half of the clean accuracy: the median "
        "over seeds, and their range.",
        "",
        "| method | heterogeneity | " + " | ".join(f"f = {f}" for f in fs) + " |",
        "| --- | --- |" + " --- |" * len(fs),
    ]
    for (method, heterogeneity), part in broken.groupby(level=[0, 1], sort=False):
        cells = [_range(part.loc[(method, heterogeneity, f)]) for f in fs]
        rows.append(f"| {method} | {heterogeneity:g} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _range(values: pd.Series) -> str:
    low, middle, high = (_b(values.quantile(q, interpolation="lower")) for q in (0, 0.5, 1))
    return middle if low == high else f"{middle} ({low} to {high})"


def _b(value: float) -> str:
    return "none" if math.isinf(value) else f"{value:g}"


def figure(runs: pd.DataFrame) -> Figure:
    """Damage against b: a panel a method and partition, a line an f."""
    lost = damage(runs)
    lost = lost[lost.index.get_level_values("byzantine").isin([1, 2, 4, 7])]
    lost.index = pd.MultiIndex.from_tuples(
        (f"{method}, heterogeneity {heterogeneity:g}", f"f = {f}", b)
        for method, heterogeneity, b, f in lost.index
    )
    return lines_figure(lost, "noise scale b", "damage in points")


EXPERIMENT = Experiment(claims, table, figure)
