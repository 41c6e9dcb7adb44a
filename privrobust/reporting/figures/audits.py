"""What is claimed of runs, and what observers found: how much of epsilon each gets out."""

import math
from collections.abc import Sequence
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

from privrobust.audit import AuditResult
from privrobust.core.escaping import in_figure
from privrobust.reporting.audits import MEANING, claims, labels, together
from privrobust.reporting.figures.canvas import (
    WIDE,
    Look,
    add_legend,
    add_notes,
    grid,
    looks,
    new_figure,
    styled,
)
from privrobust.reporting.figures.scales import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROWS = 60
_ROW, _GAP = 0.13, 0.1  # inches of a row, and between runs
_LABEL = 34  # characters of a line
_CLAIM: dict[str, Any] = {"color": "black", "marker": "|", "markersize": 8, "markeredgewidth": 1.3}
_REFUTED: dict[str, Any] = {
    "color": "#A00000", "marker": "x", "markersize": 7, "markeredgewidth": 1.2, "zorder": 5,
}  # fmt: skip


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
    names = labels(results)[:_MOST_ROWS]
    styles = looks(dict.fromkeys(result.observer for result in results))
    heights = _heights(names)
    values = [
        value
        for each in shown
        for value in (each.epsilon_lower_bound, each.epsilon_if_gaussian, each.claimed)
    ]
    scale = Scale([value for value in values if math.isfinite(value)], 0.0, "0")
    figure = new_figure(WIDE, 0.45 + heights[-1] + _GAP)
    panel = figure.add_subplot()
    scale.show(panel)
    for result, height in zip(shown, heights, strict=True):
        _line(panel, result, height, styles[result.observer], scale)
    of_run: dict[str, list[float]] = {}
    for name, height in zip(names, heights, strict=True):
        of_run.setdefault(name, []).append(height)
    middles = [sum(each) / len(each) for each in of_run.values()]
    panel.set_yticks(middles, [fill(in_figure(name), _LABEL) for name in of_run])
    panel.set_ylim(heights[-1] + _GAP, heights[0] - _GAP)
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
    """Return how far from the top each row stands, in inches."""
    heights = [_GAP]
    for before, name in pairwise(names):
        heights.append(heights[-1] + _ROW + _GAP * (name != before))
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
        panel.plot(claimed, height, **_CLAIM)
    panel.plot([found, claimed], [height, height], color="0.6", lw=0.6, zorder=1)
    marks: dict[str, Any] = {"color": look.color, "marker": look.marker, "zorder": 3}
    panel.plot(scale(result.epsilon_if_gaussian), height, **marks, markerfacecolor="white")
    panel.plot(found, height, **marks)
    if result.is_refuted:
        panel.plot(claimed, height, **_REFUTED)


def _handles(styles: dict[str, Look], results: Sequence[AuditResult]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=f"found in {name}")
        for name, look in styles.items()
    ]
    open_mark: dict[str, Any] = {"color": "0.3", "marker": "o", "markerfacecolor": "white"}
    handles.append(Line2D([], [], ls="none", label="if Gaussian", **open_mark))
    handles.append(Line2D([], [], ls="none", label="claimed", **_CLAIM))
    if any(result.is_refuted for result in results):
        handles.append(Line2D([], [], ls="none", label="refuted", **_REFUTED))
    return handles
