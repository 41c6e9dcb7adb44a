"""What privacy costs: accuracy against epsilon, clean and under the worst attack."""

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from privrobust.core.formatting import rounded_up
from privrobust.reporting.report.chart import (
    DASHED,
    ESTIMATE,
    SOLID,
    Chart,
    Look,
    Sign,
    choice,
    columns,
    distinct,
    faded,
    fewer_attacks,
    finished,
    highlight,
    hue,
    in_words,
    legend_of,
    looks,
    percents,
    shape,
    told,
    tooltips,
)
from privrobust.reporting.report.epsilon_axis import EpsilonAxis
from privrobust.reporting.report.rows import Cell, Row, Rows

_NAME = "privacy"
_CLEAN, _WORST = "clean", "worst case"
_FAILED = -0.1  # the lower end of the strip of failed cells
_BARS = "Bars are 95 % Student intervals over seeds."
_MOST_BUDGETS = 3  # that a reading speaks of


def privacy_chart(rows: Rows) -> Chart:
    """Draw accuracy against epsilon: a line a method, solid without attackers, dashed with."""
    drawn = list(_drawn(rows.rows))
    is_attacked = any(kind == _WORST for _, kind, _ in drawn)
    shown = "clean and under the worst attack" if is_attacked else "without attackers"
    title = f"Accuracy against epsilon, {shown}"
    if lacks := _lacks(drawn):
        return Chart(_NAME, title, lacks=lacks)
    styles = looks(distinct(row.method for row, _, _ in drawn))
    lanes = {method: lane for lane, method in enumerate(styles)}
    axis = EpsilonAxis([row.epsilon for row, _, _ in drawn], len(lanes))
    records = []
    for row, kind, cell in drawn:
        fewer = fewer_attacks(row, rows) if kind == _WORST else ""
        low, high = _ends(cell)
        records.append(
            {
                **told(row, cell, fewer),
                "kind": kind,
                "x": axis.place(row.epsilon, lanes[row.method]),
                "part": _part(row.epsilon),
                "y": cell.accuracy if cell.holds else _FAILED / 2,
                "low": low,
                "high": high,
            }
        )
    cells = [cell for _, _, cell in drawn]
    has_failed = not all(cell.holds for cell in cells)
    kinds = [_CLEAN, _WORST] if is_attacked else []
    intervals = legend_of(cells, "".join(record["signs"] for record in records), _BARS)
    return Chart(
        _NAME,
        title,
        caption=f"{intervals}{_strips(axis, has_failed)} A method may be as good as another where "
        "their intervals overlap.",
        by="method",
        key=[Sign(method, look._replace(dash=())) for method, look in styles.items()],
        signs=[Sign(kind, _look(kind), kind == _CLEAN) for kind in kinds],
        spec=_spec(rows, axis, styles, _FAILED if has_failed else 0.0),
        data=columns(records),
        readings=list(_readings(rows)),
    )


def _drawn(rows: Iterable[Row]) -> Iterator[tuple[Row, str, Cell]]:
    for row in rows:
        for kind, cell in ((_CLEAN, row.clean), (_WORST, row.worst)):
            if cell is not None:
                yield row, kind, cell


def _lacks(drawn: Sequence[tuple[Row, str, Cell]]) -> str:
    if not any(cell.holds for _, _, cell in drawn):
        return "No accuracy can be drawn: in every cell a run failed."
    if not any(0 < row.epsilon < math.inf for row, _, _ in drawn):
        reasons = " or ".join(distinct(row.why_not_private for row, _, _ in drawn))
        return f"No epsilon can be drawn: no run is private ({reasons})."
    return ""


def _ends(cell: Cell) -> tuple[float | None, float | None]:
    """Return the ends of an interval within [0, 1]; none where there is no interval."""
    if not cell.holds or math.isnan(cell.interval):
        return None, None
    return max(0.0, cell.accuracy - cell.interval), min(1.0, cell.accuracy + cell.interval)


def _part(epsilon: float) -> str:
    """Name what lines connect: nothing that has no place on a logarithmic axis."""
    return "private" if 0 < epsilon < math.inf else f"{epsilon}"


def _look(kind: str) -> Look:
    return looks([kind])[kind]._replace(
        colour="currentColor", dash=SOLID if kind == _CLEAN else DASHED
    )


def _strips(axis: EpsilonAxis, has_failed: bool) -> str:
    told = []
    if math.inf in axis.strips:
        told.append(" What is not private stands apart at the right, side by side.")
    if has_failed:
        told.append(" Cells with a failed run stand below 0 %, and lines break there.")
    return "".join(told)


# --- the specification -----------------------------------------------------------------------


def _spec(rows: Rows, axis: EpsilonAxis, styles: dict[str, Look], below: float) -> dict[str, Any]:
    fs = _fs(rows)
    settings = distinct(row.others for row in rows.rows)
    others = choice("others", "Setting", settings)
    of_first = [row for row in rows.rows if row.others == settings[0]]
    telling = max(fs, key=lambda f: (_spread(of_first, f), f))
    f = choice("f", "Byzantine workers f", fs, fs.index(telling))
    x = axis.encoding()
    y = alt.Y("y:Q", **percents(below))
    base = alt.Chart(alt.NamedData(_NAME)).encode(x=x, color=hue("method", styles))
    kinds = alt.Scale(domain=[_CLEAN, _WORST], range=[list(SOLID), list(DASHED)])
    lines = (
        base.transform_filter("datum.part === 'private'")
        .mark_line()
        .encode(
            y=alt.Y("accuracy:Q"),
            strokeDash=alt.StrokeDash("kind:N", scale=kinds, legend=None),
            opacity=faded("method"),
        )
    )
    bars = base.mark_rule().encode(
        y=alt.Y("low:Q"), y2="high:Q", opacity=faded("method", usual=0.5)
    )
    points = base.mark_point(size=70, strokeWidth=1.5, filled=False).encode(
        y=y,
        shape=shape("method", styles),
        fill=alt.condition(
            f"datum.kind === '{_WORST}'", hue("method", styles), alt.value("var(--paper)")
        ),
        opacity=faded("method"),
        tooltip=tooltips("kind", "attack"),
    )
    signs = (
        base.transform_filter("datum.signs !== ''")
        .mark_text(align="left", dx=6, dy=-6, fontSize=12)
        .encode(y=y, text="signs:N", color=alt.value("currentColor"), opacity=faded("method"))
    )
    chosen = (alt.datum.f == f) | (alt.datum.f == 0)
    of_cells = alt.layer(lines, bars, points, signs).transform_filter(
        chosen & (alt.datum.others == others)
    )
    return finished(
        alt.layer(*_shades(axis, x, below), of_cells).add_params(f, others, highlight())
    )


def _fs(rows: Rows) -> list[int]:
    """List the numbers of attackers; 0 where there are none at all."""
    return sorted({row.byzantine for row in rows.rows if row.attacked}) or [0]


def _spread(rows: Iterable[Row], f: int) -> float:
    """Tell how far apart methods' worst cases are, in the mean over what is private."""
    reached: dict[str, list[float]] = {}
    for row in rows:
        if row.byzantine == f and row.worst and row.worst.holds and row.epsilon < math.inf:
            reached.setdefault(row.method, []).append(row.worst.accuracy)
    means = [fmean(accuracies) for accuracies in reached.values()]
    return max(means, default=0.0) - min(means, default=0.0)


def _shades(axis: EpsilonAxis, x: alt.X, below: float) -> list[alt.Chart]:
    """Shade what lies off the axes."""
    shades = []
    if axis.strips:
        across = alt.Chart(alt.Data(values=axis.shades())).mark_rect(**_SHADE)
        shades.append(across.encode(x=x, x2="x2", y=alt.value(0), y2=alt.value("height")))
    if below:
        along = alt.Chart(alt.Data(values=[{"low": below, "high": 0}])).mark_rect(**_SHADE)
        shades.append(along.encode(y=alt.Y("low:Q"), y2="high"))
    return shades


_SHADE: Any = {"fill": "currentColor", "opacity": 0.07}


# --- in words --------------------------------------------------------------------------------


def _readings(rows: Rows) -> Iterator[dict[str, Any]]:
    """Say for each choice which method keeps most, and at which epsilon."""
    fs = _fs(rows)
    for others in distinct(row.others for row in rows.rows):
        of_setting = [row for row in rows.rows if row.others == others]
        for f in fs:
            here = [row for row in of_setting if row.byzantine == f]
            here = here or [row for row in of_setting if not row.byzantine]
            where = f"With {others} and f = {f}" if f else f"With {others}"
            at = {"chosen_f": f, "chosen_others": others}
            yield {"at": at, "text": f"{where}, {_most(here, rows)}."}


def _most(here: Sequence[Row], rows: Rows) -> str:
    """Say what the best method reaches; as in tables, none is that was given fewer attacks."""
    if not here:
        return "nothing was run"
    is_attacked = any(row.worst for row in here)
    scored = [
        (row, cell)
        for row in here
        if (cell := row.worst if is_attacked else row.clean) is not None
        and cell.holds
        and not (is_attacked and fewer_attacks(row, rows))
    ]
    if not scored:
        return "no method was run under all attacks without a failure"
    won: dict[str, list[str]] = {}
    seen = set()
    for budget in _budgets(row.epsilon for row, _ in scored):
        within = [(row, cell) for row, cell in scored if row.epsilon <= budget]
        row, cell = max(within, key=_accuracy)
        if row.number not in seen:
            seen.add(row.number)
            told = f"{in_words(cell)} {_place(row)}{_level(row, cell, within)}"
            won.setdefault(row.method, []).append(told)
    attack = "under its worst attack" if is_attacked else "without attackers"
    told = "; ".join(f"{method}, {', '.join(places)}" for method, places in won.items())
    return f"the most that a method reaches {attack}: {told}"


def _accuracy(scored: tuple[Row, Cell]) -> float:
    return scored[1].accuracy


def _place(row: Row) -> str:
    if math.isinf(row.epsilon):
        return "without privacy"
    return f"at epsilon {ESTIMATE if row.is_estimate else ''}{row.epsilon_text}"


def _budgets(epsilons: Iterable[float]) -> list[float]:
    """Choose the least, the largest and a middle epsilon, and infinity."""
    every = sorted(set(epsilons))
    finite = list({rounded_up(value, 3): value for value in every if value < math.inf}.values())
    steps = min(_MOST_BUDGETS, len(finite)) - 1
    places = distinct(round(step * (len(finite) - 1) / max(1, steps)) for step in range(steps + 1))
    return [finite[place] for place in places if finite] + [
        value for value in every if value == math.inf
    ]


def _level(best: Row, its: Cell, among: Sequence[tuple[Row, Cell]]) -> str:
    """Say how many other methods' intervals reach into the best one's; nothing if none."""
    least = its.accuracy - its.interval
    level = {row.method for row, cell in among if not cell.accuracy + cell.interval < least}
    others = len(level - {best.method})
    return f" ({others} other{'s' if others > 1 else ''} may be as good)" if others else ""
