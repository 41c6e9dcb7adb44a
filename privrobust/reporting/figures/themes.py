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


# Searched for the largest least distance between any two in CIELAB, for trichromats and with each
# dichromacy (Machado, Oliveira and Fernandes 2009), among colours that stand out from the paper,
# are not gaudy, and have ink and a grey among them: at least 23 and, for most eyes, 44.
LIGHT = Theme(
    paper="#ffffff", ink="#000000", pale="#505050", faint="#e0e0e0", shade="#efefef",
    alarm="#a00000",
    lines=(
        "#113bb1", "#e3711a", "#1da75c", "#000000", "#c248b3", "#5e4c00", "#8e103d", "#858585",
    ),
)  # fmt: skip
DARK = Theme(
    paper="#14171b", ink="#e6e9ed", pale="#aab3bd", faint="#30373f", shade="#22282f",
    alarm="#ff8a80",
    lines=(
        "#3c7ff7", "#c04839", "#a2dd91", "#ffffff", "#a237a7", "#c0ab1f", "#27ddf9", "#80868d",
    ),
)  # fmt: skip

_FADED = 0.4  # of a colour on its paper

_CURRENT = ContextVar("theme", default=LIGHT)

MARKERS = "os^DvPX*"
_DASHES: Sequence[Any] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)),
    (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (6, 1, 2, 1)),
)  # fmt: skip


def theme() -> Theme:
    """Return what figures are painted with now: `LIGHT`, unless `painted` says otherwise."""
    return _CURRENT.get()


def faded(color: str) -> str:
    """Return an opaque colour between a line's and the paper: marks that coincide do not mix."""
    pairs = [(color[at : at + 2], theme().paper[at : at + 2]) for at in (1, 3, 5)]
    mixed = [_FADED * int(own, 16) + (1 - _FADED) * int(paper, 16) for own, paper in pairs]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


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
    styles = zip(cycle(theme().lines), cycle(MARKERS), cycle(_DASHES), strict=True)
    return {name: Look(*style) for name, style in zip(names, styles, strict=False)}
