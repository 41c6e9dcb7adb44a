"""Where methods break down: accuracy by f, and by noise or data, whichever varies more."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from privrobust.core.formatting import number
from privrobust.reporting.report.chart import (
    FAILED,
    Chart,
    choice,
    columns,
    distinct,
    fewer_attacks,
    finished,
    in_words,
    legend_of,
    told,
    tooltips,
)
from privrobust.reporting.report.rows import UNKNOWN, Cell, Row, Rows

_NAME = "heatmap"
_NOT_RUN = "not run"
_FOR, _EPSILON = "for ", "epsilon "  # before the epsilon that chose several b
_TITLES = {"noise_scale": "noise scale b", "heterogeneity": "heterogeneity of the workers' data"}
_SCHEME: Any = "cividis"  # as in figures: its lightness rises with the value, for every eye
_LIGHT = 0.5  # the accuracy from which its colours want black letters
_PER_SIGN = 7.5  # pixels of a text's width
_HEIGHT = 56  # pixels of a square
_HALF = "± is half of a 95 % Student interval over seeds."
_HATCHED = "url(#hatching)"


def heatmap(rows: Rows, first: Row) -> Chart:
    """Draw accuracy under the worst attack: a square an f and b, or an f and heterogeneity.

    Args:
        rows: all of them.
        first: a row of the method and setting that are shown at first.

    """
    title = "Where methods break down: accuracy under the worst attack"
    if not any(row.attacked for row in rows.rows):
        return Chart(_NAME, title, lacks="Nothing was run under attack, so no method broke down.")
    values = {field: distinct(row.setting[field] for row in rows.rows) for field in _TITLES}
    across = max(values, key=lambda field: len(values[field]))  # noise where both have as many
    labels = _labels(sorted(values[across], key=_PLACES[across]))
    order = list(labels.values())
    squares = list(_squares(rows, across, labels))
    records = [record for record, _ in squares]
    cells = [cell for _, cell in squares]
    return Chart(
        _NAME,
        title,
        caption=f"Numbers are accuracies in %; f = 0 is without attackers. "
        f"{legend_of(cells, ''.join(record['signs'] for record in records), _HALF)}",
        hatched=" or ".join(_without_number(records, cells, len(order))),
        spec=_spec(records, across, order, first),
        data=columns(records),
        readings=list(_readings(squares)),
    )


def _without_number(
    records: Sequence[dict[str, Any]], cells: Sequence[Cell], across: int
) -> Iterator[str]:
    """Say why squares may have no number, where some have none."""
    sides = [len({record[field] for record in records}) for field in ("method", "rest", "f")]
    if len(records) < math.prod(sides) * across:
        yield _NOT_RUN
    if any(cell.failed for cell in cells):
        yield FAILED
    if any(not cell.failed and not cell.holds for cell in cells):
        yield UNKNOWN


def _by_privacy(b: Any) -> tuple[int, float]:
    """Sort as epsilon does: targets from the least, then scales from the largest."""
    return (0, float(b.removeprefix(_FOR))) if isinstance(b, str) else (1, -float(b))


def _by_size(value: Any) -> tuple[int, float]:
    """Sort numbers; words come last, and keep their order."""
    return (1, 0.0) if isinstance(value, str) else (0, float(value))


_PLACES = {"noise_scale": _by_privacy, "heterogeneity": _by_size}


def _labels(values: Sequence[Any]) -> dict[Any, str]:
    """Name values on the axis; targets are epsilons, and beside them other numbers are b."""
    texts = {value: number(value) for value in values}
    if not any(text.startswith(_FOR) for text in texts.values()):
        return texts
    return {
        value: text.replace(_FOR, _EPSILON) if text.startswith(_FOR) else f"b = {text}"
        for value, text in texts.items()
    }


def _rest(row: Row, across: str) -> str:
    """Tell a row's setting from others that have squares of the same method and place."""
    return row.others if across == "noise_scale" else row.rest


def _squares(
    rows: Rows, across: str, labels: dict[Any, str]
) -> Iterator[tuple[dict[str, Any], Cell]]:
    """Make a record a square, clean ones once, whatever the f of their rows."""
    seen = set()
    for row in rows.rows:
        rest = _rest(row, across)
        for f, cell in ((0, row.clean), (row.byzantine, row.worst)):
            at = (row.method, rest, row.setting[across], f)
            if cell is None or at in seen:
                continue
            seen.add(at)
            record = told(row, cell, fewer_attacks(row, rows) if f else "")
            place = row.noise if across == "noise_scale" else row.data
            short = cell.text.partition(" ")[0] + record["signs"]
            yield (
                record
                | {
                    "f": f,
                    "rest": rest,
                    "across": labels[row.setting[across]],
                    "label": cell.text + record["signs"],
                    "short": short,
                    "where": f"{place}, f = {f}, {record['attack']}",
                },
                cell,
            )


# --- the specification -----------------------------------------------------------------------


def _spec(
    records: Sequence[dict[str, Any]], across: str, order: Sequence[str], first: Row
) -> dict[str, Any]:
    methods = distinct(record["method"] for record in records)
    method = choice("method", "Method", methods, methods.index(first.method))
    rests = distinct(record["rest"] for record in records)
    rest = choice("rest", "Setting", rests, rests.index(_rest(first, across)))
    fs = sorted({record["f"] for record in records}, reverse=True)
    title = _TITLES[across]
    if across == "noise_scale" and any(value.startswith(_EPSILON) for value in order):
        title += ", or the epsilon that chose it"
    place: dict[str, Any] = {
        "x": alt.X(
            "across:O",
            title=title,
            scale=alt.Scale(domain=list(order)),
            axis=alt.Axis(labelAngle=0, labelOverlap="greedy", grid=False),
        ),
        "y": alt.Y(
            "f:O",
            title="Byzantine workers f",
            scale=alt.Scale(domain=fs),
            axis=alt.Axis(grid=False),
        ),
    }
    every = alt.Data(values=[{"across": value, "f": f} for value in order for f in fs])
    room = f"width / {len(order)} >= {_PER_SIGN} * "
    ground = alt.Chart(every).encode(**place)
    not_run = (
        ground.mark_rect(fill=_HATCHED),
        ground.mark_text(fontSize=12).encode(
            text=alt.condition(f"{room}{len(_NOT_RUN)}", alt.value(_NOT_RUN), alt.value(""))
        ),
    )
    base = (
        alt.Chart(alt.NamedData(_NAME))
        .transform_filter((alt.datum.method == method) & (alt.datum.rest == rest))
        .transform_calculate(whole="length(datum.label)", part="length(datum.short)")
        .transform_joinaggregate(wholes="max(whole)", parts="max(part)")  # all alike, or none
        .transform_calculate(
            text=f"{room}datum.wholes ? datum.label : {room}datum.parts ? datum.short : ''"
        )
        .encode(**place, tooltip=tooltips("attack"))
    )
    holding = base.transform_filter("isValid(datum.accuracy)")
    colour = alt.Color(
        "accuracy:Q",
        scale=alt.Scale(scheme=_SCHEME, domain=[0, 1]),
        legend=alt.Legend(
            title="accuracy in %", labelExpr="format(100 * datum.value, '.0f')", values=[0, 0.5, 1]
        ),
    )
    letters = alt.condition(f"datum.accuracy > {_LIGHT}", alt.value("black"), alt.value("white"))
    failed = base.transform_filter("!isValid(datum.accuracy)")
    layered = alt.layer(
        *not_run,
        failed.mark_rect(fill="var(--paper)"),
        failed.mark_rect(fill=_HATCHED),
        failed.mark_text(fontSize=12).encode(text="text:N"),
        holding.mark_rect(stroke="var(--paper)").encode(color=colour),
        holding.mark_text(fontSize=13).encode(text="text:N", color=letters),
    )
    return finished(layered.add_params(method, rest), height=_HEIGHT * max(3, len(fs)))


# --- in words --------------------------------------------------------------------------------


def _readings(squares: Sequence[tuple[dict[str, Any], Cell]]) -> Iterator[dict[str, Any]]:
    """Say for each choice what is least and most under attack, and how many cells failed."""
    for rest in distinct(record["rest"] for record, _ in squares):
        for method in distinct(record["method"] for record, _ in squares):
            at = {"chosen_method": method, "chosen_rest": rest}
            here = [
                (record, cell)
                for record, cell in squares
                if record["f"] and (record["method"], record["rest"]) == (method, rest)
            ]
            text = f"{method} with {rest}, under its worst attack: {_extremes(here)}."
            yield {"at": at, "text": text}


def _extremes(squares: Sequence[tuple[dict[str, Any], Cell]]) -> str:
    if not squares:
        return _NOT_RUN
    found = sorted((each for each in squares if each[1].holds), key=lambda each: each[1].accuracy)
    ends = distinct(
        f"{in_words(cell)} ({record['where']})" for record, cell in found[:1] + found[-1:]
    )
    failed = len(squares) - len(found)
    without = FAILED if all(cell.failed or cell.holds for _, cell in squares) else f"with {UNKNOWN}"
    none = [f"{failed} of {len(squares)} cells {without}"] if failed else []
    return "; ".join(filter(None, [" to ".join(ends), *none]))
