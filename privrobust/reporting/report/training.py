"""How training went: accuracy step by step, a line an attack."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from privrobust.reporting.report.chart import (
    Chart,
    Look,
    Sign,
    choice,
    faded,
    finished,
    highlight,
    hue,
    in_words,
    legend_of,
    looks,
    percents,
    shape,
)
from privrobust.reporting.report.curves import CURVES, OTHERWISE, are_too_many, why_none
from privrobust.reporting.report.rows import Row, Rows
from privrobust.reporting.report.words import last_evaluations

_BAND = "The band of the one that is singled out is its 95 % Student interval over seeds."
_MOST_POINTS = 40  # of a line: more would hide it


def training_chart(rows: Rows, drawn: dict[str, Any], first: Row) -> Chart:
    """Draw the training curves of a row; the band of an attack shows when it is singled out.

    Args:
        rows: all of them.
        drawn: as from `curves`.
        first: the row that is shown at first.

    """
    title = "How training went: accuracy after so many steps"
    if lacks := why_none(rows, drawn):
        return Chart(CURVES, title, lacks=lacks, command=OTHERWISE if are_too_many(rows) else "")
    attacks = ["none", *rows.attacks]
    styles = looks(attacks)
    cells = [cell for row in rows.rows for cell in row.cells]
    intervals = legend_of(cells, "".join(cell.signs for cell in cells), _BAND)
    return Chart(
        CURVES,
        title,
        caption=f"A line an attack. {intervals}",
        by="attack",
        key=[Sign(name, look) for name, look in styles.items()],
        spec=_spec(rows, styles, first),
        readings=list(_readings(rows.rows)),
    )


def _spec(rows: Rows, styles: dict[str, Look], first: Row) -> dict[str, Any]:
    numbers = [row.number for row in rows.rows]
    labels = [f"{row.number}: {row.name}" for row in rows.rows]
    row = choice("row", "Setting", numbers, numbers.index(first.number), labels)
    last = alt.param(name="last_step", value=1)  # the page sets it, with the curves of a row
    base = alt.Chart(alt.NamedData(CURVES)).encode(
        x=alt.X(
            "step:Q",
            title="step",
            scale=alt.Scale(domain={"expr": "[0, last_step]"}, nice=False),
            axis=alt.Axis(grid=False, tickCount=6),
        ),
        color=hue("attack", styles),
    )
    bands = base.mark_area().encode(
        y=alt.Y("low:Q"),
        y2="high:Q",
        opacity=alt.condition("highlight === datum.attack", alt.value(0.25), alt.value(0)),
    )
    y = alt.Y("accuracy:Q", **percents())
    dashes = alt.Scale(domain=list(styles), range=[list(look.dash) for look in styles.values()])
    lines = base.mark_line().encode(
        y=y,
        strokeDash=alt.StrokeDash("attack:N", scale=dashes, legend=None),
        opacity=faded("attack"),
    )
    points = (
        base.transform_joinaggregate(points="count()", groupby=["attack"])
        .mark_point(filled=True, size=45)
        .encode(
            y=y,
            shape=shape("attack", styles),
            opacity=faded("attack", usual={"expr": f"datum.points > {_MOST_POINTS} ? 0 : 1"}),
            tooltip=[
                alt.Tooltip(field=field, type="nominal", title=title)
                for field, title in (
                    ("attack", "attack"), ("step", "step"), ("shown", "accuracy"),
                    ("seeds", "seeds"), ("runs", "runs"),
                )
            ],
        )
    )  # fmt: skip
    signs = (
        base.transform_joinaggregate(end="max(step)", groupby=["attack"])
        .transform_filter("datum.signs !== '' && datum.step === datum.end")
        .mark_text(align="right", dy=-10, fontSize=12)
        .encode(y=y, text="signs:N", color=alt.value("currentColor"), opacity=faded("attack"))
    )
    return finished(alt.layer(bands, lines, points, signs).add_params(row, last, highlight()))


def _readings(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Say for each row what its attacks left in the end, as the table has it."""
    for row in rows:
        told = [
            f"{f'under {cell.attack}' if cell.attack else 'without attackers'} "
            f"{in_words(cell)}{cell.signs}"
            for cell in row.cells
        ]
        last = last_evaluations(row.runs["final_evaluations"].tolist())
        when = f"mean over {last}" if last else "in the end"
        text = f"Row {row.number}, {when}: {', '.join(told)}."
        yield {"at": {"chosen_row": row.number}, "text": text}
