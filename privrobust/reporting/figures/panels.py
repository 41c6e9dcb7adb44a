"""What stands in a panel: means with their bars, marks of what is not as it seems, its axes."""

from typing import TYPE_CHECKING, Any, NamedTuple

from privrobust.reporting.figures.lettering import wrapped
from privrobust.reporting.figures.themes import Look, theme
from privrobust.reporting.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARK, _TITLE = 6.0, 7.5  # points
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
    panel: "Axes", x: Any, mean: Any, half: Any, color: str, place: Place, alpha: float = 1.0
) -> None:
    """Draw the interval of each mean as a bar.

    Args:
        panel: to draw in.
        x: of the means.
        mean: one an x.
        half: of the interval, NaN where there is none; or how far it reaches down and up.
        color: of the line.
        place: of the line: bars of others may cover its own, which are wider the more there are.
        alpha: of the bars.

    """
    wider = min(0.6, 2.4 / place.lines) * place.below
    panel.errorbar(
        x, mean, yerr=half, fmt="none", ecolor=color, elinewidth=0.8 + wider,
        capsize=1.5 + wider, capthick=0.8, alpha=alpha, zorder=2.5,
    )  # fmt: skip


def mark(panel: "Axes", at: tuple[float, float], marks: str, place: Place) -> None:
    """Put the marks of a point beside it, those of the next method on another side."""
    if marks:
        panel.annotate(
            marks, at, _AROUND[place.number % len(_AROUND)], textcoords="offset points",
            fontsize=_MARK,
        )  # fmt: skip


def mark_failed(panel: "Axes", x: float, look: Look) -> None:
    """Mark on the frame below where a method has no mean, as runs of it failed."""
    draw_line(panel, x, 0, transform=panel.get_xaxis_transform(), color=look.color, **_CROSS)


_CROSS: dict[str, Any] = {
    "marker": "x", "markersize": 4, "markeredgewidth": 1.1, "linestyle": "none", "zorder": 4,
}  # fmt: skip


def failed_handle() -> Any:
    """Make the cross of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label="failed, no mean", color=theme().pale, **_CROSS)


def from_0_to_100(panel: "Axes") -> None:
    """Make the y axis one of shares in percent; its label says so."""
    panel.set_ylim(0, 1)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1])
    _in_percent(panel)


def show_metric(panel: "Axes", metric: str) -> None:
    """Make the y axis one of a metric: from 0 to 100 of an accuracy, in percent of any share."""
    if METRICS[metric].is_accuracy:
        from_0_to_100(panel)
    elif METRICS[metric].is_share:
        _in_percent(panel)


def _in_percent(panel: "Axes") -> None:
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
    panel.set_title("\n".join(wrapped(line, inches, _TITLE) for line in lines))
