"""Where methods hold: worst-case accuracy by f and heterogeneity, a panel a method and b."""

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.core.formatting import in_percent, rounded_up
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, add_notes, new_figure, styled
from privrobust.reporting.figures.cells import (
    about_attacks,
    about_seeds,
    at_worst,
    drawable,
    guarantee,
    measured,
    ordered,
    records,
    runs_of,
    text_of_noise,
    title_of_data,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"noise_scale": 6, "byzantine": 12, "heterogeneity": 12, "method": 4}
_COLORS = "cividis"  # its lightness rises with the value, for grey and for every eye


@styled
def heatmap_figure(runs: pd.DataFrame, noise_scale: float | None = None) -> "Figure":
    """Draw worst-case accuracy in percent, f by heterogeneity: a column a method, a row a b.

    At f = 0 it is the clean accuracy. ± is half of the 95 % Student interval over seeds, and is
    missing where there is a single seed. Hatched cells were not run, or say that they failed.

    Args:
        runs: a row a run, as from `Store.runs`.
        noise_scale: b, for this one only.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "heatmap")
    every = measured(shown, axes=["noise_scale", "target_epsilon"])
    if noise_scale is not None:
        noises = ordered(every["noise_scale"])
        known = ", ".join(map(str, noises))
        noise_scale = as_float("noise_scale", noise_scale, f"accepted: {known}")
        if noise_scale not in noises:
            raise SpecError(f"noise_scale: {noise_scale:g} was not run; accepted: {known}")
        every = every[every["noise_scale"] == noise_scale]
    all_cells = at_worst(every)
    every = within(every, fitting(all_cells, _MOST))
    cells = at_worst(every)
    left_out = about_left_out(all_cells, cells, _MOST, shown)
    drawn = runs_of(cells, shown)
    noises, methods = ordered(cells["noise_scale"]), list(cells["method"].unique())
    columns, fs = ordered(cells["heterogeneity"]), ordered(cells["byzantine"])

    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height = len(noises) * max(0.75, 0.3 + 0.3 * len(fs))
    is_small = len(methods) == 1 and len(columns) <= 4
    figure = new_figure(NARROW if is_small else WIDE, 0.5 + height)
    axes = figure.subplots(len(noises), len(methods), squeeze=False, sharex=True, sharey=True)
    colors = ScalarMappable(Normalize(0, 100), _COLORS)
    spent = {b: _spent_by_all(cells[cells["noise_scale"] == b]) for b in noises}
    for row, b in enumerate(noises):
        for column, method in enumerate(methods):
            here = cells[(cells["noise_scale"] == b) & (cells["method"] == method)]
            _map(axes[row, column], here, fs, columns, colors)
            titles = [method] if row == 0 else []
            titles += [] if spent[b] else [_spent(here)]  # each has its own
            axes[row, column].set_title("\n".join(titles))
        axes[0, 0].set_yticks(range(len(fs)), fs)
        of_row = filter(None, [text_of_noise(b), spent[b]])
        axes[row, 0].set_ylabel("\n".join([*of_row, "", "f"]))
    _label_columns(axes[-1], columns, len(methods))
    figure.colorbar(colors, ax=axes, label="accuracy in %", aspect=10 * height, pad=0.01)
    add_notes(figure, [*left_out, *_notes(runs, drawn, every)])
    return figure


def _spent_by_all(cells: pd.DataFrame) -> str:
    """Say what every method spends at one b; nothing where they differ, as signs do."""
    texts = {_spent(of_method) for _, of_method in cells.groupby("method")}
    return texts.pop() if len(texts) == 1 else ""


def _spent(cells: pd.DataFrame) -> str:
    epsilons = sorted(set(cells["epsilon"]))
    if not epsilons:
        return ""
    if epsilons == [math.inf]:
        return "not private"
    shown = " to ".join(dict.fromkeys(rounded_up(end, 3) for end in (epsilons[0], epsilons[-1])))
    return f"ε = {shown}{' (estimate)' if cells['is_estimate'].any() else ''}"


def _map(
    panel: "Axes", cells: pd.DataFrame, fs: list[int], columns: list[str], colors: Any
) -> None:
    """Draw one method at one b; rows of f from below."""
    from matplotlib.patches import Rectangle

    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(fs) - 0.5))
    panel.tick_params(length=0)
    panel.add_patch(Rectangle((-0.5, -0.5), len(columns), len(fs), **_HATCHED))
    for cell in records(cells):
        at = (columns.index(cell.heterogeneity), fs.index(cell.byzantine))
        if math.isnan(cell.accuracy):
            panel.text(*at, "failed", ha="center", va="center", fontsize=5.5, bbox=_ON_HATCHES)
            continue
        color = colors.to_rgba(100 * cell.accuracy)
        corner = (at[0] - 0.5, at[1] - 0.5)
        panel.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white", linewidth=0.8))
        panel.text(*at, _words(cell), ha="center", va="center", fontsize=6, color=_ink(color))


_HATCHED: Any = {"facecolor": "white", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}
_ON_HATCHES: Any = {"facecolor": "white", "edgecolor": "none", "pad": 1}


def _words(cell: Any) -> str:
    mean, half = in_percent(cell.accuracy, cell.interval)
    return f"{mean}{cell.marks}{f' ±{half}' if half else ''}"


def _ink(color: tuple[float, ...]) -> str:
    """Return black or white, whichever stands out more (relative luminance of WCAG 2)."""
    linear = [((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _label_columns(panels: Any, columns: list[str], methods: int) -> None:
    is_number = all(column[0].isdigit() for column in columns)
    labels = columns if is_number else [title_of_data(column) for column in columns]
    is_long = sum(map(len, labels)) * methods > 70
    for panel in panels:
        panel.set_xticks(range(len(labels)), labels, rotation=90 if is_long else 0)
        panel.set_xlabel("heterogeneity" if is_number else "partition")


def _notes(runs: pd.DataFrame, shown: pd.DataFrame, every: pd.DataFrame) -> list[str]:
    cells = at_worst(every)
    fields = ["noise_scale", "method", "byzantine", "heterogeneity"]
    places = math.prod(cells[field].nunique() for field in fields)
    hatched = "Hatched: not run, or failed." if cells["accuracy"].count() < places else ""
    what = "At f = 0 clean accuracy, else that under the worst attack."
    about = [*about_seeds(shown, cells, "±"), *about_attacks(every)]
    return [what, *about, hatched, *guarantee(shown, runs)]
