"""From runs to what figures draw: means over seeds, and what names a line and a panel."""

import math
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd

from privrobust.core.escaping import in_figure
from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.figures.lettering import telling
from privrobust.reporting.legend import DIVERGED, FEW, FEW_SEEDS, FEWER_ATTACKS
from privrobust.reporting.metrics import METRICS, checked, interval_of
from privrobust.reporting.summary import WORST, summarise, without_gaps
from privrobust.reporting.tables.choice import tested
from privrobust.spec.run_fields import SETTINGS, symbol

_WITHIN = {"byzantine", "attack", "heterogeneity", "aggregator"}
_LONG, _LONGEST_RULE = 28, 48  # signs from which on a value, or a rule, is shortened in a name
_FOR = " for "  # a target, of b that is named by it
ESTIMATE = "~"


def drawable(runs: pd.DataFrame, kind: str, metric: str = "accuracy") -> pd.DataFrame:
    """Return the runs that a figure shows: those on test data, or all where there are none.

    A run without any evaluation counts as failed.

    Raises:
        SpecError: there are none, or none with a result; an unknown metric, or one that none has.

    """
    checked([metric])
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
    runs = tested(runs)
    if METRICS[metric].of(runs).isna().all():
        there = [name for name, each in METRICS.items() if each.of(runs).notna().any()]
        raise SpecError(
            f"metric: no run has {metric!r}; accepted: {', '.join(there) or 'none, of these runs'}"
        )
    return runs


def measured(
    runs: pd.DataFrame, axes: Collection[str] = (), metric: str = "accuracy"
) -> pd.DataFrame:
    """Make a row a setting, f and attack, "worst" among the attacks.

    Args:
        runs: as from `drawable`.
        axes: fields that the figure shows otherwise than by a line's name.
        metric: of `METRICS`, what is averaged and what the worst attack is the worst in.

    Returns:
        The columns and the index levels of `summarise`, and `mean`, that of the metric, NaN where
        runs failed; `interval`, half of its own; `method`, what names a line; `heterogeneity` as
        text; `epsilon` the largest over f and attacks of the setting; `is_estimate`, whether that
        may be too small; `marks`, signs that go with the mean.

    """
    summary = summarise(runs, [metric]).drop(columns="workers")  # which may be a level, too
    fields = [str(field) for field in summary.index.names if field not in ("byzantine", "attack")]
    spent = summary["epsilon"].groupby(level=fields, sort=False).transform("max")
    cells = summary.assign(epsilon=spent).reset_index()
    cells["mean"] = cells[metric].where(cells["failed"] == 0)
    cells["interval"] = cells[interval_of(metric)]
    cells["heterogeneity"] = cells["heterogeneity"].map(number)
    bounds = summary["is_upper_bound"].groupby(level=fields, sort=False).transform("min")
    cells["is_estimate"] = ~bounds.to_numpy(bool) & (cells["epsilon"] < math.inf).to_numpy()
    cells["marks"] = [_marks(cell) for cell in records(cells)]
    naming = [field for field in fields if field not in _WITHIN | set(axes)]
    return _with_method(cells, naming)


def _marks(cell: Any) -> str:
    """Mark that a run diverged, and that there are few."""
    few = FEW if 0 < cell.seeds - cell.failed < FEW_SEEDS else ""
    return (DIVERGED if cell.diverged else "") + few


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """Name runs as lines of training curves: `method` tells b, too.

    `heterogeneity` is text, as in `measured`, and `attack` empty where there is none.
    """
    fields = [str(field) for field in summarise(runs).index.names if field not in _WITHIN]
    target = pd.to_numeric(runs["target_epsilon"], errors="coerce")
    told = target.map(lambda epsilon: f"{_FOR}ε={number(epsilon)}")
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
    """Name lines by their aggregator and by those fields that vary.

    `method` has the name, with long values shortened, and `stands_for` what these are in full.
    """
    naming = [field for field in fields if cells[field].nunique(dropna=False) > 1]
    told = cells[["aggregator", *naming]].astype(object)
    texts = told.where(told.notna(), "none").map(number)
    short = {
        field: telling(texts[field].unique(), _LONGEST_RULE if field == "aggregator" else _LONG)
        for field in ["aggregator", *naming]
    }
    rows = list(texts.itertuples(index=False, name=None))
    names = {row: _method(row, short) for row in dict.fromkeys(rows)}  # many are of one method
    return cells.assign(
        method=pd.Series([names[row][0] for row in rows], index=cells.index, dtype=object),
        stands_for=pd.Series([names[row][1] for row in rows], index=cells.index, dtype=object),
    )


def _method(row: tuple[str, ...], short: dict[str, dict[str, str]]) -> tuple[str, str]:
    parts, full = [], []
    for (field, labels), text in zip(short.items(), row, strict=True):
        label = labels[text]
        if field == "aggregator":
            parts.append(label)
        else:
            parts.append(f"{symbol(field)}{'' if text.startswith(_FOR) else '='}{label}")
        if label != text:
            full.append(f"{label} is {text}")
    return in_figure(", ".join(parts)), "; ".join(full)


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
    """Keep the cells without attackers, and those of the worst attack at each f.

    The marks of a worst case say, too, if it is over fewer attacks than others.
    """
    is_clean = (cells["attack"] == "") & (cells["byzantine"] == 0)
    kept = cells[is_clean | (cells["attack"] == WORST)]
    faced = faced_by(cells)
    most = max(map(len, faced.values()), default=0)
    fewer = [
        FEWER_ATTACKS if cell.attack == WORST and len(faced[place_of(cell)]) < most else ""
        for cell in records(kept)
    ]
    marks = without_few(kept["marks"]) + pd.Series(fewer, index=kept.index, dtype=object)
    return kept.assign(marks=marks)


def without_few(marks: pd.Series) -> pd.Series:
    """Take the mark of few seeds away where all have it: small print says it once."""
    all_have = marks.str.contains(FEW).all()
    return marks.str.replace(FEW, "") if all_have else marks


def faced_by(cells: pd.DataFrame) -> dict[tuple[Any, ...], set[str]]:
    """Return which attacks each worst case is over."""
    faced: dict[tuple[Any, ...], set[str]] = {}
    for cell in records(cells[~cells["attack"].isin(["", WORST])]):
        faced.setdefault(place_of(cell), set()).add(cell.attack)
    return faced


def place_of(cell: Any) -> tuple[Any, ...]:
    """Return what tells one worst case, and the attacks it is over, from another."""
    return cell.method, cell.noise_scale, cell.heterogeneity, cell.byzantine


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
        return f"target ε = {value.removeprefix('for ')}"
    return f"b = {number(value)}"


def title_of_data(heterogeneity: str) -> str:
    """Name a panel of one partition."""
    if not _is_number(heterogeneity):
        return in_figure(heterogeneity)
    return f"heterogeneity {heterogeneity}"


def label_of(metric: str) -> str:
    """Name the axis of a metric."""
    return METRICS[metric].heading + (" in %" if METRICS[metric].is_share else "")


def marks_of(cell: Any) -> str:
    """Return the marks of a point, which stands at its epsilon."""
    return (ESTIMATE if cell.is_estimate else "") + str(cell.marks)
