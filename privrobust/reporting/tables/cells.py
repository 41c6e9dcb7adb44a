"""A store's cells as data, for pandas and other programs."""

import pandas as pd

from privrobust.reporting.metrics import METRICS
from privrobust.reporting.neighbours import adjacencies
from privrobust.reporting.paired import Estimate, by_seed, difference
from privrobust.reporting.robustness import breakdown, robustness
from privrobust.reporting.summary import WORST, setting_levels, summarise, without_gaps


def data(runs: pd.DataFrame) -> pd.DataFrame:
    """Make a row a cell, with all digits.

    Args:
        runs: a row a run, as from `Store.runs`.

    Returns:
        What `summarise` returns of all metrics, worst by accuracy, its index as columns, and what
        its epsilon holds for: `accountant_used`, `delta`, `unit`, `adjacency`. Then `gap`, clean
        less this accuracy over the seeds that have both, NaN where a run of either failed, with
        `gap_interval`; and of the setting what `privrobust.reporting.robustness.breakdown` tells:
        `near_chance`, and `breakdown`, the point, between `breakdown_low` and `breakdown_high`.

    """
    summary = summarise(runs, list(METRICS))
    levels = setting_levels(summary)
    named = runs.assign(adjacency=adjacencies(runs))
    settings = without_gaps(named).groupby(levels, sort=False)
    kinds = ("accountant_used", "delta", "unit", "adjacency")
    told = [name for name in kinds if name not in levels]
    cells = summary.reset_index().join(settings[told].first(), on=levels)
    gaps = _gaps(runs, summary)
    cells["gap"] = [gap.mean for gap in gaps]
    cells["gap_interval"] = [gap.half for gap in gaps]
    points = breakdown(runs).drop(columns="failed")
    points = points.rename(
        columns={"point": "breakdown", "low": "breakdown_low", "high": "breakdown_high"}
    )
    return cells.join(points, on=levels)


def _gaps(runs: pd.DataFrame, summary: pd.DataFrame) -> list[Estimate]:
    """Return what each attacked cell of a summary lacks of its clean accuracy, seed by seed."""
    found = by_seed(runs)
    worst = robustness(runs)["attack"].to_dict()
    gaps = []
    for (*setting, f, attack), failed in zip(summary.index, summary["failed"], strict=True):
        name = worst.get((*setting, f)) if attack == WORST else attack
        clean = found.get((*setting, 0, ""), {}) if attack and not failed else {}
        gaps.append(difference(clean, found.get((*setting, f, name), {})))
    return gaps
