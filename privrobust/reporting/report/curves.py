"""Training curves for the page: means over seeds, step by step, as small as can be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from privrobust.reporting.intervals import half_width
from privrobust.reporting.report.rows import Rows
from privrobust.store import Store

CURVES = "curves"

# A page of 2,000 runs must stay below 5 MB, and be made in seconds.
MOST_RUNS = 5_000
_MOST_POINTS = 120_000
_SCALE = 10_000  # accuracies are whole multiples of 1 / this


def curves(store: Store, rows: Rows) -> dict[str, Any]:
    """Return what the page draws of each row's cells.

    Returns:
        `rows`, by number the places of its curves; `curves`, each with `attack`, `seeds`, `steps`
        (a place in the list `steps`), `mean`, and `low` and `high` of its 95 % interval
        (left out for a single seed), in 1 / `scale`. Empty where there are too many runs.

    """
    if len({key for row in rows.rows for key in row.runs.index}) > MOST_RUNS:
        return {}
    made = _Curves(store)
    by_row: dict[int, list[int]] = {}
    for row in rows.rows:
        attacks = row.runs["attack"].fillna("")
        of_row = [made.place(tuple(runs.index), name) for name, runs in row.runs.groupby(attacks)]
        by_row[row.number] = [place for place in of_row if place is not None]
    if not made.curves:
        return {}
    return {"scale": _SCALE, "rows": by_row, "curves": made.thinned(), "steps": made.steps}


class _Curves:
    """Curves as they are read, those that rows share once."""

    def __init__(self, store: Store) -> None:
        self.curves: list[dict[str, Any]] = []
        self.steps: list[list[int]] = []
        self._store = store
        self._places: dict[tuple[str, ...], int | None] = {}

    def place(self, keys: tuple[str, ...], attack: str) -> int | None:
        """Return where the curve of these runs is; None where they have no history."""
        if keys not in self._places:
            self._places[keys] = self._read(keys, attack)
        return self._places[keys]

    def _read(self, keys: Sequence[str], attack: str) -> int | None:
        history = self._store.histories(keys)
        accuracy = history["accuracy"].astype(float)
        by_step = accuracy[accuracy.between(0, 1)].groupby(history["step"])
        mean, counts = by_step.mean(), by_step.count()
        if mean.empty:
            return None
        curve: dict[str, Any] = {
            "attack": attack or "none",
            "seeds": int(counts.max()),
            "steps": mean.index.tolist(),
            "mean": _scaled(mean),
        }
        if curve["seeds"] > 1:
            half = np.nan_to_num(half_width(by_step.std(), counts))  # of a single seed the mean
            curve["low"], curve["high"] = _scaled(mean - half), _scaled(mean + half)
        self.curves.append(curve)
        return len(self.curves) - 1

    def thinned(self) -> list[dict[str, Any]]:
        """Keep every so many-th evaluation where all are too many, always the last one."""
        lines = ("mean", "low", "high")
        points = sum(len(curve[line]) for curve in self.curves for line in lines if line in curve)
        every = -(-points // _MOST_POINTS)
        known: dict[tuple[int, ...], int] = {}
        for curve in self.curves:
            for line in ("steps", *lines):
                if line in curve:
                    curve[line] = curve[line][::-1][::every][::-1]
            steps = tuple(curve["steps"])
            if steps not in known:
                known[steps] = len(self.steps)
                self.steps.append(list(steps))
            curve["steps"] = known[steps]
        return self.curves


def _scaled(accuracies: pd.Series) -> list[int]:
    return [round(_SCALE * accuracy) for accuracy in accuracies.clip(0, 1)]
