"""Where methods hold: worst-case accuracy by f and heterogeneity, a panel a method and b."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.core.formatting import rounded_up
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, styled
from privrobust.reporting.figures.cells import (
    ESTIMATE,
    at_worst,
    drawable,
    label_of,
    measured,
    ordered,
    records,
    runs_of,
    text_of_noise,
    title_of_data,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.lettering import shortened, width_of
from privrobust.reporting.figures.margins import add_notes, grow
from privrobust.reporting.figures.metric_scales import as_numbers, colors_of
from privrobust.reporting.figures.notes import (
    about_attacks,
    about_cut,
    about_names,
    about_seeds,
    guarantee,
)
from privrobust.reporting.figures.panels import hatched, in_title, label_x, set_title
from privrobust.reporting.figures.themes import theme
from privrobust.reporting.figures.what_was_run import about_missing, about_runs
from privrobust.reporting.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TALLEST = 8.3  # inches: a page, less small print
_ROOM = 5.4  # inches for the cells of a row of panels
_CELL, _ROW, _MAP = 0.54, 0.3, 0.75  # inches: a cell's width and height, and the least of a panel
_NUMBER, _TICK = 6.0, 6.5  # points
_HUGE = 1e5  # from which on digits would fill a cell


@styled
def heatmap_figure(
    runs: pd.DataFrame, noise_scale: float | None = None, metric: str = "accuracy"
) -> "Figure":
    """Draw worst-case accuracy in percent, f by heterogeneity: a column a method, a row a b.

    At f = 0 it is the clean accuracy. ± is half of the 95 % Student interval over seeds, and is
    missing where there is a single seed. Hatched cells were not run; those that failed say so.

    Args:
        runs: a row a run, as from `Store.runs`.
        noise_scale: b, for this one only.
        metric: what is drawn, of `METRICS`, in place of accuracy.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "heatmap", metric)
    every = measured(shown, ["noise_scale", "target_epsilon"], metric)
    if noise_scale is not None:
        noises = ordered(every["noise_scale"])
        known = ", ".join(map(str, noises))
        noise_scale = as_float("noise_scale", noise_scale, f"accepted: {known}")
        if noise_scale not in noises:
            raise SpecError(f"noise_scale: {noise_scale:g} was not run; accepted: {known}")
        every = every[every["noise_scale"] == noise_scale]
    all_cells = at_worst(every)
    most = _most(all_cells)
    every = within(every, fitting(all_cells, most))
    cells = at_worst(every)
    left_out = about_left_out(all_cells, cells, most, shown)
    drawn = runs_of(cells, shown)
    noises, methods = ordered(cells["noise_scale"]), list(cells["method"].unique())
    columns, fs = ordered(cells["heterogeneity"]), ordered(cells["byzantine"])

    height = len(noises) * max(_MAP, 0.3 + _ROW * len(fs))
    is_small = len(methods) == 1 and len(columns) <= 4
    figure = new_figure(NARROW if is_small else WIDE, 0.5 + height)
    axes = figure.subplots(len(noises), len(methods), squeeze=False, sharex=True, sharey=True)
    colors = colors_of(metric, cells["mean"])
    spent = {b: _spent_by_all(cells[cells["noise_scale"] == b]) for b in noises}
    inches = (2.2 if is_small else _ROOM) / len(methods)
    for row, b in enumerate(noises):
        for column, method in enumerate(methods):
            here = cells[(cells["noise_scale"] == b) & (cells["method"] == method)]
            _map(axes[row, column], here, (fs, columns), colors, metric, inches / len(columns))
            titles = [method] if row == 0 else []
            titles += [] if spent[b] else [_spent(here)]  # each has its own
            set_title(axes[row, column], inches, *titles)
        axes[0, 0].set_yticks(range(len(fs)), fs)
        of_row = filter(None, [text_of_noise(b), spent[b]])
        axes[row, 0].set_ylabel("\n".join([*of_row, "", "f"]))
    shown_of = _label_columns(figure, axes[-1], columns, inches) | in_title(methods, inches)
    figure.colorbar(
        colors, ax=axes, label=label_of(metric), aspect=10 * height, pad=0.01, format=as_numbers()
    )
    add_notes(figure, [*_notes(runs, drawn, every, metric, left_out), *about_cut(shown_of)])
    return figure


def _most(cells: pd.DataFrame) -> dict[str, int]:
    """Return how many values of what fit a page, with room for the number in every cell."""
    fs = min(12, cells["byzantine"].nunique())
    columns = min(int(_ROOM / _CELL), cells["heterogeneity"].nunique())
    return {
        "noise_scale": max(1, min(6, int(_TALLEST / max(_MAP, 0.3 + _ROW * fs)))),
        "byzantine": fs,
        "heterogeneity": columns,
        "method": max(1, min(4, int(_ROOM / (_CELL * columns)))),
    }


def _spent_by_all(cells: pd.DataFrame) -> str:
    """Say what every method spends at one b; nothing where they differ, as signs do."""
    texts = {_spent(of_method) for _, of_method in cells.groupby("method")}
    return texts.pop() if len(texts) == 1 else ""


def _spent(cells: pd.DataFrame) -> str:
    epsilons = sorted(set(cells["epsilon"].dropna()))
    if not epsilons:
        return ""
    if epsilons == [math.inf]:
        return "not private"
    shown = " to ".join(dict.fromkeys(rounded_up(end, 3) for end in (epsilons[0], epsilons[-1])))
    return f"ε = {ESTIMATE if cells['is_estimate'].any() else ''}{shown}"


def _map(
    panel: "Axes",
    cells: pd.DataFrame,
    places: tuple[list[int], list[str]],
    colors: Any,
    metric: str,
    inches: float,
) -> None:
    """Draw one method at one b; rows of f from below, columns of partitions, each so wide."""
    from matplotlib.patches import Rectangle

    fs, columns = places
    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(fs) - 0.5))
    panel.tick_params(length=0)
    panel.add_patch(Rectangle((-0.5, -0.5), len(columns), len(fs), **hatched()))
    scale = 100 if METRICS[metric].is_share else 1
    for cell in records(cells):
        at = (columns.index(cell.heterogeneity), fs.index(cell.byzantine))
        there = not math.isnan(cell.mean)
        color: Any = colors.to_rgba(scale * cell.mean) if there else theme().shade
        ink = _ink(color) if there else theme().alarm
        words = _words(cell, metric, inches) if there else "failed" if cell.failed else "no value"
        corner = (at[0] - 0.5, at[1] - 0.5)
        edge = theme().paper
        panel.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor=edge, linewidth=0.8))
        panel.text(*at, words, ha="center", va="center", fontsize=_NUMBER, color=ink)


def _words(cell: Any, metric: str, inches: float) -> str:
    """Write a mean with its interval, in two lines where one has no room; what is huge in short."""
    power = ""
    mean, half = cell.mean, cell.interval
    if abs(mean) >= _HUGE:
        exponent = math.floor(math.log10(abs(mean)))
        mean, half, power = mean / 10.0**exponent, half / 10.0**exponent, f"e{exponent}"
    written, spread = METRICS[metric].text(mean, half)
    parts = [f"{written}{power}{cell.marks}", f"± {spread}{power}" if spread else ""]
    line = " ".join(filter(None, parts))
    return line if width_of(line, _NUMBER) <= inches else "\n".join(filter(None, parts))


def _ink(color: tuple[float, ...]) -> str:
    """Return black or white, whichever stands out more (relative luminance of WCAG 2)."""
    linear = [((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _label_columns(
    figure: "Figure", panels: Any, columns: list[str], inches: float
) -> dict[str, str]:
    """Name the columns, and return what is written of each name."""
    is_number = all(column[0].isdigit() for column in columns)
    names = columns if is_number else [title_of_data(column) for column in columns]
    labels = names
    room = inches / len(columns) - 0.08
    is_long = any(width_of(label, _TICK) > room for label in labels)
    if is_long:
        labels = [shortened(label, 1.4, _TICK) for label in labels]
        grow(figure, max(width_of(label, _TICK) for label in labels))
    for panel in panels:
        panel.set_xticks(range(len(labels)), labels, rotation=90 if is_long else 0)
    label_x(panels, "heterogeneity" if is_number else "partition")
    return dict(zip(names, labels, strict=True))


def _notes(
    runs: pd.DataFrame,
    shown: pd.DataFrame,
    every: pd.DataFrame,
    metric: str,
    left_out: Iterable[str],
) -> list[str]:
    cells = at_worst(every)
    fields = ["noise_scale", "method", "byzantine", "heterogeneity"]
    places = math.prod(cells[field].nunique() for field in fields)
    return [
        *about_runs(shown, cells["heterogeneity"], "worst case of"),
        *about_missing(shown),
        *left_out,
        "At f = 0 without attackers, else under the worst attack.",
        *about_seeds(shown, cells, "±", metric),
        *about_attacks(every),
        *about_names(cells),
        "Hatched: not run." if len(cells) < places else "",
        *guarantee(shown, runs),
    ]
