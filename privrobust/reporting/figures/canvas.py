"""What all figures share: their size, their style, and how they become files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

from privrobust.core.escaping import in_figure
from privrobust.core.files import put_whole
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

NARROW, WIDE = 3.3, 6.8
"""Inches: one column of a page, and two."""

ENDINGS = ("eps", "jpeg", "jpg", "pdf", "pgf", "png", "ps", "svg", "svgz", "tif", "tiff", "webp")
"""Of files: matplotlib's, known without it."""

MOST_LINES = 8  # that eyes tell apart, and that have colours

_STYLE = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "figure.labelsize": 7.5,
    "figure.titlesize": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
_SAVING = {
    "pdf.fonttype": 42,  # journals refuse the default, Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "privrobust",  # one figure, one file: else names are drawn at random
    "savefig.dpi": 300,
}
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}

# Okabe and Ito 2008 without its yellow, which white paper swallows, and grey.
_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9", "#777777",
)  # fmt: skip
_MARKERS = "os^DvPX*"
_DASHES: Sequence[Any] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)),
    (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (6, 1, 2, 1)),
)  # fmt: skip


class Look(NamedTuple):
    """What tells one line from another, each by itself."""

    color: str
    marker: str
    linestyle: Any


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for every name."""
    styles = zip(cycle(_COLORS), cycle(_MARKERS), cycle(_DASHES), strict=True)
    return {name: Look(*style) for name, style in zip(names, styles, strict=False)}


def styled(draw: Callable[Arguments, "Figure"]) -> Callable[Arguments, "Figure"]:
    """Draw in the style of these figures, and put matplotlib's settings back."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **settings: Arguments.kwargs) -> "Figure":
        with _matplotlib().rc_context(_STYLE):
            return draw(*arguments, **settings)

    return drawn


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure of so many inches.

    Raises:
        SpecError: matplotlib is missing.

    """
    _matplotlib()
    from privrobust.reporting.figures.displayed import DisplayedFigure

    return DisplayedFigure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of the file's ending.

    Raises:
        SpecError: no ending, an unknown one, or a file that cannot be written.

    """
    check_ending(path)
    ending = path.suffix[1:].lower()
    drawn = BytesIO()
    try:
        with _matplotlib().rc_context(_SAVING):
            figure.savefig(drawn, format=ending, metadata=_UNDATED.get(ending))
        put_whole(drawn.getvalue(), path)
    except (OSError, ValueError) as error:
        raise SpecError(f"plot: {str(path)!r} cannot be written ({error})") from None


def check_ending(path: Path) -> None:
    """Refuse what no figure can be written to, before it is drawn.

    Raises:
        SpecError: no ending, or an unknown one.

    """
    if not path.suffix:
        raise SpecError(
            f"plot: {str(path)!r} is no file name; accepted: such as figure.png or .pdf"
        )
    if path.suffix[1:].lower() not in ENDINGS:
        raise SpecError(
            f"plot: {str(path)!r} cannot be written ({path.suffix} is not supported); "
            f"accepted: {', '.join(ENDINGS)}"
        )


def _matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError:
        raise SpecError("plot: needs matplotlib: pip install 'privrobust[plot]'") from None
    return matplotlib


def draw_band(panel: "Axes", x: Any, mean: Any, half: Any, color: str) -> None:
    """Shade what lies within half of an interval of a mean."""
    panel.fill_between(x, mean - half, mean + half, color=color, alpha=0.18, linewidth=0)


def handles(styles: Mapping[str, Look]) -> list[Any]:
    """Make the lines of a legend, one a name."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=name, **look._asdict()) for name, look in styles.items()]


def add_legend(figure: "Figure", lines: Sequence[Any]) -> None:
    """Put one legend for all panels above them; the figure grows by what it takes."""
    longest = max(len(line.get_label()) for line in lines)
    across = int(figure.get_figwidth() / (0.5 + 0.055 * longest))
    across = max(1, min(across, len(lines)))
    _grow(figure, 0.14 * -(-len(lines) // across))
    figure.legend(handles=lines, loc="outside upper center", ncols=across)


def add_notes(figure: "Figure", notes: Iterable[str]) -> None:
    """Put what has to be read with the picture in small print below it; the figure grows."""
    characters = int(figure.get_figwidth() * 22)
    text = "\n".join(fill(in_figure(note), characters) for note in notes if note)
    _grow(figure, 0.1 * (1 + text.count("\n")))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=5.8, color="0.25")


def _grow(figure: "Figure", inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


def from_0_to_100(panel: "Axes") -> None:
    """Make the y axis one of shares in percent; its label says so."""
    from matplotlib.ticker import PercentFormatter

    panel.set_ylim(0, 1)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))


def tell_empty(panel: "Axes", was_run: bool) -> None:
    """Say of a panel why nothing is in it."""
    text = "no result" if was_run else "not run"
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color="0.45")


def grid(panel: "Axes") -> None:
    """Draw faint lines to read values by."""
    panel.grid(visible=True, color="0.88", linewidth=0.5)
