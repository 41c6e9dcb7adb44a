"""The rows of the report's table: a setting and f, with a cell an attack."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from privrobust.core.formatting import in_percent, number, rounded_up
from privrobust.reporting.legend import FEW_SEEDS, breakdown_text, most_tried
from privrobust.reporting.robustness import breakdown_point
from privrobust.reporting.scaling import is_scaled
from privrobust.reporting.summary import (
    ALWAYS_ROWS,
    WORST,
    row_fields,
    summarise,
    without_gaps,
)
from privrobust.spec.run_fields import symbol


def header(field: str) -> str:
    """Name a field as columns do: by symbols where the texts explain them."""
    return symbol(field).replace("_", " ")


@dataclass(frozen=True)
class Cell:
    """What the seeds of one setting, f and attack came to."""

    attack: str
    """Empty where there is none."""
    accuracy: float
    """Their mean; NaN where all failed."""
    interval: float
    """Half of the 95 % interval; NaN for a single seed."""
    success: float
    """How often the attack got its way; NaN where it has no goal of its own."""
    success_interval: float
    runs: int
    diverged: int
    failed: int

    @property
    def finished(self) -> int:
        """Runs that have an accuracy."""
        return self.runs - self.failed

    @property
    def holds(self) -> bool:
        """Whether its mean is over all runs: what failed may be what was hit hardest."""
        return not self.failed and not math.isnan(self.accuracy)

    @property
    def text(self) -> str:
        """In percent."""
        return self._mean if self.holds else "failed"

    @property
    def _mean(self) -> str:
        mean, half = in_percent(self.accuracy, self.interval)
        return f"{mean} ± {half}" if half else mean

    @property
    def marks(self) -> list[str]:
        """What to know before the number is believed."""
        marks = []
        if self.failed:
            others = f", others {self._mean}" if self.finished else ""
            marks.append(f"{self.failed} of {self.runs}{others}")
        if not math.isnan(self.success):
            rate, half = in_percent(self.success, self.success_interval)
            marks.append(f"success {rate} ± {half} %" if half else f"success {rate} %")
        if self.diverged:
            marks.append(f"{self.diverged} diverged")
        if 0 < self.finished < FEW_SEEDS:
            marks.append(f"{self.finished} seed{'s' if self.finished > 1 else ''}")
        return marks

    @property
    def rank(self) -> float:
        """By which cells sort: one with a failed run is worse than any accuracy."""
        return self.accuracy if self.holds else -1.0


@dataclass(frozen=True, eq=False)
class Row:
    """A setting at one f."""

    number: int
    setting: dict[str, Any]
    """The values of the fields that tell settings apart."""
    byzantine: int
    clean: Cell | None
    """Without Byzantine workers; None where that was not run."""
    attacked: dict[str, Cell]
    worst: Cell | None
    breakdown: float
    """Of the setting, over all f; NaN where it was not attacked, or clean runs lack or failed."""
    most_tried: float
    """The largest f / n of the setting."""
    runs: pd.DataFrame
    """All that its cells count, as the store has them."""
    tuned: bool
    """Whether the store has runs by which it may have been tuned."""

    @cached_property
    def epsilon(self) -> float:
        """The largest of its runs; infinite where one says nothing."""
        return float(self.runs["epsilon"].fillna(math.inf).max())

    @property
    def epsilon_text(self) -> str:
        """To three digits, rounded up."""
        return rounded_up(self.epsilon, 3)

    @cached_property
    def is_estimate(self) -> bool:
        """Whether epsilon may be more than what is shown."""
        return math.isfinite(self.epsilon) and not self.runs["is_upper_bound"].all()

    @cached_property
    def scaled_by_data(self) -> bool:
        """Whether a finite epsilon leaves out what scaling measured."""
        return math.isfinite(self.epsilon) and bool(is_scaled(self.runs["dataset"]).any())

    @cached_property
    def why_not_private(self) -> str:
        """The reason of an infinite epsilon."""
        reasons = self.runs["not_private"].dropna().unique()
        return " or ".join(reasons) or "a run of it ended without a guarantee"

    @property
    def gap(self) -> float:
        """Clean less worst accuracy; NaN where one of them is not known."""
        if self.clean is None or self.worst is None or not (self.clean.holds and self.worst.holds):
            return math.nan
        return self.clean.accuracy - self.worst.accuracy

    @property
    def breakdown_text(self) -> str:
        """A bound where nothing that was tried broke the setting."""
        return breakdown_text(self.breakdown, self.most_tried)

    @property
    def cells(self) -> list[Cell]:
        """The clean one first."""
        return [cell for cell in (self.clean, *self.attacked.values()) if cell is not None]

    @property
    def method(self) -> str:
        """The server's rule."""
        return str(self.setting["aggregator"])

    @property
    def others(self) -> str:
        """What but method, b and f tells the setting from others."""
        parts = [f"heterogeneity {number(self.setting['heterogeneity'])}"]
        return ", ".join(parts + self._more)

    @property
    def rest(self) -> str:
        """What but method, heterogeneity and f does."""
        return ", ".join([f"b = {number(self.setting['noise_scale'])}", *self._more])

    @property
    def _more(self) -> list[str]:
        return [
            f"{header(field)} {number(value)}"
            for field, value in self.setting.items()
            if field not in ALWAYS_ROWS  # which are said in words of their own
        ]

    @property
    def name(self) -> str:
        """In words."""
        setting = f"{self.method}, b = {number(self.setting['noise_scale'])}, {self.others}"
        return f"{setting}, f = {self.byzantine}"

    @property
    def words(self) -> str:
        """What a search finds it by."""
        marks = [mark for cell in self.cells for mark in cell.marks]
        private = self.why_not_private if math.isinf(self.epsilon) else ""
        estimate = "estimate" if self.is_estimate else ""
        words = [self.name, *self.attacked, private, estimate, *dict.fromkeys(marks)]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, eq=False)
class Rows:
    """All of a table."""

    fields: list[str]
    attacks: list[str]
    rows: list[Row]

    @property
    def worst_first(self) -> list[Row]:
        """Those that have a worst case, failed ones before the least accurate."""
        found = [row for row in self.rows if row.worst is not None]
        return sorted(found, key=lambda row: row.worst.rank if row.worst else 0)


def rows_of(runs: pd.DataFrame, tuning: pd.DataFrame) -> Rows:
    """Make the rows of these runs.

    Args:
        runs: a row a run, as from `Store.runs`; at least one.
        tuning: runs on the validation split, by which a setting may have been chosen.

    """
    runs = runs.assign(accuracy=pd.to_numeric(runs["accuracy"]).astype(float))
    fields = row_fields(runs)
    members = without_gaps(runs).groupby([*fields, "byzantine"], sort=False).indices
    summary = summarise(runs)
    cells, breakdown, tried = _cells(summary), breakdown_point(runs), most_tried(summary)
    under_attack = {at[:-1] for at in cells if at[-1]}
    rows: list[Row] = []
    for at in sorted(cells, key=_order(cells)):
        setting, byzantine = at[:-1], at[-1]
        if not byzantine and setting in under_attack:
            continue  # it stands in the column `clean` of the others
        clean = cells.get((*setting, 0), {})
        places = [*members.get((*setting, 0), ()), *(members[at] if byzantine else ())]
        attacked = cells[at] if byzantine else {}
        of_row = runs.iloc[places]
        rows.append(
            Row(
                number=len(rows) + 1,
                setting=dict(zip(fields, setting, strict=True)),
                byzantine=int(byzantine),
                clean=clean.get(""),
                attacked=attacked,
                worst=min(attacked.values(), key=lambda cell: cell.rank, default=None),
                breakdown=float(breakdown.get(setting, math.nan)),
                most_tried=float(tried[setting]),
                runs=of_row,
                tuned=_may_be_tuned(of_row, tuning),
            )
        )
    return Rows(fields, sorted({name for row in rows for name in row.attacked}), rows)


def _cells(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Cell]]:
    """Return the cells by setting and f, then by attack."""
    cells: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for at, values in zip(summary.index, summary.to_dict("records"), strict=True):
        if at[-1] == WORST:
            continue
        cells.setdefault(at[:-1], {})[at[-1]] = Cell(
            attack=at[-1],
            accuracy=float(values["accuracy"]),
            interval=float(values["interval"]),
            success=float(values["attack_success_rate"]),
            success_interval=float(values["attack_success_interval"]),
            runs=int(values["seeds"]),
            diverged=int(values["diverged"]),
            failed=int(values["failed"]),
        )
    return cells


def _order(places: Iterable[tuple[Any, ...]]) -> Callable[[tuple[Any, ...]], list[Any]]:
    """Sort numbers by size, then words as they first appear."""
    words: dict[str, int] = {}
    for value in (value for at in places for value in at):
        if isinstance(value, str):
            words.setdefault(value, len(words))
    return lambda at: [
        (1, words[value]) if isinstance(value, str) else (0, float(value)) for value in at
    ]


def _may_be_tuned(runs: pd.DataFrame, tuning: pd.DataFrame) -> bool:
    """Tell whether its method was tried on the validation split of its data, uncounted."""
    if runs["repeats"].notna().all():
        return False
    tuning = tuning[tuning["repeats"].isna()]
    tried = set(zip(tuning["dataset"], tuning["aggregator"], strict=True))
    return not tried.isdisjoint(zip(runs["dataset"], runs["aggregator"], strict=True))
