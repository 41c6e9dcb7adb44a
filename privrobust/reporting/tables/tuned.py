"""Which learning rate is best for each method and b, and what it was best among."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.legend import epsilon_marks, legend
from privrobust.reporting.summary import WORST, setting_levels, summarise
from privrobust.reporting.tables.layout import epsilon_text, metric_entry
from privrobust.reporting.tables.table import Column, Entry, Layout

_BY_CLEAN = "best rate: the learning rate of the highest mean clean accuracy"
_BY_WORST = (
    "best rate: the learning rate of the highest least mean accuracy over all f and attacks that "
    "were run, clean runs among them; under: where it is least"
)
_AT_EDGE = "(edge): at the edge of those tried, so that a better one may lie beyond"


def tuned(runs: pd.DataFrame) -> Layout:
    """Find the best learning rate of each method and b, on validation data if there is any.

    By the least mean accuracy over f and attacks, as `by: worst` of a sweep chooses; by the clean
    one where that is all there is.
    """
    summary = summarise(runs)
    if "learning_rate" not in summary.index.names:
        raise SpecError(
            "preset: tuning has nothing to compare: no method and b has runs of several learning "
            "rates; a sweep's tune makes them"
        )
    cells = summary[summary.index.get_level_values("attack") != WORST].reset_index()
    told = [name for name in setting_levels(summary) if name != "learning_rate"]
    settings: list[tuple[Any, pd.DataFrame, _Choice]] = [
        (at, part, _choose(part)) for at, part in cells.groupby(told, sort=False, dropna=False)
    ]
    is_attacked = bool(runs["byzantine"].any())
    marks = epsilon_marks(runs)
    rows = [
        [
            *(Entry(number(value)) for value in at),
            Entry(epsilon_text(part, marks)),
            *choice.entries(is_attacked),
        ]
        for at, part, choice in settings
    ]
    heads = [Column((name,), is_text=True) for name in told]
    heads += [Column(("epsilon",)), Column(("best", "rate"))]
    heads += [Column((name,)) for name in (["worst", "under"] if is_attacked else ["clean"])]
    notes = [f"{_BY_WORST if is_attacked else _BY_CLEAN}; {_AT_EDGE}."]
    if left_out := sum(choice.left_out for _, _, choice in settings):
        notes.append(
            f"{left_out} rates that lack some f or attack are not compared; ?: none has all."
        )
    if runs["repeats"].isna().any():
        notes.append("Tuning looks at data, which epsilon does not count.")
    return Layout([*heads, Column(("tried",))], [rows], [*notes, *legend(runs, summary)])


@dataclass(frozen=True)
class _Choice:
    """The best rate of a setting."""

    tried: list[float]
    """Those that are compared, in order; empty where none was run under all of it."""
    left_out: int
    """How many are not, as they were not run under every f and attack that others were."""
    rate: float
    """NaN where runs of all failed."""
    least: Mapping[Any, Any]
    """The cell where its accuracy is least."""

    def entries(self, is_attacked: bool) -> list[Entry]:
        """Write the rate, how good it is, under which attack, and what was tried."""
        if not self.tried:
            return [Entry("?"), Entry(), *[Entry()] * is_attacked, Entry()]
        first, last = self.tried[0], self.tried[-1]
        edge = " (edge)" if first < last and self.rate in (first, last) else ""
        attack, f = self.least.get("attack", ""), self.least.get("byzantine", 0)
        under = [Entry(f"{attack}, f={f}" if attack else "clean")] if is_attacked else []
        return [
            Entry("failed" if math.isnan(self.rate) else f"{number(self.rate)}{edge}"),
            metric_entry(self.least) if self.least else Entry(),
            *(under if self.least else [Entry() for _ in under]),
            Entry(f"{number(first)} to {number(last)} ({len(self.tried)})"),
        ]


def _choose(cells: pd.DataFrame) -> _Choice:
    """Choose among the rates of one setting, of which each cell is one f and attack.

    Of equals the smallest.
    """
    faced: dict[float, set[tuple[Any, ...]]] = {}
    for tried_at, *under in zip(
        cells["learning_rate"], cells["byzantine"], cells["attack"], strict=True
    ):
        faced.setdefault(tried_at, set()).add(tuple(under))
    every = set().union(*faced.values())
    compared = sorted(each for each, its in faced.items() if its == every)
    # no value, of a mean of which a run failed or has none, is worse than any
    score = cells["accuracy"].where(cells["failed"] == 0).fillna(-math.inf)
    least = score.groupby(cells["learning_rate"]).min()[compared]
    tried, left_out = list(map(float, compared)), len(faced) - len(compared)
    if not compared or least.max() == -math.inf:
        return _Choice(tried, left_out, math.nan, {})
    rate: Any = least.idxmax()
    at = score[cells["learning_rate"] == rate].idxmin()
    return _Choice(tried, left_out, float(rate), cells.loc[at].to_dict())
