"""The figures of the report: Vega-Lite specifications that the page draws by itself.

Colours of text and axes are `currentColor`, so that the page's style sheet decides them: one
drawing serves light, dark and paper. Marks have colours of middling lightness, and shapes and
dashes tell apart what colours may not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from privrobust.core.formatting import in_percent, number
from privrobust.reporting.report.curves import CURVES
from privrobust.reporting.report.rows import Cell, Row, Rows

_COLOURS = ["#3b87c8", "#d9602b", "#2a9277", "#a864b4", "#95791a", "#6b7684", "#c2557a", "#4d8f3a"]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [12, 3], [4, 2, 1, 2]]
_PHONE = 280  # pixels beside an axis
_BEYOND = 4  # times the largest finite epsilon: where infinity stands

Columns = dict[str, list[Any]]
"""A data set as lists of one length, smaller than a record a row; the page turns it around."""


@dataclass(frozen=True)
class Chart:
    """A figure of the page."""

    name: str
    title: str
    caption: str
    description: str
    """For who cannot see it."""
    spec: dict[str, Any]
    data: Columns


def charts(rows: Rows, has_curves: bool) -> Iterator[Chart]:
    """Make all figures that these rows allow."""
    if any(cell.holds for row in rows.rows for cell in row.cells):
        yield _privacy(rows)
    if any(row.worst is not None for row in rows.rows):
        yield _heatmap(rows)
    if has_curves:
        yield _training(rows)


# --- accuracy against epsilon ----------------------------------------------------------------


def _privacy(rows: Rows) -> Chart:
    drawn = [
        (row, kind, cell)
        for row in rows.rows
        for kind, cell in (("clean", row.clean), ("worst case", row.worst))
        if cell is not None
    ]
    finite = [row.epsilon for row, _, _ in drawn if math.isfinite(row.epsilon)]
    infinity = _BEYOND * max(finite, default=1.0)
    records = [
        {
            **_told(row, cell),
            "kind": kind,
            "x": max(row.epsilon, 1e-6) if math.isfinite(row.epsilon) else infinity,
            "low": _within(cell.accuracy - cell.interval, cell),
            "high": _within(cell.accuracy + cell.interval, cell),
        }
        for row, kind, cell in drawn
    ]
    byzantine = _choice("f", "Byzantine workers f", [row.byzantine for row, _, _ in drawn], -1)
    others = _choice("others", "Setting", [row.others for row, _, _ in drawn])
    methods = list(dict.fromkeys(row.method for row, _, _ in drawn))
    x = alt.X(
        "x:Q",
        title="epsilon (less is more private)",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(
            labelExpr=f"datum.value > {0.9 * infinity} ? '∞' : format(datum.value, '.3~g')",
            values=_ticks(finite) + ([infinity] if len(finite) < len(drawn) else []),
            grid=False,
        ),
    )
    hue = alt.Color(
        "method:N",
        scale=alt.Scale(domain=methods, range=_COLOURS),
        legend=_legend("method", methods),
    )
    dash = alt.StrokeDash(
        "kind:N",
        scale=alt.Scale(domain=["clean", "worst case"], range=[[1, 0], [5, 4]]),
        legend=None,  # the caption tells
    )
    y = alt.Y("accuracy:Q", title="accuracy", axis=_percent(), scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(alt.NamedData("privacy")).encode(x=x, color=hue)
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    lines = base.mark_line().encode(y=y, strokeDash=dash)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y,
        shape=alt.Shape(
            "method:N",
            scale=alt.Scale(domain=methods, range=_SHAPES),
            legend=_legend("method", methods),
        ),
        tooltip=_tooltips("kind", "attack"),
    )
    layered = (
        alt.layer(lines, bars, points)
        .add_params(byzantine, others)
        .transform_filter((alt.datum.f == byzantine) & (alt.datum.others == others))
    )
    return Chart(
        "privacy",
        "What privacy costs",
        "Accuracy against epsilon, without attackers (solid) and under the worst attack (dashed). "
        "∞ is not private at all. Bars are 95 % intervals over seeds. A cell with a failed run has "
        "no mark, and its line breaks.",
        f"Lines of accuracy against epsilon for {', '.join(methods)}, clean and in the worst case. "
        "The table above has every number.",
        _finished(layered),
        _columns(records),
    )


def _ticks(finite: Sequence[float]) -> list[float]:
    """Return 1, 3, 10, ... around these, and the ends if they would be alone."""
    if not finite:
        return []
    low, high = math.floor(math.log10(max(min(finite), 1e-6))), math.ceil(math.log10(max(finite)))
    round_ones = [step * 10.0**power for power in range(low, high + 1) for step in (1, 3)]
    inside = [tick for tick in round_ones if min(finite) * 0.9 <= tick <= max(finite) * 1.1]
    return inside if len(inside) > 1 else sorted({min(finite), max(finite)})


def _within(value: float, cell: Cell) -> float | None:
    """Put an end of an interval into [0, 1]; the mean itself where there is no interval."""
    if not cell.holds:
        return None
    return cell.accuracy if math.isnan(value) else min(1.0, max(0.0, value))


# --- worst case, f by heterogeneity ----------------------------------------------------------


def _heatmap(rows: Rows) -> Chart:
    records = []
    seen = set()
    for row in rows.rows:
        clean_at = (row.method, row.rest, row.setting["heterogeneity"])
        if row.clean is not None and clean_at not in seen:
            seen.add(clean_at)
            records.append(_square(row, row.clean, 0))
        if row.worst is not None:
            records.append(_square(row, row.worst, row.byzantine))
    method = _choice("method", "Method", [row.method for row in rows.rows])
    rest = _choice("rest", "Noise and other settings", [row.rest for row in rows.rows])
    base = alt.Chart(alt.NamedData("heatmap")).encode(
        x=alt.X(
            "heterogeneity:O",
            title="heterogeneity of the workers' data",
            sort=_distinct(number(row.setting["heterogeneity"]) for row in rows.rows),
            axis=alt.Axis(labelAngle=0, grid=False),
        ),
        y=alt.Y(
            "f:O",
            title="Byzantine workers f",
            sort="descending",
            axis=alt.Axis(grid=False),
        ),
        tooltip=_tooltips("attack"),
    )
    squares = base.mark_rect().encode(
        color=alt.Color(
            "accuracy:Q",
            scale=alt.Scale(scheme="viridis", domain=[0, 1]),
            legend=alt.Legend(title="accuracy", format=".0%", values=[0, 0.5, 1]),
        )
    )
    numbers = base.mark_text(fontSize=14).encode(
        text="label:N",
        color=alt.condition("datum.accuracy > 0.6", alt.value("black"), alt.value("white")),
    )
    layered = (
        alt.layer(squares, numbers)
        .add_params(method, rest)
        .transform_filter((alt.datum.method == method) & (alt.datum.rest == rest))
    )
    return Chart(
        "heatmap",
        "Where methods break down",
        "Accuracy in % under the worst attack; f = 0 is without attackers. An empty square was "
        "not run.",
        "A heatmap of worst-case accuracy, f against heterogeneity, for a chosen method. The "
        "table above has every number.",
        _finished(layered),
        _columns(records),
    )


def _square(row: Row, cell: Cell, byzantine: int) -> dict[str, Any]:
    label = in_percent(cell.accuracy, cell.interval)[0] if cell.holds else "failed"
    accuracy = cell.accuracy if cell.holds else 0.0
    return {
        **_told(row, cell),
        "accuracy": accuracy,
        "f": byzantine,
        "rest": row.rest,
        "heterogeneity": number(row.setting["heterogeneity"]),
        "label": label,
    }


# --- training curves -------------------------------------------------------------------------


def _training(rows: Rows) -> Chart:
    attacks = ["none", *rows.attacks]
    base = alt.Chart(alt.NamedData(CURVES)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(grid=False, tickCount=6)),
        color=alt.Color(
            "attack:N",
            scale=alt.Scale(domain=attacks, range=_COLOURS),
            legend=_legend("attack", attacks),
        ),
    )
    bands = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q"), y2="high:Q")
    y = alt.Y("accuracy:Q", title="accuracy", axis=_percent(), scale=alt.Scale(domain=[0, 1]))
    lines = base.mark_line().encode(
        y=y,
        strokeDash=alt.StrokeDash(
            "attack:N",
            scale=alt.Scale(domain=attacks, range=_DASHES),
            legend=_legend("attack", attacks),
        ),
    )
    points = base.mark_point(filled=True, size=40, opacity=1).encode(
        y=y,
        shape=alt.Shape(
            "attack:N",
            scale=alt.Scale(domain=attacks, range=_SHAPES),
            legend=_legend("attack", attacks),
        ),
        tooltip=[
            alt.Tooltip("attack:N"),
            alt.Tooltip("step:Q"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            alt.Tooltip("low:Q", title="95 % from", format=".1%"),
            alt.Tooltip("high:Q", title="95 % to", format=".1%"),
            alt.Tooltip("seeds:Q"),
        ],
    )
    return Chart(
        CURVES,
        "How training went",
        "Accuracy after so many steps, the mean over seeds; the band is its 95 % interval.",
        "Lines of accuracy against training steps of the chosen setting, one an attack.",
        _finished(alt.layer(bands, lines, points)),
        {},
    )


# --- in common -------------------------------------------------------------------------------


def _told(row: Row, cell: Cell) -> dict[str, Any]:
    """Return what hovering tells of a cell."""
    return {
        "number": row.number,
        "method": row.method,
        "others": row.others,
        "f": row.byzantine,
        "attack": cell.attack or "none",
        "accuracy": cell.accuracy if cell.holds else None,  # lines break there
        "shown": f"{cell.text} %" if cell.holds else "failed",
        "runs": ", ".join([f"{cell.finished} of {cell.runs} finished", *cell.marks]),
        "b": number(row.setting["noise_scale"]),
        "C": _clip_norm(row),
        "epsilon": _epsilon(row),
    }


def _clip_norm(row: Row) -> str:
    values = row.runs["clip_norm"].dropna().unique()
    return ", ".join(number(float(value)) for value in values) or "none"


def _epsilon(row: Row) -> str:
    if math.isinf(row.epsilon):
        return f"∞, not private: {row.why_not_private}"
    estimate = " (estimate)" if row.is_estimate else ""
    return f"{row.epsilon_text}{estimate}"


def _tooltips(*first: str) -> list[alt.Tooltip]:
    fields = [("method", "method"), *((name, name) for name in first)]
    fields += [("shown", "accuracy"), ("runs", "runs"), ("epsilon", "epsilon"), ("b", "b")]
    fields += [("C", "C"), ("f", "f"), ("number", "row")]
    return [alt.Tooltip(field=field, type="nominal", title=title) for field, title in fields]


def _choice(name: str, label: str, values: Sequence[Any], first: int = 0) -> alt.Parameter:
    options = _distinct(values)
    if all(isinstance(value, int) for value in options):
        options.sort()
    bound = alt.binding_select(options=options, name=f"{label} ")
    return alt.param(name=f"chosen_{name}", value=options[first], bind=bound)


def _legend(title: str, names: Sequence[str]) -> alt.Legend:
    """Spread names over as many columns as a phone has room for."""
    longest = max(map(len, names)) * 7 + 30  # at 12 pixels, with the symbol
    return alt.Legend(title=title, columns=max(1, _PHONE // longest))


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))


def _percent() -> alt.Axis:
    return alt.Axis(format=".0%", tickCount=5)


def _columns(records: Sequence[dict[str, Any]]) -> Columns:
    """Turn records around; six digits of a float are enough to draw it."""
    return {
        name: [
            float(f"{value:.6g}") if isinstance(value, float) else value
            for value in (record[name] for record in records)
        ]
        for name in (records or [{}])[0]
    }


def _finished(chart: alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """Make a chart as wide as the page allows, in the page's own colours."""
    ink = "currentColor"
    font = "system-ui, sans-serif"
    styled = (
        chart.properties(width="container", height=300)
        .configure(background="transparent", font=font, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=ink, titleColor=ink, domainColor=ink, tickColor=ink, gridColor=ink,
            gridOpacity=0.15, domainOpacity=0.5, tickOpacity=0.5, labelFontSize=12,
            titleFontSize=12, titleFontWeight="normal",
        )
        .configure_legend(
            labelColor=ink, titleColor=ink, orient="bottom", labelFontSize=12, titleFontSize=12,
            titleFontWeight="normal", labelLimit=_PHONE, symbolOpacity=1,
        )
    )  # fmt: skip
    spec: dict[str, Any] = styled.to_dict()
    return spec
