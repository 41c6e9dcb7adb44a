"""Lines with bands: what the experiments draw that is no figure of the suite."""

import math
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.figures.canvas import WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.panels import draw_band, grid
from privrobust.reporting.figures.scales import Scale
from privrobust.reporting.figures.themes import looks
from privrobust.reporting.intervals import half_width

_ACROSS = (4, 3, 2, 1)  # panels in a row
_COMMA = re.compile(r", (?![^(]*\))")  # of no parameters


@styled
def lines_figure(
    values: pd.DataFrame,
    xlabel: str,
    ylabel: str,
    notes: Iterable[str] = (),
    *,
    grey: str = "",
    are_shares: bool = False,
) -> Figure:
    """Means over seeds with 95 % Student bands.

    Args:
        values: a column a seed, indexed by panel, line and x; an x of 0 stands apart.
        xlabel: of every panel.
        ylabel: of the first of each row.
        notes: for below.
        grey: what an x of 0 means, whose strip is grey.
        are_shares: values are in percent of a whole: no band leaves 0 to 100, nor does the axis.

    """
    values = values.rename_axis(["panel", "line", "x"])
    panels = list(dict.fromkeys(values.index.get_level_values("panel")))
    styles = looks(dict.fromkeys(map(str, values.index.get_level_values("line"))))
    across = _across([_COMMA.split(name)[0] for name in panels])
    down = len(panels) // across
    scale = Scale(values.index.get_level_values("x").astype(float), 0.0, "0", panel_width(across))
    figure = new_figure(WIDE, 0.4 + 1.75 * down)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    is_cut = False
    for panel, name in zip(axes.flat, panels, strict=False):
        for line, part in values.loc[name].groupby(level="line", sort=False):
            limits = (0.0, 100.0) if are_shares else (-math.inf, math.inf)
            look = styles[str(line)]._asdict()
            is_cut |= _line(panel, part.droplevel("line"), scale, look, limits)
        scale.show(panel)
        grid(panel)
        panel.set_title(_COMMA.sub("\n", name, count=1))
    for panel in axes[-1]:
        panel.set_xlabel(xlabel)
    for row in axes:
        row[0].set_ylabel(ylabel)
    add_legend(figure, handles(styles))
    if are_shares:
        low, high = axes[0][0].get_ylim()
        axes[0][0].set_ylim(max(0, low), min(100, high))
    cut = ", cut at 0 and 100" if is_cut else ""
    means = f"Means over {values.shape[1]} seeds; bands: 95 % Student intervals{cut}."
    add_notes(figure, [means, f"Grey: {grey}." if grey and scale.has_apart else "", *notes])
    return figure


def _across(kinds: list[str]) -> int:
    """Return how many panels stand in a row: all rows are full, and no kind of panel is torn."""
    together = next((at for at, kind in enumerate(kinds) if kind != kinds[0]), len(kinds))
    fill = (count for count in _ACROSS if len(kinds) % count == 0)
    return next(count for count in fill if count % together == 0 or together % count == 0)


def _line(
    panel: Any,
    values: pd.DataFrame,
    scale: Scale,
    look: dict[str, Any],
    limits: tuple[float, float],
) -> bool:
    """Draw one, and tell whether its band was cut."""
    values = values.sort_index()
    x = [scale(float(at)) for at in values.index]
    mean, half = values.mean(axis=1), half_width(values.std(axis=1), values.count(axis=1))
    panel.plot(x, mean, **look)
    low, high = (mean - half).clip(lower=limits[0]), (mean + half).clip(upper=limits[1])
    draw_band(panel, x, (low + high) / 2, (high - low) / 2, look["color"])
    return bool((mean - half < limits[0]).any() or (mean + half > limits[1]).any())
