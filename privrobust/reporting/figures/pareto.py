"""The trilemma: which settings nobody beats in utility, privacy and robustness together."""

import math
from typing import TYPE_CHECKING, Any

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
from privrobust.reporting.figures.epsilon import BESIDE, failed_handles
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes
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
    from_0_to_100,
    grid,
    mark,
    mark_failed,
    set_title,
    tell_empty,
)
from privrobust.reporting.figures.scales import Scale, epsilon_at, ticks_beside
from privrobust.reporting.figures.themes import MOST_LINES, Look, looks, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}
_FADED = 0.3


@styled
def pareto_figure(runs: pd.DataFrame) -> "Figure":
    """Draw clean and worst-case accuracy of every setting at its epsilon: a column an f.

    A setting has two marks at its epsilon: worst-case accuracy (full) and clean accuracy (open),
    each with the bar of its 95 % Student interval. They are faded where another setting of the
    panel is at least as good in all three and better in one. Two steps join the front: the best
    worst-case and the best clean accuracy within a budget.

    Args:
        runs: a row a run, as from `Store.runs`: with and without attackers.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "pareto")
    every = measured(shown, ["noise_scale", "target_epsilon"])
    all_points = _points(at_worst(every))
    kept = fitting(all_points, _MOST)
    points = _compared(within(all_points, kept))
    left_out = about_left_out(all_points, points, _MOST, shown)
    if "byzantine" in kept:
        kept["byzantine"].append(0)  # every point has a clean cell
    every = within(every, kept)
    cells = at_worst(every)
    drawn = runs_of(cells, shown)
    rows, fs = ordered(points["heterogeneity"]), ordered(points["byzantine"])
    styles = looks(points["method"].unique())
    most = ticks_beside(len(fs))
    scale = Scale(points["epsilon"], math.inf, "not\nprivate", most, epsilon_at, len(styles))

    figure = new_figure(NARROW if len(fs) == 1 else WIDE, 0.4 + 1.7 * len(rows))
    axes = figure.subplots(len(rows), len(fs), squeeze=False, sharex=True, sharey=True)
    for row, heterogeneity in enumerate(rows):
        for panel, f in zip(axes[row], fs, strict=True):
            here = points[in_panel(points, heterogeneity, f)]
            scale.show(panel)
            grid(panel)
            if here.empty:
                tell_empty(panel, bool(in_panel(cells, heterogeneity, f).any()))
            else:
                _settings(panel, here, styles, scale)
                _front(panel, here[here["is_best"]], scale)
            _failed(panel, cells[in_panel(cells, heterogeneity, f)], styles, scale)
            from_0_to_100(panel)
            set_title(panel, panel_width(len(fs)), title_of_data(heterogeneity), f"f = {f}")
        axes[row, 0].set_ylabel(label_of("accuracy"))
    for panel in axes[-1]:
        panel.set_xlabel("privacy budget ε")
    add_legend(figure, _handles(styles) + failed_handles(cells))
    add_notes(
        figure,
        [
            *left_out,
            "Faded: another setting of the panel is as good in ε, clean and worst-case accuracy, "
            "and better in one of them.",
            *about_seeds(drawn, cells, "bars"),
            *about_attacks(every),
            *about_names(cells),
            BESIDE if scale.has_apart and len(styles) > 1 else "",
            *about_noise(points),
            *guarantee(drawn, runs),
        ],
    )
    return figure


def _points(cells: pd.DataFrame) -> pd.DataFrame:
    """Return attacked cells with `clean`, the accuracy of their setting without, and its half."""
    setting = ["heterogeneity", "method", "noise_scale"]
    clean = cells[cells["byzantine"] == 0].set_index(setting)[["mean", "interval"]]
    clean.columns = pd.Index(["clean", "half_of_clean"])
    points = cells[cells["byzantine"] > 0].join(clean, on=setting)
    points = points.dropna(subset=["mean", "clean"])
    if points.empty:
        raise SpecError(
            "pareto: nothing to draw: no setting has results both without attackers and with; "
            "it needs runs of byzantine: 0 and of more"
        )
    return points


def _compared(points: pd.DataFrame) -> pd.DataFrame:
    """Add `is_best`: whether no other of the panel beats a point."""
    best = points.groupby(["heterogeneity", "byzantine"], sort=False)
    return points.assign(is_best=pd.concat([front(part) for _, part in best]))


def front(points: pd.DataFrame) -> pd.Series:
    """Tell which points no other equals in `epsilon`, `clean`, `mean` and beats in one."""
    values = points[["epsilon", "clean", "mean"]].to_numpy(float) * [-1, 1, 1]
    as_good = (values[:, None] >= values).all(-1)
    better = (values[:, None] > values).any(-1)
    return pd.Series(~(as_good & better).any(0), index=points.index)


def _settings(panel: "Axes", points: pd.DataFrame, styles: dict[str, Look], scale: Scale) -> None:
    for index, (method, look) in enumerate(styles.items()):
        place = Place(index, len(styles))
        for point in records(points[points["method"] == method]):
            x = scale.beside(point.epsilon, place)
            alpha = 1.0 if point.is_best else _FADED
            paint: dict[str, Any] = {"color": look.color, "marker": look.marker, "alpha": alpha}
            paint["linestyle"] = "none"
            draw_bars(panel, x, point.clean, point.half_of_clean, look.color, place, alpha)
            draw_bars(panel, x, point.mean, point.interval, look.color, place, alpha)
            draw_line(panel, x, point.clean, **paint, markerfacecolor=theme().paper)
            draw_line(panel, x, point.mean, **paint)
            mark(panel, (x, point.mean), marks_of(point), place)


def _failed(panel: "Axes", cells: pd.DataFrame, styles: dict[str, Look], scale: Scale) -> None:
    for index, (method, look) in enumerate(styles.items()):
        place = Place(index, len(styles))
        failed = cells[(cells["method"] == method) & (cells["failed"] > 0)]
        for epsilon in failed["epsilon"].dropna():
            mark_failed(panel, scale.beside(epsilon, place), look)


_STEPS = {"mean": ("-", "best worst case within ε"), "clean": (":", "best clean within ε")}


def _front(panel: "Axes", best: pd.DataFrame, scale: Scale) -> None:
    """Draw what a budget buys at best: steps that rise with epsilon."""
    best = best.groupby("epsilon")[list(_STEPS)].max().cummax()
    x = [*map(scale, best.index), panel.get_xlim()[1]]
    for column, (linestyle, _) in _STEPS.items():
        highest = [*best[column], *best[column].tail(1)]
        panel.step(x, highest, where="post", color=theme().pale, ls=linestyle, lw=0.9, zorder=1)


def _handles(styles: dict[str, Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=name)
        for name, look in styles.items()
    ]
    pale = theme().pale
    plain: dict[str, Any] = {"color": pale, "marker": "o", "ls": "none"}
    handles.append(Line2D([], [], label="worst case", **plain))
    handles.append(Line2D([], [], label="clean", **plain, markerfacecolor=theme().paper))
    return handles + [
        Line2D([], [], color=pale, ls=linestyle, label=text) for linestyle, text in _STEPS.values()
    ]
