"""Utility, privacy and robustness in one table: a row a setting, a column an attack.

`summarise` computes, `render` prints. Means are over seeds, with 95 % Student intervals.
"""

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from privrobust.rounding import rounded_up
from privrobust.spec import RunSpec

CONFIDENCE = 0.95
Row = tuple[Any, ...]
WORST = "worst"
_DIVERGED = "†"
_MARKS = "¹²³"
_MOST_FAILURES = 3

# Fields that tell no row from another: averaged over, spread over columns, or told by another.
_NOT_ROWS = {"seed", "attack", "byzantine", "partition"}
_ALWAYS_ROWS = ["heterogeneity", "aggregator", "noise_scale"]
_HEADERS = {"heterogeneity": "hetero-\ngeneity", "aggregator": "method", "noise_scale": "b"}


def row_fields(runs: pd.DataFrame) -> list[str]:
    """The fields that tell rows apart: the usual three, and every other that varies by itself.

    A field that those already decide (the learning rate of a method) makes no column. Where a
    sweep fixed `workers`, that stands for `honest`, which only makes room for `byzantine`.
    """
    rows = list(_ALWAYS_ROWS)
    runs = _without_gaps(runs)
    for field in RunSpec.model_fields:
        if field in _NOT_ROWS or field in rows:
            continue
        if field == "honest" and _fixes_workers(runs):
            field = "workers"
        if runs.groupby(rows)[field].nunique().max() > 1:
            rows.append(field)
    return rows


def _fixes_workers(runs: pd.DataFrame) -> bool:
    """Whether n was held while f varied, and not h."""
    return bool((runs["honest"] + runs["byzantine"]).nunique() < runs["honest"].nunique())


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over seeds.

    Args:
        runs: a row a run, as from `Store.runs`.

    Returns:
        Indexed by the fields that tell rows apart, `byzantine` and `attack`: empty where there is
        none, and "worst" for the attack that leaves the least mean accuracy. Columns: `accuracy`,
        the mean over seeds; `interval`, the half-width of its 95 % Student interval, NaN for a
        single seed; `epsilon`, the largest, and `not_private`, why it is infinite; `seeds`,
        `diverged` and `failed`, counts of runs; `kappa`, the largest empirical robustness
        coefficient; `workers`, n.

    """
    runs = _without_gaps(runs.assign(attack=runs["attack"].fillna("")))
    groups = runs.groupby([*row_fields(runs), "byzantine", "attack"], sort=False)
    accuracy = groups["accuracy"]
    seeds = accuracy.count()
    critical = stats.t.ppf((1 + CONFIDENCE) / 2, (seeds - 1).where(seeds > 1))
    summary = pd.DataFrame(
        {
            "accuracy": accuracy.mean(),
            "interval": critical * accuracy.std() / seeds.pow(0.5),
            "epsilon": groups["epsilon"].max(),
            "not_private": groups["not_private"].first(),
            "seeds": groups.size(),
            "diverged": groups["diverged"].sum(),
            "failed": groups["failure"].count(),
            "kappa": groups["kappa"].max(),
            "workers": groups["workers"].first(),
        }
    )
    worst = summary.loc[least_accurate(summary)].rename(lambda _: WORST, level="attack")
    return pd.concat([summary, worst])


def _without_gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """With "none" for the fields that a spec left out: pandas groups no missing values.

    A partition other than by similarity is named as the heterogeneity that it makes, and b as its
    target where one target took several b, as shares that differ in size do.
    """
    fields = runs[list(RunSpec.model_fields)].astype(object)
    fields["heterogeneity"] = fields["heterogeneity"].where(
        fields["partition"] == "similarity", fields["partition"]
    )
    fields["noise_scale"] = _noise(runs)
    workers = runs["honest"] + runs["byzantine"]
    return runs.assign(**fields.where(fields.notna(), "none"), workers=workers)


def _noise(runs: pd.DataFrame) -> pd.Series:
    """b, or the target that chose several for one setting."""
    target = pd.to_numeric(runs["target_epsilon"], errors="coerce")
    b = runs["noise_scale"].astype(object)
    if target.isna().all():
        return b
    alike = [
        field
        for field in RunSpec.model_fields
        if field not in _NOT_ROWS | {"noise_scale", "honest", "partition"}
    ]
    several = b.groupby([runs[field] for field in alike], dropna=False).transform("nunique") > 1
    return b.mask(several & target.notna(), target.map(lambda epsilon: f"for {epsilon:g}"))


def least_accurate(summary: pd.DataFrame) -> list[Row]:
    """Where the attack stands that leaves the least mean accuracy, or whose runs failed.

    One for every row and f of a summary.
    """
    attacked = summary[~summary.index.get_level_values("attack").isin(["", WORST])]
    accuracy = attacked["accuracy"].where(attacked["failed"] == 0, -math.inf)
    levels = [level for level in summary.index.names if level != "attack"]
    return list(accuracy.groupby(level=levels, sort=False).idxmin())


def render(runs: pd.DataFrame) -> Table:
    """The table of `summarise` for people, accuracies in percent; `legend` explains it."""
    summary = summarise(runs)
    rows = row_fields(runs)
    budgets = summary.groupby(level=rows, sort=False).agg(
        {"epsilon": "max", "not_private": "first"}
    )
    reasons = _reasons(runs)
    cells = summary.apply(_cell, axis=1).unstack(["byzantine", "attack"])
    present = summary.index.to_frame()[["byzantine", "attack"]].drop_duplicates()
    columns = sorted(
        present.itertuples(index=False, name=None), key=lambda at: (at[0], at[1] == WORST)
    )

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for field in rows:
        table.add_column(_HEADERS.get(field, field), vertical="bottom")
    table.add_column("epsilon", justify="right", vertical="bottom")
    for byzantine, attack in columns:
        header = "\n".join([f"f={byzantine}", *attack.split("_")]) if byzantine else "clean"
        table.add_column(header, justify="right")
    for _, section in groupby(_in_order(list(budgets.index)), key=lambda values: values[:2]):
        for values in section:
            budget = budgets.loc[values]
            epsilon = _epsilon(budget["epsilon"], budget["not_private"], reasons)
            accuracies = cells.loc[values].reindex(columns).fillna("")
            table.add_row(*(_number(value) for value in values), epsilon, *accuracies)
        table.add_section()
    return table


def _in_order(rows: list[Row]) -> list[Row]:
    """Sorted field by field, the values of a field in the order of their first appearance."""
    ranks = [
        {value: rank for rank, value in enumerate(dict.fromkeys(field))}
        for field in zip(*rows, strict=True)
    ]
    return sorted(
        rows, key=lambda row: [rank[value] for rank, value in zip(ranks, row, strict=True)]
    )


def legend(runs: pd.DataFrame) -> Iterator[str]:
    """What the numbers of `render` are, and which guarantee its epsilon is, line by line."""
    summary = summarise(runs)
    seeds = sorted({summary["seeds"].min(), summary["seeds"].max()})
    over = " to ".join(map(str, seeds))
    yield (
        f"Accuracy in % on {' and '.join(runs['evaluate_on'].unique())} data: mean over {over} "
        f"seed{'s' if seeds[-1] > 1 else ''}, ± half of its {CONFIDENCE:.0%} interval."
    )
    if _fixes_workers(runs):
        yield "f of all workers are Byzantine; epsilon is the largest over f."
    elif runs["byzantine"].any():
        yield "f Byzantine workers are added to the honest ones."
    if runs["byzantine"].any():
        yield "worst: the attack with the least mean."
    yield from _guarantee(runs)
    if runs["diverged"].any():
        yield f"{_DIVERGED} in some seed the model's outputs stopped being finite."
    ended = runs["steps_taken"][runs["steps_taken"] < runs["steps"]]
    if len(ended):
        yield f"max_epsilon ended {len(ended)} runs, after {ended.min()} to {ended.max()} steps."
    failures = runs["failure"].dropna().unique()
    yield from (f"failed: {failure}" for failure in failures[:_MOST_FAILURES])
    if len(failures) > _MOST_FAILURES:
        yield f"failed: {len(failures) - _MOST_FAILURES} more reasons, in the store"


def _guarantee(runs: pd.DataFrame) -> Iterator[str]:
    bounds = runs[["accountant_used", "is_upper_bound"]][runs["epsilon"] < math.inf]
    used = [
        f"{name} ({'upper bound' if bound else 'ESTIMATE, may be too small'})"
        for name, bound in bounds.drop_duplicates().itertuples(index=False)
    ]
    if used:
        deltas = ", ".join(f"{delta:g}" for delta in runs["delta"].unique())
        unit = " or ".join(runs["unit"].unique())
        yield f"epsilon: at delta = {deltas}, by {', '.join(used)}; one {unit} added or removed,"
        yield "against whoever sees every message of one run; the largest over honest workers."
        yield "Not counted: settings that were tuned on private data."
    for mark, reason in zip(_MARKS, _reasons(runs), strict=False):
        yield f"{mark} not private: {reason}."


def _reasons(runs: pd.DataFrame) -> list[str]:
    return list(runs["not_private"].dropna().unique())


def _cell(row: pd.Series) -> str:
    if row["failed"]:
        return "failed"
    mark = _DIVERGED if row["diverged"] else ""
    interval = "" if math.isnan(row["interval"]) else f"±{100 * row['interval']:.1f}"
    return f"{100 * row['accuracy']:.1f}{mark}{interval}"


def _epsilon(epsilon: float, reason: str | None, reasons: list[str]) -> str:
    """Three digits: what is printed is still an upper bound."""
    if isinstance(reason, str):
        return f"∞{_MARKS[reasons.index(reason)]}"
    return "∞" if math.isinf(epsilon) else rounded_up(epsilon, 3)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
