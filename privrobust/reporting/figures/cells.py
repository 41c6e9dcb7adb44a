"""From runs to what figures draw: means over seeds, and what names a line, a panel and a note."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import pandas as pd

from privrobust.core.escaping import in_figure
from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.legend import DIVERGED, FEW, FEW_SEEDS, deltas, secrets, vouchers
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.schemes import charged_for
from privrobust.reporting.summary import WORST, summarise, without_gaps
from privrobust.reporting.tables.choice import tested
from privrobust.reporting.tuning import about_tuning
from privrobust.spec.run_fields import SETTINGS, symbol

_WITHIN = {"byzantine", "attack", "heterogeneity", "aggregator"}


def drawable(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the runs that a figure shows: those on test data, or all where there are none.

    A run without any evaluation counts as failed.

    Raises:
        SpecError: there are none, or none with a result.

    """
    if runs.empty:
        raise SpecError(f"{kind}: no runs to draw")
    failure = runs["failure"].astype(object)
    accuracy = pd.to_numeric(runs["accuracy"], errors="coerce").astype(float).mask(failure.notna())
    failure = failure.mask(failure.isna() & accuracy.isna(), "it ended before an evaluation")
    runs = runs.assign(
        accuracy=accuracy,
        failure=failure.where(failure.notna(), None),
        attack=runs["attack"].astype(object),
    )
    if accuracy.isna().all():
        reason = next(iter(failure))
        raise SpecError(f"{kind}: nothing to draw: all {len(runs)} runs failed ({reason})")
    return tested(runs)


def measured(runs: pd.DataFrame, axes: Collection[str] = ()) -> pd.DataFrame:
    """Make a row a setting, f and attack, "worst" among the attacks.

    Args:
        runs: as from `drawable`.
        axes: fields that the figure shows otherwise than by a line's name.

    Returns:
        The columns and the index levels of `summarise`, and `method`, what names a line;
        `heterogeneity` as text; `epsilon` the largest over f and attacks of the setting;
        `is_estimate`, whether that may be too small; `marks`, signs that go with the accuracy,
        which is NaN where runs failed.

    """
    summary = summarise(runs).drop(columns="workers")  # which may be a level, too
    fields = [str(field) for field in summary.index.names if field not in ("byzantine", "attack")]
    spent = summary["epsilon"].groupby(level=fields, sort=False).transform("max")
    cells = summary.assign(epsilon=spent).reset_index()
    cells["accuracy"] = cells["accuracy"].where(cells["failed"] == 0)
    cells["heterogeneity"] = cells["heterogeneity"].map(number)
    bounds = summary["is_upper_bound"].groupby(level=fields, sort=False).transform("min")
    cells["is_estimate"] = ~bounds.to_numpy(bool) & (cells["epsilon"] < math.inf).to_numpy()
    cells["marks"] = [_marks(cell) for cell in records(cells)]
    naming = [field for field in fields if field not in _WITHIN | set(axes)]
    return _with_method(cells, naming)


def _marks(cell: Any) -> str:
    """Mark that a run diverged, and that there are few."""
    few = FEW if cell.seeds - cell.failed < FEW_SEEDS else ""
    return (DIVERGED if cell.diverged else "") + few


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """Name runs as lines of training curves: `method` tells b, too.

    `heterogeneity` is text, as in `measured`, and `attack` empty where there is none.
    """
    fields = [str(field) for field in summarise(runs).index.names if field not in _WITHIN]
    target = pd.to_numeric(runs["target_epsilon"], errors="coerce")
    told = target.map(lambda epsilon: f"for ε={number(epsilon)}")
    b = runs["noise_scale"].astype(object).mask(target.notna(), told)
    share = runs["heterogeneity"].map(number)
    runs = runs.assign(
        noise_scale=b,
        heterogeneity=share.where(runs["partition"] == "similarity", runs["partition"]),
        attack=runs["attack"].fillna(""),
        workers=runs["honest"] + runs["byzantine"],
    )
    return _with_method(runs, [field for field in fields if field != "target_epsilon"])


def _with_method(cells: pd.DataFrame, fields: Iterable[str]) -> pd.DataFrame:
    """Name lines by their aggregator and by those fields that vary."""
    naming = [field for field in fields if cells[field].nunique(dropna=False) > 1]
    name = cache(partial(_method, naming))  # many cells are of one method
    told = cells[["aggregator", *naming]].itertuples(index=False, name=None)
    return cells.assign(method=pd.Series(map(name, told), index=cells.index, dtype=object))


def _method(naming: Sequence[str], told: tuple[Any, ...]) -> str:
    aggregator, *values = told
    parts = [
        f"{symbol(field)}={number(value)}" for field, value in zip(naming, values, strict=True)
    ]
    return in_figure(", ".join([str(aggregator), *parts]))


def in_panel(cells: pd.DataFrame, heterogeneity: str, f: int) -> pd.Series:
    """Tell which cells belong into the panel of this partition and f."""
    return (cells["heterogeneity"] == heterogeneity) & (cells["byzantine"] == f)


def runs_of(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs whose setting and f are among the cells, which are as from `measured`."""
    told = without_gaps(runs)
    told = told.assign(heterogeneity=told["heterogeneity"].map(number))
    fields = [field for field in SETTINGS if field in cells and field != "attack"]
    places = pd.MultiIndex.from_frame(told[fields])
    return runs[places.isin(pd.MultiIndex.from_frame(cells[fields]))]


def records(cells: pd.DataFrame) -> list[Any]:
    """Return the rows, with a field a column."""
    return list(cells.itertuples(index=False))


def at_worst(cells: pd.DataFrame) -> pd.DataFrame:
    """Keep the cells without attackers, and those of the worst attack at each f."""
    is_clean = (cells["attack"] == "") & (cells["byzantine"] == 0)
    return cells[is_clean | (cells["attack"] == WORST)]


def ordered(values: Iterable[Any]) -> list[Any]:
    """List the different values: numbers in order and first, then text as it comes."""
    different = list(dict.fromkeys(values))
    numbers = [value for value in different if _is_number(value)]
    return sorted(numbers, key=float) + [value for value in different if not _is_number(value)]


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def text_of_noise(value: Any) -> str:
    """Name a row of panels of one b; `summarise` names some by their target."""
    if isinstance(value, str):
        return f"b for ε = {value.removeprefix('for ')}"
    return f"b = {number(value)}"


def title_of_data(heterogeneity: str) -> str:
    """Name a panel of one partition."""
    if not _is_number(heterogeneity):
        return in_figure(heterogeneity)
    return "iid" if float(heterogeneity) == 0 else f"heterogeneity {heterogeneity}"


# --- notes -----------------------------------------------------------------------------------


def guarantee(runs: pd.DataFrame, every: pd.DataFrame) -> Iterator[str]:
    """Say which epsilon it is, and what it leaves out.

    Args:
        runs: that are drawn.
        every: run of the store, those of tuning among them.

    """
    finite = runs[runs["epsilon"] < math.inf]
    if len(finite):
        yield (
            f"ε: at δ = {deltas(finite)}, by {vouchers(finite)}; {all_in_short(finite)}, against "
            "whoever sees every message; the largest over honest workers. "
            + " ".join(_tuning(finite, every))
        )
        yield from charged_for(finite)
        yield from secrets(finite)
        yield from about_scaling(finite, "The")
    for reason in runs["not_private"].dropna().unique():
        yield f"Not private: {reason}."


def _tuning(finite: pd.DataFrame, every: pd.DataFrame) -> Iterator[str]:
    if finite["repeats"].notna().any():
        yield from map(in_figure, about_tuning(finite["repeats"]))
    elif "validation" in set(every["evaluate_on"]):
        yield "Settings were tuned on private data: what that spent is not counted."
    else:
        yield "Tuning on private data, if any, is not counted."


def about_attacks(cells: pd.DataFrame) -> Iterator[str]:
    """Say that some worst cases are over fewer attacks than others, and which over the fewest.

    Args:
        cells: as from `measured`, with every attack.

    """
    attacked = cells[~cells["attack"].isin(["", WORST])]
    places = attacked.groupby(["method", "noise_scale", "heterogeneity", "byzantine"], sort=False)
    faced: dict[Any, set[str]] = {at: set(part["attack"]) for at, part in places}
    every = set[str]().union(*faced.values())
    fewer = [at for at, attacks in faced.items() if len(attacks) < len(every)]
    if not fewer:
        return
    least = min(fewer, key=lambda at: len(faced[at]))
    method, _, heterogeneity, f = least
    yield (
        f"Not all were given the same attacks: {len(fewer)} of {len(faced)} worst cases are "
        f"over fewer than {', '.join(sorted(every))}; that of {method} at "
        f"{title_of_data(heterogeneity)}, f = {f} is over {', '.join(sorted(faced[least]))}."
    )


def about_seeds(runs: pd.DataFrame, cells: pd.DataFrame, shown: str | None) -> Iterator[str]:
    """Say how many seeds, and what is not as it seems; `shown` is what shows intervals, if any."""
    counts = cells["seeds"] - cells["failed"]
    few, most = int(counts[counts > 0].min()), int(counts.max())
    over = f"{few} to {most}" if few < most else f"{few}"
    data = " and ".join(runs["evaluate_on"].unique())
    interval = f"; {shown}: 95 % Student interval" if shown and most > 1 else ""
    alone = int((counts == 1).sum()) if interval else 0
    lonely = f", none for {alone} of {len(cells)} cells with a single seed" if alone else ""
    plural = "s" if most > 1 else ""
    yield f"Accuracy on {data} data, mean over {over} seed{plural}{interval}{lonely}."
    if cells["diverged"].any():
        yield f"{DIVERGED}: in some seed the model's outputs stopped being finite."
    if (counts < FEW_SEEDS).any():
        yield f"{FEW}: fewer than {FEW_SEEDS} seeds."
    failed = int((cells["failed"] > 0).sum())
    if failed:
        yield f"{failed} of {len(cells)} cells are not drawn: runs of theirs failed."
