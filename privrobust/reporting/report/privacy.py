"""What privacy costs: accuracy against epsilon, clean and under the worst attack."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import altair as alt

from privrobust.core.formatting import in_percent
from privrobust.reporting.contests import Budget, Data, Setting
from privrobust.reporting.paired import Values, estimate
from privrobust.reporting.report.chart import (
    DASHED,
    FAILED,
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
    legend_of,
    looks,
    percents,
    shape,
    told,
    tooltips,
)
from privrobust.reporting.report.epsilon_axis import EpsilonAxis
from privrobust.reporting.report.rows import UNKNOWN, Cell, Row, Rows

_NAME = "privacy"
_CLEAN, _WORST = "clean", "worst case"
_FAILED = -0.1  # the lower end of the strip of failed cells
_BARS = "Bars are 95 % Student intervals over seeds."
_MOST_BUDGETS = 4  # finite ones that a reading speaks of
_MOST_NAMES = 3  # of rules that may be as good
_UNDECIDED = "undecided"
_THIN, _THICK = 2, 4  # pixels
_Led = tuple[Budget, Sequence[Setting]]


def privacy_chart(rows: Rows, data: Sequence[Data], first: Row) -> Chart:
    """Draw accuracy against epsilon: a line a method, solid without attackers, dashed with.

    Args:
        rows: all of them.
        data: what competes, as from `privrobust.reporting.contests.contests`.
        first: the row whose f and setting are shown at first; the lines of its method lie on top.

    """
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
    for row, kind, cell in sorted(drawn, key=lambda each: each[0].method == first.method):
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
    lacking = dict.fromkeys(cell.text for cell in cells if not cell.holds)
    kinds = [_CLEAN, _WORST] if is_attacked else []
    intervals = legend_of(cells, "".join(record["signs"] for record in records), _BARS)
    readings = list(_readings(rows, data))
    is_undecided = any(_UNDECIDED in each["text"] for each in readings)
    notes = f" Thicker: {first.method}." if len(styles) > 1 else ""
    notes += " Undecided: differences seed by seed leave it open." * is_undecided
    return Chart(
        _NAME,
        title,
        caption=f"{intervals}{_strips(axis, lacking)}{notes}",
        by="method",
        key=[Sign(method, look._replace(dash=())) for method, look in styles.items()],
        signs=[Sign(kind, _look(kind), kind == _CLEAN) for kind in kinds],
        spec=_spec(rows, first, axis, styles, _FAILED if lacking else 0.0),
        data=columns(records),
        readings=readings,
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


def _strips(axis: EpsilonAxis, lacking: Collection[str]) -> str:
    """Say what stands off the axes: what is not private, and cells that failed or lack a number."""
    told = []
    if math.inf in axis.strips:
        told.append(" What is not private stands apart at the right, side by side.")
    if lacking:
        what = "a failed run" if lacking == {FAILED: None} else f"a failed run or {UNKNOWN}"
        told.append(f" Cells with {what} stand below 0 %, and lines break there.")
    return "".join(told)


# --- the specification -----------------------------------------------------------------------


def _spec(
    rows: Rows, first: Row, axis: EpsilonAxis, styles: dict[str, Look], below: float
) -> dict[str, Any]:
    fs = _fs(rows)
    settings = distinct(row.others for row in rows.rows)
    others = choice("others", "Setting", settings, settings.index(first.others))
    opens_at = fs.index(first.byzantine) if first.byzantine in fs else 0
    f = choice("f", "Byzantine workers f", fs, opens_at)
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
            strokeWidth=alt.condition(
                alt.datum.method == first.method, alt.value(_THICK), alt.value(_THIN)
            ),
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


def _readings(rows: Rows, data: Sequence[Data]) -> Iterator[dict[str, Any]]:
    """Say for each choice who may be the best at which epsilon, as findings tell it."""
    fs = _fs(rows)
    for others in distinct(row.others for row in rows.rows):
        at = {row.at for row in rows.rows if row.others == others}
        budgets = [
            replace(budget, settings=settings)
            for of in data
            for budget in of.budgets
            if (settings := [each for each in budget.settings if each.at in at])
        ]
        for f in fs:
            where = f"With {others} and f = {f}" if f else f"With {others}"
            chosen = {"chosen_f": f, "chosen_others": others}
            yield {"at": chosen, "text": f"{where}, {_best(budgets, f)}."}


def _best(budgets: Sequence[Budget], f: int) -> str:
    """Say who leads, what withstands first, and what that keeps, at a few of the budgets."""
    f = f if any(each.faced(f) for budget in budgets for each in budget.settings) else 0
    led = [(budget, found) for budget in budgets if (found := budget.ranked(f))]
    if not led:
        return "no method was run under all attacks without a failure"
    told = []
    for rules, alike in groupby(_few(led), key=lambda each: [found.rule for found in each[1]]):
        kept = [f"{_joined(found[0].left(f))} at epsilon {budget.name}" for budget, found in alike]
        told.append(f"{_who(rules)}, {', '.join(kept)}")
    return f"best {'under the worst attack' if f else 'without attackers'}: {'; '.join(told)}"


def _few(led: Sequence[_Led]) -> list[_Led]:
    """Choose the least, the largest and some finite epsilons between, and the last of all."""
    finite = [each for each in led if each[0].epsilon < math.inf]
    steps = min(_MOST_BUDGETS, len(finite)) - 1
    places = distinct(round(step * (len(finite) - 1) / max(1, steps)) for step in range(steps + 1))
    return [finite[place] for place in places] + [led[-1]] * (len(led) > len(finite))


def _who(rules: Sequence[str]) -> str:
    """Name the first, and those that may be better."""
    first, *others = rules
    if len(others) > _MOST_NAMES:
        others = [f"{len(others)} others"]
    return f"{first} ({_UNDECIDED} against {' and '.join(others)})" if others else first


def _joined(values: Values) -> str:
    found = estimate(values.values())
    return " ± ".join(filter(None, in_percent(found.mean, found.half))) + " %"
