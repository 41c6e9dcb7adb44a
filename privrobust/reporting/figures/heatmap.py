"""Where methods hold: worst-case accuracy by f and heterogeneity, a panel a method and b."""

import math
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
from privrobust.reporting.figures.lettering import shortened, width_of, wrapped
from privrobust.reporting.figures.margins import add_notes, grow
from privrobust.reporting.figures.notes import (
    about_attacks,
    about_names,
    about_seeds,
    guarantee,
)
from privrobust.reporting.figures.panels import hatched, set_title
from privrobust.reporting.figures.themes import theme
from privrobust.reporting.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = "cividis"  # its lightness rises with the value, for grey and for every eye
_TALLEST = 8.3  # inches: a page, less small print
_ROOM = 5.4  # inches for the cells of a row of panels
_CELL, _ROW, _MAP = 0.54, 0.3, 0.75  # inches: a cell's width and height, and the least of a panel
_NUMBER, _TICK, _LABEL = 6.0, 6.5, 7.5  # points


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
    colors = _colors(cells["mean"], metric)
    spent = {b: _spent_by_all(cells[cells["noise_scale"] == b]) for b in noises}
    inches = (2.2 if is_small else _ROOM) / len(methods)
    for row, b in enumerate(noises):
        for column, method in enumerate(methods):
            here = cells[(cells["noise_scale"] == b) & (cells["method"] == method)]
            _map(axes[row, column], here, (fs, columns), colors, metric)
            titles = [method] if row == 0 else []
            titles += [] if spent[b] else [_spent(here)]  # each has its own
            set_title(axes[row, column], inches, *titles)
        axes[0, 0].set_yticks(range(len(fs)), fs)
        of_row = filter(None, [text_of_noise(b), spent[b]])
        axes[row, 0].set_ylabel("\n".join([*of_row, "", "f"]))
    _label_columns(figure, axes[-1], columns, inches)
    figure.colorbar(colors, ax=axes, label=label_of(metric), aspect=10 * height, pad=0.01)
    add_notes(figure, [*left_out, *_notes(runs, drawn, every, metric)])
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


def _colors(means: pd.Series, metric: str) -> Any:
    """Return what colours values: an accuracy from 0 to 100, else from the least to the most."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = 100 if METRICS[metric].is_share else 1
    low, high = scale * means.min(), scale * means.max()
    if METRICS[metric].is_accuracy:
        low, high = 0, 100
    elif not low < high:  # NaN, or one value
        low, high = (0, 1) if math.isnan(low) else (low - 1, high + 1)
    return ScalarMappable(Normalize(low, high), _COLORS)


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
) -> None:
    """Draw one method at one b; rows of f from below, columns of partitions."""
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
        words = _words(cell, metric) if there else "failed" if cell.failed else "no value"
        corner = (at[0] - 0.5, at[1] - 0.5)
        edge = theme().paper
        panel.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor=edge, linewidth=0.8))
        panel.text(*at, words, ha="center", va="center", fontsize=_NUMBER, color=ink)


def _words(cell: Any, metric: str) -> str:
    mean, half = METRICS[metric].text(cell.mean, cell.interval)
    return f"{mean}{cell.marks}{f' ± {half}' if half else ''}"


def _ink(color: tuple[float, ...]) -> str:
    """Return black or white, whichever stands out more (relative luminance of WCAG 2)."""
    linear = [((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _label_columns(figure: "Figure", panels: Any, columns: list[str], inches: float) -> None:
    is_number = all(column[0].isdigit() for column in columns)
    labels = columns if is_number else [title_of_data(column) for column in columns]
    room = inches / len(columns) - 0.08
    is_long = any(width_of(label, _TICK) > room for label in labels)
    if is_long:
        labels = [shortened(label, 1.4, _TICK) for label in labels]
        grow(figure, max(width_of(label, _TICK) for label in labels))
    for panel in panels:
        panel.set_xticks(range(len(labels)), labels, rotation=90 if is_long else 0)
        panel.set_xlabel(wrapped("heterogeneity" if is_number else "partition", inches, _LABEL))


def _notes(runs: pd.DataFrame, shown: pd.DataFrame, every: pd.DataFrame, metric: str) -> list[str]:
    cells = at_worst(every)
    fields = ["noise_scale", "method", "byzantine", "heterogeneity"]
    places = math.prod(cells[field].nunique() for field in fields)
    return [
        "At f = 0 without attackers, else under the worst attack.",
        *about_seeds(shown, cells, "±", metric),
        *about_attacks(every),
        *about_names(cells),
        "Hatched: not run." if len(cells) < places else "",
        *guarantee(shown, runs),
    ]
