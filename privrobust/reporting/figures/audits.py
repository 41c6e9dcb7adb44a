"""What is claimed of runs, and what observers found: how much of epsilon each gets out."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from privrobust.audit import AuditResult
from privrobust.core.escaping import in_figure
from privrobust.reporting.audits import MEANING, claims, labels, together
from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.lettering import filled
from privrobust.reporting.figures.margins import add_legend, add_notes
from privrobust.reporting.figures.panels import grid
from privrobust.reporting.figures.scales import Scale
from privrobust.reporting.figures.themes import Look, looks, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROWS = 60
_ROW, _GAP = 0.13, 0.1  # inches of a row, and between runs
_LABEL, _POINTS = 2.0, 6.5  # inches and points of the name of a run
_LINE = 0.115  # inches of a line of it
_CLAIM: dict[str, Any] = {"marker": "|", "markersize": 8, "markeredgewidth": 1.3}
_REFUTED: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 1.2, "zorder": 5}


@styled
def audits_figure(results: Sequence[AuditResult]) -> "Figure":
    """Draw a line a result, from what was found to what is claimed, on a logarithmic axis.

    Results of a run and a kind of canaries stand together. A full mark is the bound of any
    mechanism, an open one that of a Gaussian trade-off.

    Args:
        results: as from `privrobust.audit.audits`, at least one.

    Raises:
        SpecError: matplotlib is missing.

    """
    shown = results[:_MOST_ROWS]
    names = [
        filled(in_figure(name).replace(" = ", "="), _LABEL, _POINTS)
        for name in labels(results)[:_MOST_ROWS]
    ]
    styles = looks(dict.fromkeys(result.observer for result in results))
    heights = _heights(names)
    values = [
        value
        for each in shown
        for value in (each.epsilon_lower_bound, each.epsilon_if_gaussian, each.claimed)
    ]
    scale = Scale([value for value in values if math.isfinite(value)], 0.0, "0")
    figure = new_figure(WIDE, 0.45 + heights[-1] + 2 * _GAP)
    panel = figure.add_subplot()
    scale.show(panel)
    for result, height in zip(shown, heights, strict=True):
        _line(panel, result, height, styles[result.observer], scale)
    of_run: dict[str, list[float]] = {}
    for name, height in zip(names, heights, strict=True):
        of_run.setdefault(name, []).append(height)
    middles = [sum(each) / len(each) for each in of_run.values()]
    panel.set_yticks(middles, list(of_run))
    panel.set_ylim(heights[-1] + 1.5 * _GAP, heights[0] - 1.5 * _GAP)
    panel.set_xlabel("privacy budget ε")
    grid(panel)
    panel.grid(visible=False, axis="y")
    add_legend(figure, _handles(styles, shown))
    left_out = len(results) - len(shown)
    add_notes(
        figure,
        [
            f"Left out: {left_out} of {len(results)} rows." if left_out else "",
            f"Claimed: {claims(shown)}.",
            together(results),
            MEANING,
        ],
    )
    return figure


def _heights(names: Sequence[str]) -> list[float]:
    """Return how far from the top each row stands, in inches: names of runs have room, too."""
    heights, top = [], 0.0
    for name, rows in groupby(names):
        count = len(list(rows))
        room = max(count * _ROW, (name.count("\n") + 1) * _LINE)
        first = top + _GAP + (room - (count - 1) * _ROW) / 2
        heights += [first + row * _ROW for row in range(count)]
        top += room + _GAP
    return heights


def _line(panel: "Axes", result: AuditResult, height: float, look: Look, scale: Scale) -> None:
    found = scale(result.epsilon_lower_bound)
    if math.isinf(result.claimed):
        claimed = panel.get_xlim()[1]
        panel.annotate(
            "∞", (claimed, height), (2, 0), textcoords="offset points", va="center", fontsize=7
        )
    else:
        claimed = scale(result.claimed)
        panel.plot(claimed, height, color=theme().ink, **_CLAIM)
    panel.plot([found, claimed], [height, height], color=theme().pale, lw=0.6, zorder=1)
    marks: dict[str, Any] = {"color": look.color, "marker": look.marker, "zorder": 3}
    panel.plot(scale(result.epsilon_if_gaussian), height, **marks, markerfacecolor=theme().paper)
    panel.plot(found, height, **marks)
    if result.is_refuted:
        panel.plot(claimed, height, color=theme().alarm, **_REFUTED)


def _handles(styles: dict[str, Look], results: Sequence[AuditResult]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=f"found in {name}")
        for name, look in styles.items()
    ]
    open_mark: dict[str, Any] = {
        "color": theme().pale,
        "marker": "o",
        "markerfacecolor": theme().paper,
    }
    handles.append(Line2D([], [], ls="none", label="if Gaussian", **open_mark))
    handles.append(Line2D([], [], ls="none", label="claimed", color=theme().ink, **_CLAIM))
    if any(result.is_refuted for result in results):
        handles.append(Line2D([], [], ls="none", label="refuted", color=theme().alarm, **_REFUTED))
    return handles
