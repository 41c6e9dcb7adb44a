"""What stands in a panel: means with their bars, marks of what is not as it seems, its axes."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from privrobust.core.formatting import percent
from privrobust.reporting.figures.lettering import wrapped
from privrobust.reporting.figures.themes import MARKERS, Look, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARK, _TITLE = 6.0, 7.5  # points
_NEAR = 2.0  # points: marks that are nearer hide each other
_OPEN_STEP, _FULL_STEP = 1.4, 0.8  # points that each adds to those behind
_HIGH = 1.2  # inches of a panel
SIDE_BY_SIDE = "Grey strip: {}; sideways place means nothing there."
NESTED = "Nested marks: methods that coincide or nearly; sizes of marks and caps mean nothing."
_AROUND = ((3, 2), (-6, 2), (3, -7), (-6, -7), (3, 6), (-6, 6), (3, -11), (-6, -11))
"""Points from a mean to its marks: several methods' stand around one place."""


def draw_line(panel: "Axes", x: Any, y: Any, **paint: Any) -> None:
    """Draw a line whose marks are whole where they stand on the frame."""
    for line in panel.plot(x, y, **{"zorder": 3} | paint, clip_on=False):
        line.set_in_layout(False)


def draw_band(panel: "Axes", x: Any, mean: Any, half: Any, color: str) -> None:
    """Shade what lies within half of an interval of a mean."""
    panel.fill_between(x, mean - half, mean + half, color=color, alpha=0.15, linewidth=0)


class Place(NamedTuple):
    """Which of several lines one is."""

    number: int
    lines: int

    @property
    def below(self) -> int:
        """How many are drawn over it."""
        return self.lines - 1 - self.number


def draw_bars(
    panel: "Axes", x: Any, mean: Any, half: Any, color: str, place: Place, zorder: float = 2.5
) -> None:
    """Draw the interval of each mean as a bar.

    Args:
        panel: to draw in.
        x: of the means.
        mean: one an x.
        half: of the interval, NaN where there is none; or how far it reaches down and up.
        color: of the line.
        place: of the line: bars of others may cover its own, whose caps are wider for each.
        zorder: of the bars.

    """
    wider = min(0.6, 2.4 / place.lines) * place.below
    panel.errorbar(
        x, mean, yerr=half, fmt="none", ecolor=color, elinewidth=0.9,
        capsize=1.5 + wider, capthick=0.8, zorder=zorder,
    )  # fmt: skip


def nest_marks(panels: Iterable["Axes"], inches: float, *, is_open: bool = False) -> bool:
    """Enlarge marks that later ones would hide, a step for each; nothing is moved.

    Args:
        panels: in which all is drawn, single means each as a line of its own.
        inches: how wide each is.
        is_open: those behind, too, where this means nothing else.

    Returns:
        Whether there were such.

    """
    step = _OPEN_STEP if is_open else _FULL_STEP
    found, points = False, (72 * inches, 72 * _HIGH)
    for panel in panels:
        panel.autoscale_view()
        in_panel = panel.transScale + panel.transLimits
        lines: Iterable[Any] = (line for line in panel.lines if line.get_linestyle() == "None")
        marks = [line for line in lines if line.get_marker() in MARKERS]
        marks.sort(key=lambda line: line.get_zorder())  # as they are drawn
        places = [in_panel.transform(line.get_xydata()[0]) * points for line in marks]
        for at, (line, place) in enumerate(zip(marks, places, strict=True)):
            above = sum(math.dist(place, other) < _NEAR for other in places[at + 1 :])
            line.set_markersize(line.get_markersize() + step * above)
            if above and is_open:
                line.set_markerfacecolor("none")
            found |= above > 0
    return found


def draw_chance(panel: "Axes", chance: float) -> None:
    """Draw what a model gets that has learnt nothing, where that is known."""
    if not math.isnan(chance):
        panel.axhline(chance, color=theme().pale, **_CHANCE)


_CHANCE: dict[str, Any] = {"linestyle": (0, (7, 3)), "linewidth": 0.6, "zorder": 1}


def chance_handles(chance: float) -> list[Any]:
    """Make the line of a legend that names chance, where that is known."""
    from matplotlib.lines import Line2D

    if math.isnan(chance):
        return []
    return [Line2D([], [], label=f"chance, {percent(chance)} %", color=theme().pale, **_CHANCE)]


def label_x(panels: Sequence["Axes"], text: str) -> None:
    """Name the x axis that panels beside each other share, once and in their middle."""
    middle = panels[(len(panels) - 1) // 2]
    middle.set_xlabel(text, x=0.5 if len(panels) % 2 else 1.0)


def mark(panel: "Axes", at: tuple[float, float], marks: str, place: Place) -> None:
    """Put the marks of a point beside it, those of the next method on another side."""
    if marks:
        panel.annotate(
            marks, at, _AROUND[place.number % len(_AROUND)], textcoords="offset points",
            fontsize=_MARK,
        )  # fmt: skip


def mark_failed(panel: "Axes", x: float, look: Look) -> None:
    """Mark on the frame below where a method has no mean, as runs of it failed."""
    _mark_below(panel, x, look, _CROSS)


def mark_not_run(panel: "Axes", x: float, look: Look) -> None:
    """Mark on the frame below where a method was not run, but was in other panels of the row."""
    _mark_below(panel, x, look, _QUESTION)


def _mark_below(panel: "Axes", x: float, look: Look, sign: dict[str, Any]) -> None:
    """Put a sign on the frame, above those that are there at the same place."""
    there: Iterable[Any] = (line for line in panel.lines if line.get_label() == _BELOW)
    places = [line.get_xydata()[0] for line in there]
    below = [float(y) for at, y in places if math.isclose(at, x, rel_tol=_SAME)]
    lowest = _STACKED * (sign is _QUESTION)  # the frame would run through it
    height = max([lowest, *(y + _STACKED for y in below)])
    paint = {"transform": panel.get_xaxis_transform(), "color": look.color, "label": _BELOW}
    draw_line(panel, [x], [height], **paint, **sign)


_BELOW = "_below"  # which no legend has
_SAME, _STACKED = 0.03, 0.06  # of a place on the axis, and of a panel's height
_CROSS: dict[str, Any] = {
    "marker": "x", "markersize": 4, "markeredgewidth": 1.1, "linestyle": "none", "zorder": 4,
}  # fmt: skip
_QUESTION: dict[str, Any] = _CROSS | {"marker": "$?$", "markersize": 4.5, "markeredgewidth": 0.3}


def failed_handle() -> Any:
    """Make the cross of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label="failed, no mean", color=theme().pale, **_CROSS)


def not_run_handle() -> Any:
    """Make the question mark of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label="not run", color=theme().pale, **_QUESTION)


def from_0_to_100(panel: "Axes") -> None:
    """Make the y axis one of shares in percent; its label says so."""
    panel.set_ylim(0, 1)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1])
    in_percent(panel)


def in_percent(panel: "Axes") -> None:
    """Write a y axis in percent; its label says so."""
    from matplotlib.ticker import PercentFormatter

    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=""))


def tell_empty(panel: "Axes", was_run: bool) -> None:
    """Say of a panel why nothing is in it, and hatch what was not run."""
    from matplotlib.patches import Rectangle

    if not was_run:
        panel.add_patch(Rectangle((0, 0), 1, 1, transform=panel.transAxes, **hatched()))
    panel.text(
        0.5, 0.5, "no result" if was_run else "not run", transform=panel.transAxes, ha="center",
        va="center", color=theme().pale, bbox=on_hatches(),
    )  # fmt: skip


def hatched() -> dict[str, Any]:
    """Return the look of a patch of what was not run."""
    return {
        "facecolor": theme().paper,
        "edgecolor": theme().lines[-1],
        "hatch": "////",
        "linewidth": 0,
        "zorder": 0,
    }


def on_hatches() -> dict[str, Any]:
    """Return the look of the box of words on hatches."""
    return {"facecolor": theme().paper, "edgecolor": "none", "pad": 1}


def grid(panel: "Axes") -> None:
    """Draw faint lines to read values by."""
    panel.grid(visible=True)


def set_title(panel: "Axes", inches: float, *lines: str) -> None:
    """Give a panel of so many inches its title, with lines broken where they are too long."""
    panel.set_title("\n".join(in_title(lines, inches).values()))


def in_title(lines: Iterable[str], inches: float) -> dict[str, str]:
    """Return what a title so wide shows of each line."""
    return {line: wrapped(line, inches, _TITLE) for line in lines}
