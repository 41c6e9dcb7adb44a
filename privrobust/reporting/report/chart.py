"""What the charts of the report share: their parts, their looks, and what pointing at them tells.

Colours of text and axes are `currentColor`, so that the page's style sheet decides them: one
drawing serves light, dark and paper. Marks have colours of middling lightness, and shapes and
dashes tell apart what colours may not. The page draws the key itself, as names wrap there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, NamedTuple

import altair as alt

from privrobust.core.formatting import number
from privrobust.reporting.legend import DIVERGED, FEW, FEW_SEEDS, FEWER_ATTACKS
from privrobust.reporting.report.rows import Cell, Row, Rows

ESTIMATE = "~"
FAILED = "failed"

_COLOURS = ("#3b87c8", "#d9602b", "#2a9277", "#a864b4", "#95791a", "#6b7684", "#c2557a", "#4d8f3a")
# Circle, square, triangle, diamond, cross and triangle: paths from -1 to 1, as Vega takes them.
_SHAPES = (
    "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z",
    "M-.85,-.85H.85V.85H-.85Z",
    "M0,-1L1,.8H-1Z",
    "M0,-1L1,0L0,1L-1,0Z",
    "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "M0,1L1,-.8H-1Z",
)
_DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2), (12, 3), (4, 2, 1, 2))
SOLID, DASHED = (1, 0), (5, 4)
_DIM = 0.08

Columns = dict[str, list[Any] | dict[str, list[Any]]]
"""A data set by column, smaller than a record a row; the page turns it around."""


class Look(NamedTuple):
    """What tells one line from another, each by itself."""

    colour: str
    shape: str
    dash: tuple[int, ...]


class Sign(NamedTuple):
    """An entry of a key."""

    name: str
    look: Look
    is_hollow: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure of the page, or a sentence why there is none."""

    name: str
    title: str
    caption: str = ""
    lacks: str = ""
    """Why nothing can be drawn; empty where something can."""
    command: str = ""
    """What draws it all the same; empty where nothing does."""
    by: str = ""
    """The field whose names can be singled out; empty where none can."""
    key: Sequence[Sign] = ()
    """Those names."""
    signs: Sequence[Sign] = ()
    """What else the key explains."""
    hatched: str = ""
    """What hatching means; empty where there is none."""
    spec: dict[str, Any] = field(default_factory=dict)
    data: Columns = field(default_factory=dict)
    readings: Sequence[dict[str, Any]] = ()
    """What is to be seen, in words: a `text` for each choice `at`, by names of parameters."""

    @property
    def payload(self) -> dict[str, Any]:
        """What the page draws it from."""
        return {
            "title": self.title,
            "by": self.by,
            "spec": self.spec,
            "data": self.data,
            "readings": self.readings,
        }


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for every name; two of 24 share none."""
    styles = zip(cycle(_COLOURS), cycle(_SHAPES), cycle(_DASHES), strict=False)
    return {name: Look(*style) for name, style in zip(names, styles, strict=False)}


# --- what is said of a cell ------------------------------------------------------------------


def told(row: Row, cell: Cell, fewer: str) -> dict[str, Any]:
    """Return what pointing at a cell tells, and the signs that stand beside its mark.

    Args:
        row: whose cell it is.
        cell: the cell.
        fewer: what to say if it is a worst case over fewer attacks than others, as from
            `fewer_attacks`.

    """
    return {
        "number": row.number,
        "method": row.method,
        "others": row.others,
        "f": row.byzantine,
        "attack": cell.attack or "none",
        "accuracy": cell.accuracy if cell.holds else None,  # lines break there
        "shown": in_words(cell),
        "runs": ", ".join(filter(None, [cell.finished_text, fewer])),
        "b": row.noise.removeprefix("b = ").removeprefix("b "),
        "C": _clip_norm(row),
        "epsilon": epsilon_told(row),
        "signs": signs_of(row, cell, fewer),
    }


def in_words(cell: Cell) -> str:
    """Write an accuracy as the table does."""
    if cell.holds:
        return f"{cell.text} %"
    return " ".join([cell.text, *cell.marks[: bool(cell.failed)]])


def signs_of(row: Row, cell: Cell, fewer: str) -> str:
    """Return the signs that tables put beside such a number."""
    estimate = ESTIMATE if row.is_estimate else ""
    return estimate + (FEWER_ATTACKS if fewer else "") + cell.signs


def fewer_attacks(row: Row, rows: Rows) -> str:
    """Say that a worst case is over fewer attacks than others had; nothing if it is not."""
    if len(row.attacked) == len(rows.attacks):
        return ""
    return f"worst of {len(row.attacked)} of the {len(rows.attacks)} attacks"


def epsilon_told(row: Row) -> str:
    """Write a row's epsilon, and what it is not."""
    if row.epsilon_text == "∞":
        return f"∞, not private: {row.why_not_private}"
    estimate = ESTIMATE if row.is_estimate else ""
    kind = " (an estimate, may be too small)" if row.is_estimate else ""
    at = f" at delta = {', '.join(map(number, row.deltas))}"
    return f"{estimate}{row.epsilon_text}{at}{kind}{' + tuning' if row.tuned else ''}"


def _clip_norm(row: Row) -> str:
    values = row.runs["clip_norm"].dropna().unique()
    return ", ".join(number(float(value)) for value in values) or "none"


def tooltips(*first: str) -> list[alt.Tooltip]:
    """Make the lines that pointing shows, of a `told` cell and of further fields."""
    fields = [("method", "method"), *((name, name) for name in first)]
    fields += [("shown", "accuracy"), ("runs", "runs"), ("epsilon", "epsilon"), ("b", "b")]
    fields += [("C", "C"), ("f", "f"), ("others", "setting"), ("number", "row")]
    return [alt.Tooltip(field=name, type="nominal", title=title) for name, title in fields]


def legend_of(cells: Sequence[Cell], signs: str, intervals: str) -> str:
    """Say over how many seeds means are, what their intervals are, and what signs mean.

    Args:
        cells: that are drawn.
        signs: all that stand beside marks.
        intervals: a sentence that says what shows them.

    """
    counts = [cell.finished for cell in cells if cell.finished]
    if not counts:
        return "No run finished."
    over = " to ".join(map(str, sorted({min(counts), max(counts)})))
    parts = [f"Means over {over} seed{'' if over == '1' else 's'}."]
    if max(counts) > 1:
        parts.append(intervals)
    meanings = {
        ESTIMATE: "epsilon is an estimate, and may be too small",
        FEWER_ATTACKS: "fewer attacks were run than elsewhere",
        DIVERGED: "in some seed the model's outputs stopped being finite",
        FEW: f"fewer than {FEW_SEEDS} seeds",
    }
    parts += [f"{sign} {meaning}." for sign, meaning in meanings.items() if sign in signs]
    return " ".join(parts)


# --- parts of a specification ----------------------------------------------------------------


def choice(
    name: str, label: str, options: Sequence[Any], first: int = 0, labels: Sequence[str] = ()
) -> alt.Parameter:
    """Make a parameter `chosen_name` that a reader chooses, if there is a choice."""
    named: dict[str, Any] = {"labels": list(labels)} if labels else {}
    bind = alt.binding_select(options=list(options), name=label, **named)
    chosen: dict[str, Any] = {"bind": bind} if len(options) > 1 else {}
    return alt.param(name=f"chosen_{name}", value=options[first], **chosen)


def highlight() -> alt.Parameter:
    """Make the parameter that has the name that is singled out, empty if none is."""
    return alt.param(name="highlight", value="")


def faded(by: str, usual: Any = 1.0) -> Any:
    """Make the opacity of marks fall where another name is singled out."""
    is_shown = f"highlight === '' || highlight === datum.{by}"
    return alt.condition(is_shown, alt.value(usual), alt.value(_DIM))


def hue(by: str, styles: dict[str, Look]) -> alt.Color:
    """Colour marks by their names."""
    scale = alt.Scale(domain=list(styles), range=[look.colour for look in styles.values()])
    return alt.Color(f"{by}:N", scale=scale, legend=None)


def shape(by: str, styles: dict[str, Look]) -> alt.Shape:
    """Shape points by their names."""
    scale = alt.Scale(domain=list(styles), range=[look.shape for look in styles.values()])
    return alt.Shape(f"{by}:N", scale=scale, legend=None)


def percents(below: float = 0.0) -> dict[str, Any]:
    """Return scale and axis of accuracies; below 0, if wanted, lies a strip of failed cells."""
    values = [0, 0.2, 0.4, 0.6, 0.8, 1]
    label = "format(100 * datum.value, '.0f')"
    if below:
        values, label = [below / 2, *values], f"datum.value < 0 ? '{FAILED}' : {label}"
    return {
        "title": "accuracy in %",
        "scale": alt.Scale(domain=[below, 1], nice=False),
        "axis": alt.Axis(values=values, labelExpr=label),
    }


def distinct(values: Iterable[Any]) -> list[Any]:
    """List values once each, as they first appear."""
    return list(dict.fromkeys(values))


def columns(records: Sequence[dict[str, Any]]) -> Columns:
    """Turn records around; six digits of a float are enough to draw it."""
    return {name: _packed([record[name] for record in records]) for name in (records or [{}])[0]}


def _packed(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    """Write the texts of a column once each, with a place among them for every record."""
    if all(isinstance(value, str) for value in values):
        places = {text: place for place, text in enumerate(distinct(values))}
        return {"texts": list(places), "places": [places[text] for text in values]}
    return [float(f"{value:.6g}") if isinstance(value, float) else value for value in values]


def finished(chart: alt.LayerChart | alt.FacetChart, height: int = 320) -> dict[str, Any]:
    """Make a chart as wide as the page allows, in the page's own colours."""
    ink = "currentColor"
    font = "system-ui, sans-serif"
    styled = (
        chart.properties(width="container", height=height)
        .configure(background="transparent", font=font, aria=False)
        .configure_view(stroke=None)
        .configure_text(fill=ink)
        .configure_axis(
            labelColor=ink, titleColor=ink, domainColor=ink, tickColor=ink, gridColor=ink,
            gridOpacity=0.15, domainOpacity=0.5, tickOpacity=0.5, labelFontSize=12,
            titleFontSize=12, titleFontWeight="normal",
        )
        .configure_legend(
            labelColor=ink, titleColor=ink, orient="bottom", labelFontSize=12, titleFontSize=12,
            titleFontWeight="normal",
        )
    )  # fmt: skip
    spec: dict[str, Any] = styled.to_dict()
    return spec
