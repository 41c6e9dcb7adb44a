"""What privacy costs: accuracy against epsilon, clean and under the worst attack."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import pandas as pd

from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.cells import (
    at_worst,
    chance_of,
    drawable,
    in_panel,
    label_of,
    marks_of,
    measured,
    ordered,
    records,
    runs_of,
    titles_of,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.metric_scales import show_metric
from privrobust.reporting.figures.notes import (
    about_attacks,
    about_names,
    about_noise,
    about_seeds,
    about_titles,
    guarantee,
)
from privrobust.reporting.figures.panels import (
    NESTED,
    SIDE_BY_SIDE,
    Place,
    chance_handles,
    draw_bars,
    draw_chance,
    draw_line,
    failed_handle,
    grid,
    label_x,
    mark,
    mark_failed,
    mark_not_run,
    nest_marks,
    not_run_handle,
    set_title,
    tell_empty,
)
from privrobust.reporting.figures.scales import Scale, epsilon_at
from privrobust.reporting.figures.themes import MOST_LINES, Look, looks
from privrobust.reporting.figures.what_was_run import about_missing, about_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}


@styled
def epsilon_figure(runs: pd.DataFrame, metric: str = "accuracy") -> "Figure":
    """Draw accuracy against epsilon: a row of panels a partition, a column an f, a line a method.

    Without attackers it is the clean accuracy, at other f that under the worst attack. Bars are
    95 % Student intervals over seeds; lines break where runs failed, or were not made though they
    were at another f. Of marks that coincide those behind are larger, and open.
    Runs that are not private stand apart at the right edge, in a place without width. Small print
    says what was run, and which b stands at which epsilon.

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
    chance = chance_of(drawn, metric)
    inches = panel_width(len(fs))
    scale = Scale(cells["epsilon"], math.inf, "not\nprivate", inches, epsilon_at, len(styles))

    figure = new_figure(NARROW if len(fs) == 1 else WIDE, 0.55 + 1.62 * len(rows))
    axes = figure.subplots(len(rows), len(fs), squeeze=False, sharex=True, sharey=True)
    not_run = False
    for row, heterogeneity in enumerate(rows):
        for panel, f in zip(axes[row], fs, strict=True):
            here = cells[in_panel(cells, heterogeneity, f)]
            scale.show(panel)
            grid(panel)
            draw_chance(panel, chance)
            for index, (method, look) in enumerate(styles.items()):
                place = Place(index, len(styles))
                lacking = [] if here.empty else _not_run(cells, heterogeneity, f, method)
                _line(panel, here[here["method"] == method], lacking, look, scale, place)
                not_run |= bool(lacking)
            if here["mean"].isna().all():
                tell_empty(panel, not here.empty)
            what = "clean" if f == 0 else f"worst case, f = {f}"
            set_title(panel, inches, *titles_of(rows, heterogeneity, what))
        axes[row, 0].set_ylabel(label_of(metric))
    show_metric(axes[0, 0], metric, cells["mean"])
    label_x(axes[-1], "privacy budget ε")
    is_nested = nest_marks(axes.flat, inches, is_open=True)
    signs = chance_handles(chance) + failed_handles(cells)
    if not_run:
        signs.append(not_run_handle())
    add_legend(figure, handles(styles) + signs)
    add_notes(
        figure,
        [
            *about_runs(drawn, rows, "worst case of"),
            *about_missing(drawn, cells),
            *left_out,
            *about_seeds(drawn, cells, "bars", metric),
            *about_attacks(every),
            *about_names(cells),
            *about_titles(rows, inches),
            NESTED if is_nested else "",
            SIDE_BY_SIDE.format("not private") if scale.has_apart and len(styles) > 1 else "",
            *about_noise(cells),
            *guarantee(drawn, runs),
        ],
    )
    return figure


def _not_run(cells: pd.DataFrame, heterogeneity: str, f: int, method: str) -> list[float]:
    """List the epsilons at which a method was run on the same data at another f alone."""
    own = cells[(cells["heterogeneity"] == heterogeneity) & (cells["method"] == method)]
    there = own["epsilon"][own["byzantine"] == f]
    return sorted(set(own["epsilon"].dropna()) - set(there))


def _line(
    panel: "Axes",
    cells: pd.DataFrame,
    lacking: Collection[float],
    look: Look,
    scale: Scale,
    place: Place,
) -> None:
    """Draw one method: a line joins what is private; each mean has a mark and a bar.

    It breaks where runs failed, and where they are lacking.
    """
    there = cells.dropna(subset="mean").sort_values("epsilon")
    gaps = pd.DataFrame({"epsilon": [*lacking], "mean": math.nan}, dtype=float)
    line = pd.concat([cells[["epsilon", "mean"]].astype(float), gaps]).dropna(subset="epsilon")
    line = line.sort_values("epsilon")
    private = line[line["epsilon"] < math.inf]
    paint = look._asdict()
    draw_line(panel, private["epsilon"], private["mean"], **paint | {"marker": "None"})
    x = [scale.beside(epsilon, place) for epsilon in there["epsilon"]]
    for at, mean in zip(x, there["mean"], strict=True):
        draw_line(panel, [at], [mean], **paint | {"linestyle": "None"})
    draw_bars(panel, x, there["mean"], there["interval"], look.color, place)
    for cell, at in zip(records(there), x, strict=True):
        mark(panel, (at, cell.mean), marks_of(cell), place)
    for epsilon in cells["epsilon"][cells["failed"] > 0].dropna():
        mark_failed(panel, scale.beside(epsilon, place), look)
    for epsilon in lacking:
        mark_not_run(panel, scale.beside(epsilon, place), look)


def failed_handles(cells: pd.DataFrame) -> list[object]:
    """Make the cross of a legend, if there is one to be explained."""
    return [failed_handle()] if (cells["failed"] > 0).any() else []
