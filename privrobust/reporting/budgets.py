"""Budgets side by side: what noise spends, or which noise meets a target, by every accountant."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import pandas as pd

from privrobust.accountants import Release, budget_table, noise_table
from privrobust.accountants.release import MOST_STEPS
from privrobust.accountants.sampling import IN_EPOCHS, steps_per_epoch
from privrobust.accountants.table import NOTE
from privrobust.core.displayed import Displayed, told
from privrobust.core.formatting import in_full, rounded_down, rounded_up
from privrobust.errors import SpecError
from privrobust.reporting.neighbours import neighbours
from privrobust.reporting.schemes import charged
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.reporting.tuning import about_tuning

HEADINGS = {
    "noise_scale": "b",
    "clip_norm": "C",
    "grad_norm_bound": "G",
    "batch_size": "B",
    "dataset_size": "n",
    "epochs": "epochs",
    "steps": "T",
    "repeats": "repeats",
    "delta": "delta",
    "target_epsilon": "target",
    "noise_multiplier": "sigma",
    "sampling_rate": "q",
}
"""Columns that are shown before those of the accountants."""
_UNSHOWN = ("worker_sampling_rate", "noise", "sampling", "unit", "message", "adjacency")
"""Columns that remarks, and q, tell in words; csv has them."""
SPENT = "Cells: the epsilon that one worker's release spends, against who sees every message."
_MEETS = "Cells: the noise scale b that meets the target epsilon."
_FEDERATION = {
    "noise_scale": "all: the federation of these sites, whose epsilon is the largest of theirs.",
    "target_epsilon": "all: the federation of these sites; the b with which every site meets it.",
}
_SIGNS = (
    "Messages are signs of freshly noised averages, not of momentum: sign charges for what they "
    "tell, the others for the averages."
)
_LAPLACE = "Laplace noise: b is its scale parameter, and gradients are bounded in the L1 norm."
_LOGISTIC = "Logistic noise: b is its scale parameter; its standard deviation is 1.814 b."
_EVERY_WORKER = "Every worker takes part in every step (q = 1), whatever its B and n."
ROUNDING = "Rounded so that nothing looks better than it is: sigma down, the rest up."
_ESTIMATE = "(estimate): may report less than is spent; the others are upper bounds."


@dataclass(frozen=True, repr=False)
class Budgets(Displayed):
    """What accountants say of every combination of settings.

    Attributes:
        table: a row a setting.
        federation: a row for all sites together, where there are several; with gaps (None) in
            columns in which they differ.
        neighbours: which they are, in words.
        remarks: these and all else that has to be read with the numbers, line by line.

    """

    table: pd.DataFrame
    federation: pd.DataFrame | None
    neighbours: str
    remarks: list[str]

    def __repr__(self) -> str:
        """Say in a line how many there are, and by whom."""
        count = len(self.table)
        return told(type(self).__name__, f"{count} setting{'s' * (count != 1)}", self.results)

    @property
    def settings(self) -> list[str]:
        """The columns that tell rows apart."""
        return [column for column in HEADINGS if column in self.table]

    @property
    def results(self) -> list[str]:
        """The columns of the accountants."""
        return _results(self.table)


def compute(settings: Mapping[str, list[Any]], goals: Mapping[str, Any]) -> Budgets:
    """Ask the accountants about every combination of settings.

    Args:
        settings: the fields of `Release`, each with its values; `epochs` may stand for `steps`.
            Several values of `sampling_rate`, else of `dataset_size`, are the sites of a
            federation.
        goals: what `budget_table` takes beside settings or, with `target_epsilon`, `noise_table`.

    Raises:
        SpecError: a setting, a goal or a number of epochs that is not accepted.

    """
    combinations = [
        dict(zip(settings, values, strict=True)) for values in product(*settings.values())
    ]
    # All are looked at before the first is computed, which may take a while.
    releases = [_release(setting) for setting in combinations]
    ask = noise_table if "target_epsilon" in goals else budget_table
    if "epochs" in settings:  # T follows from the rest of its row
        table = pd.concat(
            [
                ask(**_fields(setting), steps=release.steps, **goals).assign(
                    epochs=setting["epochs"]
                )
                for setting, release in zip(combinations, releases, strict=True)
            ],
            ignore_index=True,
        )
    else:
        table = ask(**settings, **goals)
    table["adjacency"] = releases[0].adjacency
    first = [column for column in HEADINGS if column in table]
    last = [column for column in _UNSHOWN if column in table]
    table = table[[*first, *last, *_results(table), NOTE]]
    several = (
        field for field in ("sampling_rate", "dataset_size") if len(settings.get(field, [])) > 1
    )
    sites = next(several, None)
    federation = None if sites is None else _federation(table, sites, settings)
    remarks = list(_remarks(table, releases[0], is_federation=sites is not None))
    return Budgets(table, federation, neighbours(releases[0]), remarks)


def _fields(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a setting that a `Release` has."""
    return {field: value for field, value in setting.items() if field != "epochs"}


def _release(setting: Mapping[str, Any]) -> Release:
    """Build the release of one setting, with the T that its epochs take."""
    # Stand-ins for what is yet to be found: b by calibration, T from the rest once it is checked.
    fields = {"noise_scale": 1.0, "steps": 1} | _fields(setting)
    release = Release(**fields)
    if "epochs" not in setting:
        return release
    return replace(release, steps=_steps(setting["epochs"], setting))


def _steps(epochs: float, setting: Mapping[str, Any]) -> int:
    """Return T of so many epochs: rounded up, so that no step is left out of the account."""
    if not (math.isfinite(epochs) and epochs > 0):
        raise SpecError(f"epochs: {epochs:g} is not a finite number above 0")
    steps = math.ceil(Fraction(repr(epochs)) / _share_of_an_epoch(setting))
    if steps > MOST_STEPS:
        raise SpecError(
            f"epochs: {epochs:g} make T too large; accepted: up to {MOST_STEPS:.3g} steps"
        )
    return steps


def _share_of_an_epoch(setting: Mapping[str, Any]) -> Fraction:
    """Return B / n, or what stands for it, exactly as the decimals were typed."""
    if setting["sampling"] == "full":
        return Fraction(1)
    if "sampling_rate" in setting:
        return Fraction(repr(setting["sampling_rate"]))
    for field in ("batch_size", "dataset_size"):
        if field not in setting:
            raise SpecError(f"{field}: --epochs needs it, as T = epochs n / B")
    size, total = setting["batch_size"], int(setting["dataset_size"])
    share = Fraction(repr(size)) / total
    if share > 1:
        raise SpecError(f"batch_size: {size:g} exceeds dataset_size, {total}")
    return Fraction(1, steps_per_epoch(size, total)) if setting["sampling"] in IN_EPOCHS else share


def _results(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column not in (*HEADINGS, *_UNSHOWN, NOTE)]


def _federation(table: pd.DataFrame, sites: str, settings: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a row for all sites together, for every combination of the other settings.

    Honest sites hold disjoint data, so what their federation spends is the most that any of them
    spends. A site whose value is missing leaves that unknown, unless another's is infinite.
    """
    results = _results(table)
    goals = [column for column in ("delta", "target_epsilon") if column in table]
    same = [field for field in settings if field not in (sites, "adjacency")] + goals
    rows = []
    for _, of_sites in table.groupby(same, sort=False, dropna=False):
        row = {
            column: of_sites[column].iloc[0] if of_sites[column].nunique() == 1 else None
            for column in table.columns
        }
        worst = {column: largest(of_sites[column]) for column in results}
        rows.append(row | worst | {sites: "all"})
    return pd.DataFrame(rows, columns=table.columns, dtype=object)


def largest(values: pd.Series) -> float:
    """Return the largest value; NaN where one is missing and none is infinite."""
    return math.inf if (values == math.inf).any() else float(values.max(skipna=False))


def _remarks(table: pd.DataFrame, release: Release, *, is_federation: bool) -> Iterator[str]:
    """Say what has to be read with the numbers."""
    goal = "target_epsilon" if "target_epsilon" in table else "noise_scale"
    yield _MEETS if goal == "target_epsilon" else SPENT
    if is_federation:
        yield _FEDERATION[goal]
    yield f"Neighbours: {neighbours(release)}."
    if release.unit == "worker" and release.sampling_rate == 1:
        yield _EVERY_WORKER
    yield from charged([release.sampling])
    if release.noise == "laplace":
        yield _LAPLACE
    if release.noise == "logistic":
        yield _LOGISTIC
    if release.message == "sign":
        yield _SIGNS
    yield ROUNDING
    yield from about_tuning(table.get("repeats", [None]))
    if any("(estimate)" in column for column in _results(table)):
        yield _ESTIMATE
    for note in dict.fromkeys(note for cell in table[NOTE] for note in cell.split("; ") if note):
        yield f"Note: {note}"


def laid_out(budgets: Budgets) -> Layout:
    """Make the table that people read: settings, then an accountant a column.

    A federation's rows stand in a block of their own, below those of its sites.
    """
    columns = [*budgets.settings, *budgets.results]
    blocks = [
        [
            [Entry(in_cell(column, value)) for column, value in zip(columns, row, strict=True)]
            for row in table[columns].itertuples(index=False)
        ]
        for table in (budgets.table, budgets.federation)
        if table is not None
    ]
    heads = [Column((HEADINGS[column],), is_text=True) for column in budgets.settings]
    heads += [Column((column,)) for column in budgets.results]
    return Layout(heads, blocks, budgets.remarks)


def in_cell(column: str, value: Any) -> str:
    """Write one cell: what was given as it is, what was computed with four digits."""
    if column == "repeats" and not isinstance(value, str):
        return "none"
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    if column == "noise_multiplier":
        return rounded_down(value, 4)
    is_given = column in HEADINGS and column != "sampling_rate"
    return in_full(value) if is_given else rounded_up(value, 4)
