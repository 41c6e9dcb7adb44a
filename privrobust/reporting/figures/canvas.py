"""What all figures share: their size, their style, and how they become files."""

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from privrobust.core.files import put_whole
from privrobust.errors import SpecError
from privrobust.reporting.figures.themes import theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

NARROW, WIDE = 3.3, 6.8
"""Inches: one column of a page, and two."""

ENDINGS = ("eps", "jpeg", "jpg", "pdf", "pgf", "png", "ps", "svg", "svgz", "tif", "tiff", "webp")
"""Of files: matplotlib's, known without it."""

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
    "grid.linewidth": 0.5,
    "errorbar.capsize": 1.5,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
_SAVING = {
    "pdf.fonttype": 42,  # journals refuse the default, Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # for readers' machines: as wide as each other
    "svg.hashsalt": "privrobust",  # one figure, one file: else names are drawn at random
    "savefig.dpi": 300,
}
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def styled(draw: Callable[Arguments, "Figure"]) -> Callable[Arguments, "Figure"]:
    """Draw in the style and the theme of these figures, and put matplotlib's settings back."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **settings: Arguments.kwargs) -> "Figure":
        with _matplotlib().rc_context(_STYLE | theme().settings()):
            return draw(*arguments, **settings)

    return drawn


def panel_width(columns: int) -> float:
    """Return about how many inches a panel has for its title, of so many beside each other."""
    return ((NARROW if columns == 1 else WIDE) - 0.55) / columns - 0.08


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure of so many inches.

    Raises:
        SpecError: matplotlib is missing.

    """
    _matplotlib()
    from privrobust.reporting.figures.displayed import DisplayedFigure

    return DisplayedFigure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path | str) -> None:
    """Write a figure in the format of the file's ending.

    Raises:
        SpecError: no ending, an unknown one, or a file that cannot be written.

    """
    path = Path(path)
    check_ending(path)
    ending = path.suffix[1:].lower()
    drawn = BytesIO()
    try:
        with _matplotlib().rc_context(_SAVING):
            figure.savefig(drawn, format=ending, metadata=_UNDATED.get(ending))
        put_whole(drawn.getvalue(), path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the system's number for it
        raise SpecError(f"plot: {str(path)!r} cannot be written ({reason})") from None


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
