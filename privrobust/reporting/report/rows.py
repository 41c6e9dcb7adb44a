"""The rows of the report's table: a setting and f, with a cell an attack."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from privrobust.core.formatting import in_percent, number, rounded_up
from privrobust.reporting.legend import (
    DIVERGED,
    FEW,
    FEW_SEEDS,
    NEAR_CHANCE,
    about_chance,
    breakdown_text,
    gap_text,
    most_tried,
)
from privrobust.reporting.metrics import METRICS, interval_of
from privrobust.reporting.robustness import breakdown, robustness
from privrobust.reporting.scaling import is_scaled
from privrobust.reporting.summary import (
    ALWAYS_ROWS,
    WORST,
    row_fields,
    summarise,
    without_gaps,
)
from privrobust.spec.run_fields import symbol

UNKNOWN = "no accuracy"
"""Of a cell where a run ended without a failure, and has none."""


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
    others: Mapping[str, tuple[float, float]]
    """Mean and half of the interval of other metrics than accuracy, NaN where there is none."""

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
        if self.holds:
            return self._mean
        return "failed" if self.failed else UNKNOWN

    @property
    def _mean(self) -> str:
        mean, half = in_percent(self.accuracy, self.interval)
        return f"{mean} ± {half}" if half else mean

    def score(self, metric: str) -> float:
        """Return how good it is: NaN where that is not known, or no metric to compare by."""
        how = METRICS[metric]
        if self.failed or not how.is_compared:
            return math.nan
        return float(how.score(self.value(metric)))

    def value(self, metric: str) -> float:
        """Return the mean of a metric over seeds."""
        return self.accuracy if metric == "accuracy" else self.others[metric][0]

    def text_of(self, metric: str) -> str:
        """Write another metric than accuracy; nothing where it is not known."""
        mean, half = self.others[metric]
        if self.failed or math.isnan(mean):
            return ""
        return " ± ".join(filter(None, METRICS[metric].text(mean, half)))

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
    def signs(self) -> str:
        """Those of tables: that a run diverged, and that there are few."""
        few = FEW if 0 < self.finished < FEW_SEEDS else ""
        return (DIVERGED if self.diverged else "") + few

    @property
    def finished_text(self) -> str:
        """How many of its runs finished, and what else to know of those."""
        marks = self.marks[1:] if self.failed else self.marks
        return ", ".join([f"{self.finished} of {self.runs} finished", *marks])

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
    gap: float
    """Clean less worst accuracy, seed by seed; NaN where one of them is not known."""
    gap_text: str
    """In percent, with its interval, marked where nothing was learnt."""
    breakdown: float
    """Of the setting, over all f: the largest f / n that surely holds, or of a single seed that
    held; NaN where it was not attacked, clean runs lack or failed, or nothing was learnt."""
    breakdown_text: str
    """What seeds decide of it."""
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

    @property
    def workers(self) -> list[int]:
        """How many there are of them, Byzantine ones included."""
        attacked = self.runs[self.runs["byzantine"] == self.byzantine]
        return sorted(set((attacked["honest"] + attacked["byzantine"]).tolist()))

    @cached_property
    def deltas(self) -> list[float]:
        """At which its epsilon holds; none where it is infinite."""
        if math.isinf(self.epsilon):
            return []
        return sorted(self.runs["delta"].unique().tolist())

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
    def cells(self) -> list[Cell]:
        """The clean one first."""
        return [cell for cell in (self.clean, *self.attacked.values()) if cell is not None]

    @property
    def method(self) -> str:
        """The server's rule."""
        return str(self.setting["aggregator"])

    @property
    def at(self) -> tuple[Any, ...]:
        """The values of its setting, as in a summary's index."""
        return tuple(self.setting.values())

    @property
    def block(self) -> list[Any]:
        """What it shares with rows that belong together: the first two fields, as in tables."""
        return list(self.setting.values())[:2]

    @property
    def others(self) -> str:
        """What but method, b and f tells the setting from others."""
        return ", ".join([self.data, *self._more])

    @property
    def data(self) -> str:
        """How alike the workers' data are."""
        value = self.setting["heterogeneity"]
        return value if isinstance(value, str) else f"heterogeneity {number(value)}"

    @property
    def rest(self) -> str:
        """What but method, heterogeneity and f does."""
        return ", ".join([self.noise, *self._more])

    @property
    def noise(self) -> str:
        """Its b, or the epsilon that chose one for each size of share."""
        b = number(self.setting["noise_scale"])
        return f"b for epsilon {b.removeprefix('for ')}" if b.startswith("for ") else f"b = {b}"

    @property
    def _more(self) -> list[str]:
        return [
            f"{symbol(field)} {number(value)}"
            for field, value in self.setting.items()
            if field not in ALWAYS_ROWS  # which are said in words of their own
        ]

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.method}, {self.noise}, {self.others}, f = {self.byzantine}"


@dataclass(frozen=True, eq=False)
class Rows:
    """All of a table."""

    fields: list[str]
    attacks: list[str]
    rows: list[Row]
    metrics: list[str]
    """Those beside accuracy that some run has."""
    about_chance: str
    """What is said of rows that may have learnt nothing; empty if there are none."""

    @cached_property
    def named_by(self) -> list[str]:
        """List the fields whose columns tell rows apart: the method, and what varies.

        Not b where epsilon, which has a column of its own, says the same.
        """
        varied = [field for field in self.fields if len(self.values(field)) > 1]
        left_out = {"aggregator"} | ({"noise_scale"} if self._is_chosen_by_epsilon else set())
        return ["aggregator", *(field for field in varied if field not in left_out)]

    @property
    def everywhere(self) -> list[str]:
        """List the fields that have one value, as they are told above the table."""
        alike = (field for field in self.fields if len(self.values(field)) == 1)
        return [field for field in alike if field not in self.named_by]

    @property
    def _is_chosen_by_epsilon(self) -> bool:
        """Whether every b that is not 0 was chosen for an epsilon, and that tells it."""
        pairs = {(row.setting["noise_scale"], row.epsilon_text) for row in self.rows}
        is_chosen = all(isinstance(b, str) or b == 0 for b, _ in pairs)
        return is_chosen and len({epsilon for _, epsilon in pairs}) == len(pairs)

    @cached_property
    def has_deltas(self) -> bool:
        """Whether epsilons of the table hold at more than one delta."""
        return len({delta for row in self.rows for delta in row.deltas}) > 1

    def values(self, field: str) -> list[Any]:
        """List the values of a field, each once."""
        return list(dict.fromkeys(row.setting[field] for row in self.rows))


_NO_GAP = {"gap": math.nan}


def rows_of(runs: pd.DataFrame, tuning: pd.DataFrame) -> Rows:
    """Make the rows of these runs.

    Args:
        runs: a row a run, as from `Store.runs`; at least one.
        tuning: runs on the validation split, by which a setting may have been chosen.

    """
    runs = runs.assign(accuracy=pd.to_numeric(runs["accuracy"]).astype(float))
    fields = row_fields(runs)
    members = without_gaps(runs).groupby([*fields, "byzantine"], sort=False).indices
    others = (name for name in METRICS if name != "accuracy")
    metrics = [name for name in others if METRICS[name].of(runs).notna().any()]
    summary = summarise(runs, ["accuracy", *metrics])
    cells, tried = _cells(summary, metrics), most_tried(summary)
    points = breakdown(runs).to_dict("index")
    gaps = robustness(runs).to_dict("index")
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
        worst = min(attacked.values(), key=lambda cell: cell.rank, default=None)
        gap = gaps[at] if worst is not None and worst.holds else _NO_GAP
        rows.append(
            Row(
                number=len(rows) + 1,
                setting=dict(zip(fields, setting, strict=True)),
                byzantine=int(byzantine),
                clean=clean.get(""),
                attacked=attacked,
                worst=worst,
                gap=gap["gap"],
                gap_text=gap_text(gap),
                breakdown=held(points[setting]),
                breakdown_text=breakdown_text(points[setting], tried[setting]),
                runs=of_row,
                tuned=_may_be_tuned(of_row, tuning),
            )
        )
    attacks = sorted({name for row in rows for name in row.attacked})
    is_near = any(NEAR_CHANCE in row.gap_text + row.breakdown_text for row in rows)
    return Rows(fields, attacks, rows, metrics, about_chance(summary) if is_near else "")


def held(found: Mapping[Hashable, Any]) -> float:
    """Return by what a breakdown point sorts: the lower of two that it lies between."""
    low = found["point"] if math.isnan(found["low"]) else found["low"]
    return math.nan if math.isnan(found["point"]) or found["near_chance"] else float(low)


def _cells(summary: pd.DataFrame, metrics: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Cell]]:
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
            others={
                name: (float(values[name]), float(values[interval_of(name)])) for name in metrics
            },
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
