"""A store's cells as data, for pandas and other programs."""

import pandas as pd

from privrobust.reporting.metrics import METRICS
from privrobust.reporting.neighbours import adjacencies
from privrobust.reporting.robustness import breakdown_point
from privrobust.reporting.summary import setting_levels, summarise, without_gaps


def data(runs: pd.DataFrame) -> pd.DataFrame:
    """Make a row a cell, with all digits.

    Args:
        runs: a row a run, as from `Store.runs`.

    Returns:
        What `summarise` returns of all metrics, worst by accuracy, its index as columns, and what
        its epsilon holds for: `accountant_used`, `delta`, `unit`, `adjacency`. Then `gap`, clean
        less this accuracy, NaN where a run of either failed, and `breakdown`, the breakdown point
        of the setting.

    """
    summary = summarise(runs, list(METRICS))
    levels = setting_levels(summary)
    named = runs.assign(adjacency=adjacencies(runs))
    settings = without_gaps(named).groupby(levels, sort=False)
    kinds = ("accountant_used", "delta", "unit", "adjacency")
    told = [name for name in kinds if name not in levels]
    cells = summary.reset_index().join(settings[told].first(), on=levels)
    left = summary["accuracy"].where(summary["failed"] == 0)
    is_clean = summary.index.get_level_values("attack") == ""
    clean = left[is_clean].droplevel(["byzantine", "attack"]).rename("clean")
    of_setting = cells[levels].join(clean, on=levels)["clean"]
    cells["gap"] = of_setting.where(~is_clean) - left.to_numpy()
    return cells.join(breakdown_point(runs).rename("breakdown"), on=levels)
