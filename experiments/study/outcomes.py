"""Runs as the claims see them: a number a seed."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from privrobust.core.formatting import in_percent
from privrobust.reporting.intervals import half_width

NONE = "none"
ALL_BROKEN = "all that is compared is broken"
_LEARNT = 20.0  # % of clean accuracy: below, a setting of ten classes is about at chance


def outcomes(runs: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """Accuracy in % of every seed: clean at f = 0, under the attack that is worst for it at others.

    The worst attack of each seed, so that seeds stay independent; it is a little below the attack
    that is worst on average, which tables show.

    Args:
        runs: a row a run, as from `Store.runs`.
        fields: those that tell settings apart.

    Returns:
        Indexed by `fields` ("none" for what a spec leaves out) and `byzantine`, a column a seed;
        NaN where a run failed.

    """
    known = runs.assign(
        accuracy=100 * pd.to_numeric(runs["accuracy"], errors="coerce").astype(float),
        **{field: runs[field].astype(object).where(runs[field].notna(), NONE) for field in fields},
    )
    levels = [*fields, "byzantine", "seed"]
    cells = known.groupby(levels, sort=False)["accuracy"]
    least = cells.min().where(cells.count() == cells.size())
    return least.unstack("seed")


def broken(accuracy: pd.DataFrame) -> pd.Series:
    """Whether less than half of the clean accuracy is left, or there was little to begin with.

    Means over seeds; false where a run failed, which is for whoever tests a claim to see.

    Args:
        accuracy: as from `outcomes`.

    Returns:
        Indexed as it is.

    """
    mean = accuracy.mean(axis=1, skipna=False)
    clean = clean_of(accuracy).mean(axis=1, skipna=False)
    return (mean < clean / 2) | (clean < _LEARNT)


def clean_of(accuracy: pd.DataFrame) -> pd.DataFrame:
    """For each setting and f that of f = 0, indexed as it is."""
    clean = accuracy[accuracy.index.get_level_values("byzantine") == 0].droplevel("byzantine")
    return clean.reindex(accuracy.droplevel("byzantine").index).set_axis(accuracy.index)


def parts(frame: pd.DataFrame, levels: Sequence[Hashable]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield what stands at each value of two levels or more; its index has the other levels."""
    for at, part in frame.groupby(level=list(levels), sort=False):
        yield at, part.droplevel(list(levels))


def seeds_at(frame: pd.DataFrame | pd.Series, *place: Any) -> pd.Series:
    """Return what stands at one place of an index, a value a seed."""
    key: Any = place if len(place) > 1 else place[0]  # of an index of one level
    seeds: pd.Series = frame.loc[key]
    return seeds


def cell(seeds: pd.Series) -> str:
    """Write the mean of accuracies in %, and half of its 95 % interval."""
    half = float(half_width(seeds.std(ddof=1), seeds.size))
    return "±".join(in_percent(seeds.mean() / 100, half / 100))


def situation(f: int) -> str:
    """In words."""
    return f"f = {f}, worst case" if f else "clean"


def at_budget(epsilon: Any) -> str:
    """In words."""
    return "without noise" if epsilon == NONE else f"epsilon {epsilon:g}"


def slopes(values: pd.DataFrame, x: Sequence[float]) -> pd.Series:
    """Fit the slope of each column against x, by least squares."""
    at = np.asarray(x, dtype=float)
    away = at - at.mean()
    return (
        values.T @ (away / (away @ away))
        if values.notna().all(axis=None)
        else values.iloc[0] * np.nan
    )
