"""Training curves for the page: means over seeds, step by step, as small as can be."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from privrobust.core.formatting import in_percent
from privrobust.reporting.intervals import half_width
from privrobust.reporting.report.rows import Cell, Rows
from privrobust.store import Store

CURVES = "curves"

# A page of 2,000 runs must stay below 5 MB, and be made in seconds.
MOST_RUNS = 5_000
_MOST_POINTS = 80_000  # numbers and texts
_SCALE = 10_000  # accuracies are whole multiples of 1 / this


def curves(store: Store, rows: Rows) -> dict[str, Any]:
    """Return what the page draws of each row's cells.

    Returns:
        `rows`, by number the places of its curves; `curves`, each with `attack`, `runs` (how many
        finished, and what else to know), `signs` (that stand at its end), `seeds` (a number, or a
        list where it is not the same at every step), `steps` (a place in the list `steps`),
        `mean`, `low` and `high` of its 95 % interval (None where there is a single seed, left out
        where there is no more anywhere), in 1 / `scale`, and `shown`, both in percent. Empty where
        there are too many runs.

    """
    if are_too_many(rows):
        return {}
    made = _Curves(store)
    by_row: dict[int, list[int]] = {}
    for row in rows.rows:
        attacks = row.runs["attack"].fillna("")
        cells = {cell.attack: cell for cell in row.cells}
        of_row = [
            made.place(tuple(runs.index), cells[name]) for name, runs in row.runs.groupby(attacks)
        ]
        by_row[row.number] = [place for place in of_row if place is not None]
    if not made.curves:
        return {}
    return {"scale": _SCALE, "rows": by_row, "curves": made.thinned(), "steps": made.steps}


OTHERWISE = "privrobust figure curves STORE -o curves.pdf --where field=value"
"""The command that draws curves where a page has no room for all."""


def are_too_many(rows: Rows) -> bool:
    """Tell whether a page has no room for the curves of so many runs."""
    return _count(rows) > MOST_RUNS


def why_none(rows: Rows, drawn: dict[str, Any]) -> str:
    """Say why there are no curves; nothing where there are.

    Args:
        rows: all of the page.
        drawn: as from `curves`.

    """
    if are_too_many(rows):
        return (
            f"Training curves are left out: {_count(rows):,} runs are more than the {MOST_RUNS:,} "
            "that this page has room for. Those you choose are drawn by"
        )
    if not drawn:
        return "No training curve can be drawn: no run has an evaluation."
    if all(len(steps) == 1 for steps in drawn["steps"]):
        at = " or ".join(sorted({str(step) for (step,) in drawn["steps"]}))
        return f"No training curve can be drawn: each run has a single evaluation, at step {at}."
    return ""


def _count(rows: Rows) -> int:
    return len({key for row in rows.rows for key in row.runs.index})


class _Curves:
    """Curves as they are read, those that rows share once."""

    def __init__(self, store: Store) -> None:
        self.curves: list[dict[str, Any]] = []
        self.steps: list[list[int]] = []
        self._store = store
        self._places: dict[tuple[str, ...], int | None] = {}

    def place(self, keys: tuple[str, ...], cell: Cell) -> int | None:
        """Return where the curve of these runs is; None where they have no history."""
        if keys not in self._places:
            self._places[keys] = self._read(keys, cell)
        return self._places[keys]

    def _read(self, keys: Sequence[str], cell: Cell) -> int | None:
        history = self._store.histories(keys)
        accuracy = history["accuracy"].astype(float)
        by_step = accuracy[accuracy.between(0, 1)].groupby(history["step"])
        mean, counts = by_step.mean(), by_step.count()
        if mean.empty:
            return None
        curve: dict[str, Any] = {
            "attack": cell.attack or "none",
            "runs": cell.finished_text,
            "signs": (f"{cell.failed} failed" if cell.failed else "") + cell.signs,
            "seeds": counts.tolist() if counts.nunique() > 1 else int(counts.max()),
            "steps": mean.index.tolist(),
            "mean": _scaled(mean),
        }
        half = pd.Series(half_width(by_step.std(), counts), mean.index)  # NaN of a single seed
        curve["shown"] = [_shown(*each) for each in zip(mean, half, strict=True)]
        if counts.max() > 1:
            curve["low"], curve["high"] = _scaled(mean - half), _scaled(mean + half)
        self.curves.append(curve)
        return len(self.curves) - 1

    def thinned(self) -> list[dict[str, Any]]:
        """Keep every so many-th evaluation where all are too many, always the last one."""
        lines = ("mean", "low", "high", "shown")
        points = sum(len(curve[line]) for curve in self.curves for line in lines if line in curve)
        every = -(-points // _MOST_POINTS)
        known: dict[tuple[int, ...], int] = {}
        for curve in self.curves:
            for line in ("steps", "seeds", *lines):
                if isinstance(curve.get(line), list):
                    curve[line] = curve[line][::-1][::every][::-1]
            steps = tuple(curve["steps"])
            if steps not in known:
                known[steps] = len(self.steps)
                self.steps.append(list(steps))
            curve["steps"] = known[steps]
        return self.curves


def _scaled(accuracies: pd.Series) -> list[int | None]:
    return [
        None if math.isnan(accuracy) else round(_SCALE * accuracy)
        for accuracy in accuracies.clip(0, 1)
    ]


def _shown(accuracy: float, interval: float) -> str:
    return " ± ".join(filter(None, in_percent(accuracy, interval)))
