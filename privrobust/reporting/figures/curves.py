"""How runs train: accuracy, loss or what else was measured, against the step."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from privrobust.core.escaping import in_figure
from privrobust.errors import SpecError, unknown_name
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
)
from privrobust.reporting.figures.cells import drawable, named, ordered, title_of_data
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.intervals import half_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "attacked": 4, "method": MOST_LINES}
_RATHER_MARKS = 12  # points of a line that get one


@styled
def curves_figure(
    runs: pd.DataFrame, histories: pd.DataFrame, measure: str = "accuracy"
) -> "Figure":
    """Draw a line a method and b, mean over seeds: a row of panels a partition, a column an attack.

    Bands are 95 % Student intervals. Where some seed has no finite value, a line is interrupted.

    Args:
        runs: a row a run, as from `Store.runs`.
        histories: of these and perhaps others, as from `Store.histories`.
        measure: a column of `histories`: accuracy, loss, kappa, ...

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    measures = [name for name in histories.columns if name not in ("run", "step")]
    if measure not in measures:
        raise unknown_name("measure", measure, measures)
    shown = drawable(runs, "curves")
    shown = shown[shown["failure"].isna()]
    all_settings = _recorded(named(shown), histories, measure)
    settings = within(all_settings, fitting(all_settings, _MOST))
    left_out = about_left_out(
        all_settings, settings, _MOST, shown, ["noise_scale", "target_epsilon"]
    )
    points = averaged(settings, histories, measure)
    rows, columns = ordered(settings["heterogeneity"]), settings["attacked"].unique()

    is_share = "accuracy" in measure or measure == "attack_success_rate"
    label = measure.replace("_", " ") + (" in %" if is_share else "")
    styles = looks(settings["method"].unique())
    width = NARROW if len(columns) == 1 else WIDE
    figure = new_figure(width, 0.3 + 1.67 * len(rows))
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, heterogeneity in enumerate(rows):
        for panel, attacked in zip(axes[row], columns, strict=True):
            at = points["heterogeneity"] == heterogeneity
            here = points[at & (points["attacked"] == attacked)]
            for method, look in styles.items():
                _line(panel, here[here["method"] == method], look)
            grid(panel)
            panel.set_title(f"{title_of_data(heterogeneity)}\n{attacked}")
        axes[row, 0].set_ylabel(label)
    if is_share:
        from_0_to_100(axes[0, 0])
    for panel in axes[-1]:
        panel.set_xlabel("step")
    add_legend(figure, handles(styles))
    failed = len(runs) - len(shown)
    add_notes(figure, [*left_out, *_notes(shown.loc[settings.index], points, failed)])
    return figure


def _recorded(settings: pd.DataFrame, histories: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Keep what has a history, by f and attack; no finite value makes no accuracy."""
    value = pd.to_numeric(histories[measure], errors="coerce").astype(float)
    has_value = settings.index.isin(histories["run"][np.isfinite(value)])
    settings = settings.assign(
        accuracy=settings["accuracy"].where(has_value),
        attacked=[
            f"{in_figure(attack)}, f = {f}" if f else "clean"
            for f, attack in zip(settings["byzantine"], settings["attack"], strict=True)
        ],
    )
    settings = settings[settings.index.isin(histories["run"])]
    return settings.sort_values(["byzantine", "attack"], kind="stable")


def averaged(settings: pd.DataFrame, histories: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Average over seeds at every step, with the half-width of the interval.

    Args:
        settings: by key, the columns `method`, `heterogeneity` and `attacked`, its f and attack.
        histories: with a column `run` of keys.
        measure: which column of `histories`.

    """
    names = ["method", "heterogeneity", "attacked"]
    values = histories.join(settings[names], on="run", how="inner")
    value = pd.to_numeric(values[measure], errors="coerce").astype(float)
    values = values.assign(value=value.where(np.isfinite(value)))
    if values["value"].isna().all():
        raise SpecError(f"curves: nothing to draw: no {measure} of these runs was recorded")
    groups = values.groupby([*names, "step"], sort=False)["value"]
    runs = groups.size()
    whole = groups.count() == runs  # a mean over the seeds that did not diverge would flatter
    interval = half_width(groups.std(), runs)
    points = pd.DataFrame({"mean": groups.mean(), "interval": interval}).where(whole)
    return points.assign(seeds=runs).reset_index().sort_values([*names, "step"], kind="stable")


def _line(panel: "Axes", points: pd.DataFrame, look: Look) -> None:
    if points.empty:
        return
    x, mean, interval = (points[name] for name in ("step", "mean", "interval"))
    panel.plot(x, mean, **look._asdict(), markevery=-(-len(points) // _RATHER_MARKS))
    draw_band(panel, x, mean, interval, look.color)


def _notes(runs: pd.DataFrame, points: pd.DataFrame, failed: int) -> Iterator[str]:
    few, most = int(points["seeds"].min()), int(points["seeds"].max())
    over = f"{few} to {most}" if few < most else f"{few}"
    data = " and ".join(runs["evaluate_on"].unique())
    band = "; band: 95 % Student interval" if most > 1 else ""
    yield f"On {data} data, mean over {over} seed{'s' if most > 1 else ''}{band}."
    if points["mean"].isna().any():
        yield "A line is interrupted where some seed has no finite value."
    if failed:
        yield f"{failed} runs that failed, or on other data, are not drawn."
