"""The trilemma: which settings nobody beats in utility, privacy and robustness together."""

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
    from_0_to_100,
    grid,
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
from privrobust.reporting.figures.epsilon import estimate_handle, mark
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.scales import Scale, ticks_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}
_DODGE = 0.02  # of the axis, between methods of one epsilon
_FADED = 0.22


@styled
def pareto_figure(runs: pd.DataFrame) -> "Figure":
    """Draw clean and worst-case accuracy of every setting at its epsilon: a column an f.

    A setting is a bar from its worst-case accuracy (full mark) to its clean accuracy (open mark).
    It is faded where another one of the panel is at least as good in all three and better in one.
    Two steps join the front: the best worst-case and the best clean accuracy within a budget.

    Args:
        runs: a row a run, as from `Store.runs`: with and without attackers.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "pareto")
    every = measured(shown, axes=["noise_scale", "target_epsilon"])
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
    scale = Scale(points["epsilon"], math.inf, "not\nprivate", ticks_beside(len(fs)))

    width = NARROW if len(fs) == 1 else WIDE
    figure = new_figure(width, 0.4 + 1.6 * len(rows))
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
            from_0_to_100(panel)
            panel.set_title(f"{title_of_data(heterogeneity)}, f = {f}")
        axes[row, 0].set_ylabel("accuracy in %")
    for panel in axes[-1]:
        panel.set_xlabel("privacy budget ε")
    add_legend(figure, _handles(styles, points))
    add_notes(
        figure,
        [
            *left_out,
            "Faded: another setting of the panel is as good in ε, clean and worst-case accuracy, "
            "and better in one of them. Points of one ε stand beside each other.",
            *about_seeds(drawn, cells, None),
            *about_attacks(every),
            *guarantee(drawn, runs),
        ],
    )
    return figure


def _points(cells: pd.DataFrame) -> pd.DataFrame:
    """Return attacked cells with `clean`, the accuracy of their setting without."""
    setting = ["heterogeneity", "method", "noise_scale"]
    clean = cells[cells["byzantine"] == 0].set_index(setting)["accuracy"].rename("clean")
    points = cells[cells["byzantine"] > 0].join(clean, on=setting)
    points = points.dropna(subset=["accuracy", "clean"])
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
    """Tell which points no other equals in `epsilon`, `clean`, `accuracy` and beats in one."""
    values = points[["epsilon", "clean", "accuracy"]].to_numpy(float) * [-1, 1, 1]
    as_good = (values[:, None] >= values).all(-1)
    better = (values[:, None] > values).any(-1)
    return pd.Series(~(as_good & better).any(0), index=points.index)


def _settings(panel: "Axes", points: pd.DataFrame, styles: dict[str, Look], scale: Scale) -> None:
    for place, (method, look) in enumerate(styles.items()):
        shift = _DODGE * (place - (len(styles) - 1) / 2)
        for point in records(points[points["method"] == method]):
            x = scale(point.epsilon, shift)
            paint: dict[str, Any] = {"color": look.color, "marker": look.marker}
            paint["alpha"] = 1.0 if point.is_best else _FADED
            panel.plot([x, x], [point.accuracy, point.clean], **paint | {"marker": ""}, lw=0.8)
            panel.plot(x, point.clean, **paint, markerfacecolor="white", zorder=3)
            panel.plot(x, point.accuracy, **paint, zorder=3)
            mark(panel, (x, point.accuracy), bool(point.is_estimate), point.marks)


_STEPS = {"accuracy": ("-", "best worst case within ε"), "clean": (":", "best clean within ε")}


def _front(panel: "Axes", best: pd.DataFrame, scale: Scale) -> None:
    """Draw what a budget buys at best: steps that rise with epsilon."""
    best = best.groupby("epsilon")[list(_STEPS)].max().cummax()
    x = [*map(scale, best.index), panel.get_xlim()[1]]
    for column, (linestyle, _) in _STEPS.items():
        highest = [*best[column], *best[column].tail(1)]
        panel.step(x, highest, where="post", color="0.45", ls=linestyle, lw=0.9, zorder=1)


def _handles(styles: dict[str, Look], points: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=name)
        for name, look in styles.items()
    ]
    plain: dict[str, Any] = {"color": "0.3", "marker": "o", "ls": "none"}
    handles.append(Line2D([], [], label="worst case", **plain))
    handles.append(Line2D([], [], label="clean", **plain, markerfacecolor="white"))
    handles += [Line2D([], [], color="0.45", ls=ls, label=text) for ls, text in _STEPS.values()]
    return handles + ([estimate_handle()] if points["is_estimate"].any() else [])
