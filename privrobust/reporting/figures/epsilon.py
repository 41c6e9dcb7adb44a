"""What privacy costs: accuracy against epsilon, clean and under the worst attack."""

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import (
    MOST_LINES,
    NARROW,
    WIDE,
    Look,
    add_legend,
    add_notes,
    draw_band,
    from_0_to_100,
    grid,
    handles,
    looks,
    new_figure,
    styled,
    tell_empty,
)
from privrobust.reporting.figures.cells import (
    about_attacks,
    about_seeds,
    at_worst,
    drawable,
    guarantee,
    in_panel,
    measured,
    ordered,
    records,
    runs_of,
    title_of_data,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.scales import Scale, ticks_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}
_DODGE = 0.018  # of the axis, between lines where all stand at one place


@styled
def epsilon_figure(runs: pd.DataFrame) -> "Figure":
    """Draw accuracy against epsilon: a row of panels a partition, a column an f, a line a method.

    Without attackers it is the clean accuracy, at other f that under the worst attack. Bands are
    95 % Student intervals over seeds. Runs that are not private stand apart at the right edge. A
    cross marks an epsilon that is an estimate. Along the top stands b, where every epsilon is
    that of one b and the other way round; else (methods of different C or T, say) nothing does.

    Args:
        runs: a row a run, as from `Store.runs`.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "epsilon")
    every = measured(shown, axes=["noise_scale", "target_epsilon"])
    all_cells = at_worst(every)
    if all_cells["accuracy"].isna().all():
        raise SpecError("epsilon: nothing to draw: in every cell a run failed")
    every = within(every, fitting(all_cells, _MOST))
    cells = at_worst(every)
    left_out = about_left_out(all_cells, cells, _MOST, shown)
    drawn = runs_of(cells, shown)
    rows, fs = ordered(cells["heterogeneity"]), ordered(cells["byzantine"])
    styles = looks(cells["method"].unique())
    scale = Scale(cells["epsilon"], math.inf, "not\nprivate", ticks_beside(len(fs)))

    width = NARROW if len(fs) == 1 else WIDE
    figure = new_figure(width, 0.7 + 1.62 * len(rows))
    axes = figure.subplots(len(rows), len(fs), squeeze=False, sharex=True, sharey=True)
    for row, heterogeneity in enumerate(rows):
        for column, f in enumerate(fs):
            here = cells[in_panel(cells, heterogeneity, f)]
            panel = axes[row, column]
            for place, (method, look) in enumerate(styles.items()):
                shift = _DODGE * (place - (len(styles) - 1) / 2)
                _line(panel, here[here["method"] == method], look, scale, shift)
            if here["accuracy"].isna().all():
                tell_empty(panel, not here.empty)
            scale.show(panel)
            _frame(panel, cells, scale, row == 0)
            what = "clean" if f == 0 else f"worst case, f = {f}"
            panel.set_title(f"{title_of_data(heterogeneity)}\n{what}")
        axes[row, 0].set_ylabel("accuracy in %")
    for panel in axes[-1]:
        panel.set_xlabel("privacy budget ε")
    estimates = [estimate_handle()] if cells["is_estimate"].any() else []
    add_legend(figure, handles(styles) + estimates)
    about = [*about_seeds(drawn, cells, "band"), *about_attacks(every), *guarantee(drawn, runs)]
    add_notes(figure, [*left_out, *about])
    return figure


def _line(panel: "Axes", cells: pd.DataFrame, look: Look, scale: Scale, shift: float) -> None:
    """Draw one method: a line with its band, and what is not private as points with bars."""
    cells = cells.dropna(subset="accuracy").sort_values("epsilon")
    private = cells[cells["epsilon"] < math.inf]
    x, accuracy, interval = (private[name] for name in ("epsilon", "accuracy", "interval"))
    panel.plot(x, accuracy, **look._asdict())
    draw_band(panel, x, accuracy, interval, look.color)
    for cell in records(cells[cells["epsilon"] == math.inf]):
        panel.errorbar(
            scale(math.inf, shift),
            cell.accuracy,
            yerr=0 if math.isnan(cell.interval) else cell.interval,
            color=look.color,
            marker=look.marker,
            elinewidth=0.8,
        )
    for cell in records(cells):
        at = (scale(cell.epsilon, shift if cell.epsilon == math.inf else 0), cell.accuracy)
        mark(panel, at, bool(cell.is_estimate), cell.marks)


def mark(panel: "Axes", at: tuple[float, float], is_estimate: bool, marks: str) -> None:
    """Say of a point that its epsilon is an estimate, and put its marks beside it."""
    if is_estimate:
        panel.plot(*at, **_ESTIMATE)
    if marks:
        panel.annotate(marks, at, (2, 2), textcoords="offset points", fontsize=6)


_ESTIMATE: dict[str, Any] = {
    "marker": "x",
    "color": "black",
    "markersize": 6,
    "linestyle": "none",
    "zorder": 5,
    "markeredgewidth": 0.9,
}


def estimate_handle() -> Any:
    """Make the cross of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label="ε is an estimate, may be too small", **_ESTIMATE)


def _frame(panel: "Axes", cells: pd.DataFrame, scale: Scale, is_top: bool) -> None:
    grid(panel)
    from_0_to_100(panel)
    b = _scale_of_noise(cells)
    if not b:
        return
    top = panel.secondary_xaxis("top")
    at = _apart({scale(epsilon): f"{value:g}" for epsilon, value in b.items()}, panel)
    top.set_xticks(list(at), list(at.values()) if is_top else [""] * len(at))
    top.minorticks_off()
    if is_top:
        top.set_xlabel("noise scale b")


def _scale_of_noise(cells: pd.DataFrame) -> dict[float, float]:
    """Return b by epsilon, nothing unless each decides the other."""
    pairs = cells[["epsilon", "noise_scale"]].drop_duplicates()
    is_number = pairs["noise_scale"].map(lambda b: not isinstance(b, str))
    if not is_number.all() or pairs["epsilon"].duplicated().any():
        return {}
    if pairs["noise_scale"].duplicated().any():
        return {}
    return dict(zip(pairs["epsilon"], pairs["noise_scale"].astype(float), strict=True))


def _apart(labels: dict[float, str], panel: "Axes") -> dict[float, str]:
    """Keep the labels that do not run into the one before."""
    low, high = panel.get_xlim()
    length = math.log(high / low)
    kept: dict[float, str] = {}
    for place in sorted(labels):
        if not kept or math.log(place / max(kept)) > 0.1 * length:
            kept[place] = labels[place]
    return kept
