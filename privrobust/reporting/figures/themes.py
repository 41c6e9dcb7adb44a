"""Colours on white paper and on a dark page, and what tells lines apart without any."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple

MOST_LINES = 8  # that eyes tell apart, and that have colours


@dataclass(frozen=True)
class Theme:
    """What figures are painted with.

    Attributes:
        paper: what is behind all.
        ink: of words and frames.
        pale: of small print, and of marks of no method in particular.
        faint: of the lines that values are read by.
        shade: of what stands apart on an axis.
        alarm: of what is wrong.
        lines: a colour a line, told apart with every kind of colour blindness.

    """

    paper: str
    ink: str
    pale: str
    faint: str
    shade: str
    alarm: str
    lines: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """Return matplotlib's settings for it."""
        inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        return {
            **dict.fromkeys(inked, self.ink),
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "grid.color": self.faint,
        }


# Okabe and Ito 2008, with its orange and light blue darker and no yellow, which white paper
# swallows; on a dark page the orange gives way, as yellow shows there.
LIGHT = Theme(
    paper="#ffffff", ink="#000000", pale="#505050", faint="#e0e0e0", shade="#efefef",
    alarm="#a00000",
    lines=(
        "#0064a8", "#d55e00", "#009e73", "#000000", "#cc79a7", "#7a4f00", "#3a9ad9", "#777777",
    ),
)  # fmt: skip
DARK = Theme(
    paper="#14171b", ink="#e6e9ed", pale="#aab3bd", faint="#30373f", shade="#22282f",
    alarm="#ff8a80",
    lines=(
        "#56b4e9", "#e8772e", "#1fa67d", "#ffffff", "#e39ac6", "#f0e442", "#4f7be0", "#7d848c",
    ),
)  # fmt: skip

_CURRENT = ContextVar("theme", default=LIGHT)

_MARKERS = "os^DvPX*"
_DASHES: Sequence[Any] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)),
    (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (6, 1, 2, 1)),
)  # fmt: skip


def theme() -> Theme:
    """Return what figures are painted with now: `LIGHT`, unless `painted` says otherwise."""
    return _CURRENT.get()


@contextmanager
def painted(chosen: Theme) -> Iterator[None]:
    """Paint the figures that are drawn meanwhile with another theme.

    >>> with painted(DARK):
    ...     print(theme().paper)
    #14171b

    """
    token = _CURRENT.set(chosen)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Look(NamedTuple):
    """What tells one line from another, each by itself."""

    color: str
    marker: str
    linestyle: Any


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for every name."""
    styles = zip(cycle(theme().lines), cycle(_MARKERS), cycle(_DASHES), strict=True)
    return {name: Look(*style) for name, style in zip(names, styles, strict=False)}
