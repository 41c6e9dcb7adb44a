"""Which learning rate is best at which b: noise asks for smaller steps (Chen et al. 2020)."""

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.cells import (
    drawable,
    measured,
    ordered,
    records,
    title_of_data,
    without_few,
)
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.notes import about_marks, about_names, how_many
from privrobust.reporting.figures.panels import (
    Place,
    draw_bars,
    failed_handle,
    grid,
    mark,
    mark_failed,
    set_title,
)
from privrobust.reporting.figures.scales import Scale, ticks_beside
from privrobust.reporting.figures.themes import MOST_LINES, Look, looks, theme
from privrobust.reporting.legend import DIVERGED, FEW
from privrobust.reporting.summary import WORST
from privrobust.reporting.tables.choice import validated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 4, "method": MOST_LINES}


@styled
def learning_rate_figure(runs: pd.DataFrame) -> "Figure":
    """Draw the best learning rate against b: a panel a partition, a line a method.

    Best is the largest of the least mean accuracy over all f and attacks that were run: the clean
    accuracy, if that is all there is. Bars reach over the rates whose accuracy lies in the 95 %
    interval of the best. An open mark is a rate at the edge of those tried: the best may be beyond.

    Args:
        runs: a row a run, as from `Store.runs`. Of those on validation data, if there are such.

    Raises:
        SpecError: nothing to choose from; matplotlib is missing.

    """
    shown = drawable(validated(runs), "learning_rate")
    all_best = best_rates(shown)
    if all_best["mean"].isna().all():
        raise SpecError("learning_rate: nothing to draw: at every b and rate a run failed")
    best = within(all_best, fitting(all_best, _MOST))
    panels = ordered(best["heterogeneity"])
    styles = looks(best["method"].unique())
    scale = Scale(best["noise_scale"], 0.0, "0", ticks_beside(len(panels)), lines=len(styles))

    figure = new_figure(NARROW if len(panels) == 1 else WIDE, 2.1)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for panel, heterogeneity in zip(axes, panels, strict=True):
        here = best[best["heterogeneity"] == heterogeneity]
        scale.show(panel)
        panel.set_yscale("log")
        for index, (method, look) in enumerate(styles.items()):
            place = Place(index, len(styles))
            _line(panel, here[here["method"] == method], look, scale, place)
        set_title(panel, panel_width(len(panels)), title_of_data(heterogeneity))
        panel.set_xlabel("noise scale b")
        grid(panel)
    _label_rates(axes[0], sorted({rate for tried in best["tried"] for rate in tried}))
    axes[0].set_ylabel("best learning rate")
    add_legend(figure, _handles(styles, best))
    left_out = about_left_out(all_best, best, _MOST, shown)
    aside = ["In the shaded place, without noise, methods stand side by side."]
    add_notes(
        figure,
        [
            *left_out,
            *_notes(shown, best),
            *about_names(best),
            *(aside if scale.has_apart and len(styles) > 1 else []),
        ],
    )
    return figure


def best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Find the best `rate` of each method, partition and b, its `mean`, `lowest` and `highest`.

    Args:
        runs: as from `drawable`, of several learning rates.

    Returns:
        Also `tried`, the rates compared, in order, and `left_out`, how many were not: those that
        were not run under every f and attack that others of their setting were; `seeds`, the
        fewest of a mean; `marks` of the best. Without a rate that did not fail all else is NaN.

    """
    cells = measured(runs, ["noise_scale", "learning_rate"])
    if "learning_rate" not in cells or cells["learning_rate"].nunique() < 2:
        raise SpecError(
            "learning_rate: nothing to draw: no method and b has runs of several learning rates; "
            "a sweep's tune makes them"
        )
    is_number = cells["noise_scale"].map(lambda b: not isinstance(b, str))
    if not is_number.all():
        raise SpecError(
            "learning_rate: some target_epsilon took several b, which have no one place on the "
            "axis; choose runs without: --where target_epsilon=none"
        )
    cells = cells[cells["attack"] != WORST]
    setting = ["heterogeneity", "method", "stands_for", "noise_scale"]
    found = [
        dict(zip(setting, at, strict=True)) | _best(part)
        for at, part in cells.groupby(setting, sort=False)
    ]
    best = pd.DataFrame(found).astype({"noise_scale": float})
    return best.assign(marks=without_few(best["marks"]))


def _best(cells: pd.DataFrame) -> dict[str, Any]:
    """Choose among the rates of one method and b; the smallest of those that tie."""
    by_rate = cells.groupby("learning_rate")
    counts = by_rate.size()
    compared = counts.index[counts == counts.max()]
    failed = by_rate["failed"].sum() > 0
    scores = by_rate["mean"].min().mask(failed).reindex(compared)
    told: dict[str, Any] = {"tried": list(compared), "left_out": len(counts) - len(compared)}
    if scores.isna().all():
        return told | {"rate": math.nan, "mean": math.nan, "seeds": 0, "marks": ""}
    rate: Any = scores.idxmax()
    of_best = cells[cells["learning_rate"] == rate]
    interval = float(of_best.sort_values("mean")["interval"].iloc[0])
    near = scores.index[scores >= scores[rate] - (0 if math.isnan(interval) else interval)]
    signs = set("".join(of_best["marks"]))
    return told | {
        "rate": rate,
        "mean": scores[rate],
        "lowest": min(near),
        "highest": max(near),
        "seeds": int(of_best["seeds"].min()),
        "marks": "".join(sign for sign in (DIVERGED, FEW) if sign in signs),
    }


def is_at_edge(best: pd.DataFrame) -> pd.Series:
    """Tell whether no smaller, or no larger, rate was tried."""
    return pd.Series(
        [row.rate in (row.tried[0], row.tried[-1]) for row in records(best)],
        index=best.index,
        dtype=bool,
    )


def _line(panel: "Axes", best: pd.DataFrame, look: Look, scale: Scale, place: Place) -> None:
    there = best.dropna(subset="rate").sort_values("noise_scale")
    x = [scale.beside(b, place) for b in there["noise_scale"]]
    panel.plot(x, there["rate"], **look._asdict() | {"marker": ""}, alpha=0.8)
    rates = there["rate"].to_numpy(float)
    reach = [rates - there["lowest"].to_numpy(float), there["highest"].to_numpy(float) - rates]
    draw_bars(panel, x, rates, reach, look.color, place)
    for at, row, at_edge in zip(x, records(there), is_at_edge(there), strict=True):
        face = theme().paper if at_edge else look.color
        panel.plot(at, row.rate, color=look.color, marker=look.marker, mfc=face, zorder=3)
        mark(panel, (at, row.rate), row.marks, place)
    for b in best["noise_scale"][best["rate"].isna()]:
        mark_failed(panel, scale.beside(b, place), look)


def _label_rates(panel: "Axes", rates: list[float]) -> None:
    """Put ticks at the rates that were tried, which are few."""
    from matplotlib.ticker import NullLocator

    panel.yaxis.set_minor_locator(NullLocator())
    step = -(-len(rates) // 8)
    panel.set_yticks(rates[::step], [number(rate) for rate in rates[::step]])
    panel.set_ylim(rates[0] / 1.4, rates[-1] * 1.4)


def _handles(styles: dict[str, Look], best: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = handles(styles)
    if is_at_edge(best).any():
        open_mark: dict[str, Any] = {
            "color": theme().pale,
            "marker": "o",
            "ls": "none",
            "markerfacecolor": theme().paper,
        }
        lines.append(Line2D([], [], label="at the edge of the rates tried", **open_mark))
    if best["rate"].isna().any():
        lines.append(failed_handle())
    return lines


def _notes(runs: pd.DataFrame, best: pd.DataFrame) -> list[str]:
    data = " and ".join(runs["evaluate_on"].unique())
    attacked = runs["byzantine"].any()
    by = "least mean accuracy over f and attacks" if attacked else "mean clean accuracy"
    notes = [
        f"Best by {by} on {data} data, over {how_many(best['seeds'])}. Bars: rates whose accuracy "
        "lies in the 95 % Student interval of the best. Choosing on private data spends privacy "
        "that no ε here counts.",
    ]
    if data != "validation":
        notes.append("Chosen on test data: the accuracy of such a choice is no estimate of it.")
    if left_out := int(best["left_out"].sum()):
        notes.append(f"{left_out} rates that lack some f or attack are not compared.")
    notes += about_marks(best["marks"], best["seeds"])
    if failed := int(best["rate"].isna().sum()):
        notes.append(f"Failed: at {failed} of {len(best)} settings runs of every rate failed.")
    return notes
