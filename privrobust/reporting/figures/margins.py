"""What stands around panels: one legend above, what has to be read with the picture below."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from privrobust.core.escaping import in_figure
from privrobust.reporting.figures.lettering import filled, width_of, wrapped
from privrobust.reporting.figures.themes import Look, theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND, _SMALL = 6.5, 6.0  # points
_HANDLE, _BETWEEN = 0.36, 0.18  # inches: a line with the gap to its name, and between columns
_LINE = 0.137  # inches of a line of the legend
_EDGE = 0.06  # inches left and right of words
_HINTED = 0.97  # of a line's room: on a screen small letters are set a little wider


def handles(styles: Mapping[str, Look]) -> list[Any]:
    """Make the lines of a legend, one a name."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=name, **look._asdict()) for name, look in styles.items()]


def add_legend(figure: "Figure", lines: Sequence[Any]) -> None:
    """Put one legend for all panels above them; the figure grows by what it takes."""
    room = _HINTED * (figure.get_figwidth() - 2 * _EDGE)
    for line in lines:
        line.set_label(wrapped(line.get_label(), room - _HANDLE, _LEGEND))
    across = next(n for n in range(len(lines), 0, -1) if n == 1 or _width(lines, n) <= room)
    rows = [line.get_label().count("\n") + 1 for line in lines]
    down = -(-len(lines) // across)
    grow(figure, _LINE * max(sum(rows[i : i + down]) for i in range(0, len(rows), down)) + 0.04)
    figure.legend(
        handles=lines, loc="outside upper center", ncols=across, columnspacing=1.6,
        handletextpad=0.6, borderpad=0.2,
    )  # fmt: skip


def _width(lines: Sequence[Any], across: int) -> float:
    """Return the inches of a legend of so many columns, which are filled one after the other."""
    short, longer = divmod(len(lines), across)
    counts = [short + (column < longer) for column in range(across)]
    total, start = 0.0, 0
    for count in counts:
        texts = [part for line in lines[start : start + count] for part in _parts(line)]
        total += _HANDLE + max(width_of(text, _LEGEND) for text in texts)
        start += count
    return total + _BETWEEN * (across - 1)


def _parts(line: Any) -> list[str]:
    return str(line.get_label()).split("\n")


def add_notes(figure: "Figure", notes: Iterable[str]) -> None:
    """Put what has to be read with the picture in small print below it; the figure grows."""
    room = _HINTED * (figure.get_figwidth() - 2 * _EDGE)
    text = "\n".join(filled(in_figure(note), room, _SMALL) for note in notes if note)
    grow(figure, 0.1 * (1 + text.count("\n")))
    figure.supxlabel(
        text, x=_EDGE / figure.get_figwidth(), ha="left", fontsize=_SMALL, color=theme().pale
    )


def grow(figure: "Figure", inches: float) -> None:
    """Make a figure so much higher."""
    figure.set_figheight(figure.get_figheight() + inches)
