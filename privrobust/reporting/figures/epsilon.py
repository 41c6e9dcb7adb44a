"""What privacy costs: accuracy against epsilon, clean and under the worst attack."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.cells import (
    at_worst,
    drawable,
    in_panel,
    label_of,
    marks_of,
    measured,
    ordered,
    records,
    runs_of,
    title_of_data,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.notes import (
    about_attacks,
    about_names,
    about_noise,
    about_seeds,
    guarantee,
)
from privrobust.reporting.figures.panels import (
    Place,
    draw_bars,
    draw_line,
    failed_handle,
    grid,
    mark,
    mark_failed,
    set_title,
    show_metric,
    tell_empty,
)
from privrobust.reporting.figures.scales import Scale, epsilon_at, ticks_beside
from privrobust.reporting.figures.themes import MOST_LINES, Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}
BESIDE = "In the shaded place, of what is not private, methods stand side by side."


@styled
def epsilon_figure(runs: pd.DataFrame, metric: str = "accuracy") -> "Figure":
    """Draw accuracy against epsilon: a row of panels a partition, a column an f, a line a method.

    Without attackers it is the clean accuracy, at other f that under the worst attack. Bars are
    95 % Student intervals over seeds. Runs that are not private stand apart at the right edge, in
    a place without width. Small print says which b stands at which epsilon.

    Args:
        runs: a row a run, as from `Store.runs`.
        metric: what is drawn, of `METRICS`, in place of accuracy.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "epsilon", metric)
    every = measured(shown, ["noise_scale", "target_epsilon"], metric)
    all_cells = at_worst(every)
    if all_cells["mean"].isna().all():
        raise SpecError("epsilon: nothing to draw: in every cell a run failed")
    every = within(every, fitting(all_cells, _MOST))
    cells = at_worst(every)
    left_out = about_left_out(all_cells, cells, _MOST, shown)
    drawn = runs_of(cells, shown)
    rows, fs = ordered(cells["heterogeneity"]), ordered(cells["byzantine"])
    styles = looks(cells["method"].unique())
    most = ticks_beside(len(fs))
    scale = Scale(cells["epsilon"], math.inf, "not\nprivate", most, epsilon_at, len(styles))

    figure = new_figure(NARROW if len(fs) == 1 else WIDE, 0.55 + 1.62 * len(rows))
    axes = figure.subplots(len(rows), len(fs), squeeze=False, sharex=True, sharey=True)
    for row, heterogeneity in enumerate(rows):
        for panel, f in zip(axes[row], fs, strict=True):
            here = cells[in_panel(cells, heterogeneity, f)]
            scale.show(panel)
            grid(panel)
            for index, (method, look) in enumerate(styles.items()):
                place = Place(index, len(styles))
                _line(panel, here[here["method"] == method], look, scale, place)
            if here["mean"].isna().all():
                tell_empty(panel, not here.empty)
            what = "clean" if f == 0 else f"worst case, f = {f}"
            set_title(panel, panel_width(len(fs)), title_of_data(heterogeneity), what)
        axes[row, 0].set_ylabel(label_of(metric))
    show_metric(axes[0, 0], metric)
    for panel in axes[-1]:
        panel.set_xlabel("privacy budget ε")
    add_legend(figure, handles(styles) + failed_handles(cells))
    add_notes(
        figure,
        [
            *left_out,
            *about_seeds(drawn, cells, "bars", metric),
            *about_attacks(every),
            *about_names(cells),
            BESIDE if scale.has_apart and len(styles) > 1 else "",
            *about_noise(cells),
            *guarantee(drawn, runs),
        ],
    )
    return figure


def _line(panel: "Axes", cells: pd.DataFrame, look: Look, scale: Scale, place: Place) -> None:
    """Draw one method: a line, and what is not private as a point; each mean with its bar."""
    there = cells.dropna(subset="mean").sort_values("epsilon")
    private, apart = there[there["epsilon"] < math.inf], there[there["epsilon"] == math.inf]
    draw_line(panel, private["epsilon"], private["mean"], **look._asdict())
    x = [scale.beside(epsilon, place) for epsilon in there["epsilon"]]
    point = look._asdict() | {"linestyle": "none"}
    draw_line(panel, x[len(private) :], apart["mean"], **point)
    draw_bars(panel, x, there["mean"], there["interval"], look.color, place)
    for cell, at in zip(records(there), x, strict=True):
        mark(panel, (at, cell.mean), marks_of(cell), place)
    for epsilon in cells["epsilon"][cells["failed"] > 0].dropna():
        mark_failed(panel, scale.beside(epsilon, place), look)


def failed_handles(cells: pd.DataFrame) -> list[object]:
    """Make the cross of a legend, if there is one to be explained."""
    return [failed_handle()] if (cells["failed"] > 0).any() else []
