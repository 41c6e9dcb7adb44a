"""How runs train: accuracy, loss or what else was measured, against the step."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from privrobust.core.escaping import in_figure
from privrobust.errors import SpecError, unknown_name
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.cells import (
    drawable,
    named,
    ordered,
    records,
    title_of_data,
    without_few,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.notes import about_marks, about_names, over_seeds
from privrobust.reporting.figures.panels import (
    Place,
    draw_band,
    draw_bars,
    draw_line,
    failed_handle,
    from_0_to_100,
    grid,
    mark,
    mark_failed,
    set_title,
    tell_empty,
)
from privrobust.reporting.figures.themes import MOST_LINES, Look, looks
from privrobust.reporting.intervals import half_width
from privrobust.reporting.legend import DIVERGED, FEW, FEW_SEEDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "attacked": 4, "method": MOST_LINES}
_RATHER_MARKS = 12  # points of a line that get one
_LINE = ["method", "heterogeneity", "attacked"]


@styled
def curves_figure(
    runs: pd.DataFrame, histories: pd.DataFrame, measure: str = "accuracy"
) -> "Figure":
    """Draw a line a method and b, mean over seeds: a row of panels a partition, a column an attack.

    Bands, and bars of single points, are 95 % Student intervals. Where some seed has no finite
    value, a line is interrupted; where some seed failed, there is none.

    Args:
        runs: a row a run, as from `Store.runs`.
        histories: of these and perhaps others, as from `Store.histories`.
        measure: a column of `histories`: accuracy, loss, kappa, ...

    Raises:
        SpecError: nothing to draw, or no run has that measure; matplotlib is missing.

    """
    measures = [name for name in histories.columns if name not in ("run", "step")]
    if measure not in measures:
        raise unknown_name("measure", measure, measures)
    shown = drawable(runs, "curves")
    all_settings = _recorded(named(shown), histories, measure, measures)
    settings = within(all_settings, fitting(all_settings, _MOST))
    left_out = about_left_out(
        all_settings, settings, _MOST, shown, ["noise_scale", "target_epsilon"]
    )
    lines = _lines(settings)
    whole = settings[settings["failure"].isna()]
    points = averaged(whole, histories, measure)
    points = points.merge(lines.loc[lines["failed"] == 0, _LINE], on=_LINE)
    rows, columns = ordered(settings["heterogeneity"]), list(settings["attacked"].unique())

    is_share = "accuracy" in measure or measure == "attack_success_rate"
    styles = looks(settings["method"].unique())
    figure = new_figure(NARROW if len(columns) == 1 else WIDE, 0.55 + 1.62 * len(rows))
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, heterogeneity in enumerate(rows):
        for panel, attacked in zip(axes[row], columns, strict=True):
            grid(panel)
            here = _at(lines, heterogeneity, attacked)
            drawn = _at(points, heterogeneity, attacked)
            last = float(points["step"].max())
            for index, (method, look) in enumerate(styles.items()):
                place = Place(index, len(styles))
                line = drawn[drawn["method"] == method]
                about = here[here["method"] == method]
                _line(panel, line, look, place, "".join(about["marks"]))
                if about["failed"].any():
                    mark_failed(panel, last * (1 - 0.04 * index), look)
            if drawn["mean"].isna().all():
                tell_empty(panel, not here.empty)
            set_title(panel, panel_width(len(columns)), title_of_data(heterogeneity), attacked)
        axes[row, 0].set_ylabel(measure.replace("_", " ") + (" in %" if is_share else ""))
    if is_share:
        from_0_to_100(axes[0, 0])
    for panel in axes[-1]:
        panel.set_xlabel("step")
    has_failed = lines["failed"].any()
    add_legend(figure, handles(styles) + ([failed_handle()] if has_failed else []))
    add_notes(
        figure,
        [*left_out, *_notes(shown.loc[settings.index], points, lines), *about_names(settings)],
    )
    return figure


def _at(table: pd.DataFrame, heterogeneity: str, attacked: str) -> pd.DataFrame:
    """Return the rows of one panel."""
    is_here = (table["heterogeneity"] == heterogeneity) & (table["attacked"] == attacked)
    return table[is_here]


def _recorded(
    settings: pd.DataFrame, histories: pd.DataFrame, measure: str, measures: list[str]
) -> pd.DataFrame:
    """Keep what has a history, or failed, by f and attack, with `mean` where a value is finite."""
    with_value = _with_value(histories, measure)
    if not settings.index.isin(with_value).any():
        there = [
            name for name in measures if settings.index.isin(_with_value(histories, name)).any()
        ]
        raise SpecError(
            f"measure: no run has recorded {measure!r}; accepted: "
            f"{', '.join(there) or 'none, of these runs'}"
        )
    settings = settings.assign(
        mean=settings["accuracy"].where(settings.index.isin(with_value)),
        attacked=[
            f"{in_figure(attack)}, f = {f}" if f else "clean"
            for f, attack in zip(settings["byzantine"], settings["attack"], strict=True)
        ],
    )
    settings = settings[settings.index.isin(histories["run"]) | settings["failure"].notna()]
    return settings.sort_values(["byzantine", "attack"], kind="stable")


def _with_value(histories: pd.DataFrame, measure: str) -> pd.Series:
    """Name the runs that have a finite value of a measure."""
    value = pd.to_numeric(histories[measure], errors="coerce").astype(float)
    return histories["run"][np.isfinite(value)]


def _lines(settings: pd.DataFrame) -> pd.DataFrame:
    """Say of every line how many of its runs failed, and what marks it has."""
    groups = settings.groupby(_LINE, sort=False)
    seeds = groups.size()
    failed = groups["failure"].count()
    diverged = groups["diverged"].sum() > 0
    marks = diverged.map({True: DIVERGED, False: ""}) + (seeds < FEW_SEEDS).map(
        {True: FEW, False: ""}
    )
    about = {"seeds": seeds, "failed": failed, "marks": without_few(marks)}
    return pd.DataFrame(about).reset_index()


def averaged(settings: pd.DataFrame, histories: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Average over seeds at every step, with the half-width of the interval.

    Args:
        settings: by key, the columns `method`, `heterogeneity` and `attacked`, its f and attack.
        histories: with a column `run` of keys.
        measure: which column of `histories`.

    """
    values = histories.join(settings[_LINE], on="run", how="inner")
    value = pd.to_numeric(values[measure], errors="coerce").astype(float)
    values = values.assign(value=value.where(np.isfinite(value)))
    groups = values.groupby([*_LINE, "step"], sort=False)["value"]
    runs = groups.size()
    whole = groups.count() == runs  # a mean over the seeds that did not diverge would flatter
    interval = half_width(groups.std(), runs)
    points = pd.DataFrame({"mean": groups.mean(), "interval": interval}).where(whole)
    return points.assign(seeds=runs).reset_index().sort_values([*_LINE, "step"], kind="stable")


def _line(panel: "Axes", points: pd.DataFrame, look: Look, place: Place, marks: str) -> None:
    """Draw a line with its band, a bar for a point between gaps, and its marks at its end."""
    if points.empty:
        return
    x, mean, interval = (points[name] for name in ("step", "mean", "interval"))
    paint = look._asdict()
    draw_line(panel, x, mean, **paint, markevery=-(-len(points) // _RATHER_MARKS))
    draw_band(panel, x, mean, interval, look.color)
    there = mean.notna()
    alone = there & ~there.shift(fill_value=False) & ~there.shift(-1, fill_value=False)
    draw_line(panel, x[alone], mean[alone], **paint | {"linestyle": "none"})
    draw_bars(panel, x[alone], mean[alone], interval[alone], look.color, place)
    for last in records(points[there].tail(1)):
        mark(panel, (last.step, last.mean), marks, place)


def _notes(runs: pd.DataFrame, points: pd.DataFrame, lines: pd.DataFrame) -> Iterator[str]:
    data = " and ".join(runs["evaluate_on"].unique())
    yield f"On {data} data, {over_seeds(points['seeds'], 'bands')}."
    if points["mean"].isna().any():
        yield "A line is interrupted where some seed has no finite value."
    yield from about_marks(lines["marks"], lines["seeds"] - lines["failed"])
    if failed := int((lines["failed"] > 0).sum()):
        yield f"Failed: {failed} of {len(lines)} lines have no mean, as runs of theirs failed."
