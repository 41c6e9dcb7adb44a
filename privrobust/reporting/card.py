"""A small table of facts in HTML, for a notebook of whatever colours.

It takes text and lines in the colour of the page around it, so that it is read on dark ones too.

>>> print(Card("Store", "a<b", [Fact("done", "3 runs")]).html())  # doctest: +ELLIPSIS
<div ...><strong>Store</strong> a&lt;b<table ...><tr><th ...>done</th><td ...>3 runs</td></tr>...
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privrobust.core.escaping import in_html
from privrobust.core.formatting import NBSP, percent

_AROUND = (
    "display:inline-block;max-width:60em;border:1px solid rgba(128,128,128,.5);border-radius:4px;"
    "padding:.5em .8em;line-height:1.4"
)
_LEFT = "text-align:left;vertical-align:top;background:none;border:none;padding:.1em .8em .1em 0"
_LABEL = f"{_LEFT};font-weight:normal;opacity:.75;white-space:nowrap"
_VALUE = f"{_LEFT};white-space:normal;overflow-wrap:anywhere"
_WIDTH, _HEIGHT = 120, 24  # of a line of accuracies, in pixels


@dataclass(frozen=True)
class Fact:
    """A row of a card."""

    label: str
    """What it is; empty where it says more of the row before."""
    text: str
    picture: str = ""
    """HTML that stands after the text, as it is."""


@dataclass(frozen=True)
class Card:
    """What a notebook shows of an object."""

    kind: str
    name: str
    facts: Sequence[Fact]

    def html(self) -> str:
        """Write a piece of HTML; all text in it is escaped."""
        rows = "".join(map(_row, self.facts))
        table = f'<table style="margin:.3em 0 0;border-collapse:collapse">{rows}</table>'
        return framed(f"<strong>{in_html(self.kind)}</strong> {in_html(self.name)}{table}")


def _row(fact: Fact) -> str:
    text = "&nbsp;".join(map(in_html, fact.text.split(NBSP)))
    return (
        f'<tr style="background:none"><th scope="row" style="{_LABEL}">{in_html(fact.label)}</th>'
        f'<td style="{_VALUE}">{text}{fact.picture}</td></tr>'
    )


def framed(inside: str, style: str = "") -> str:
    """Put a frame around a piece of HTML."""
    return f'<div style="{_AROUND}{style}">{inside}</div>'


def spark_line(steps: Sequence[float], shares: Sequence[float]) -> str:
    """Draw shares in [0, 1] against steps, as a line of text is high; nothing of fewer than two.

    Where a share is no finite number the line is interrupted.
    """
    points = [(x, y) for x, y in zip(steps, shares, strict=True) if math.isfinite(y)]
    if len(points) < 2:
        return ""
    first, last = min(steps), max(steps)

    def place(x: float, y: float) -> str:
        across = 1 + (_WIDTH - 2) * (x - first) / ((last - first) or 1)
        return f"{across:.1f} {1 + (_HEIGHT - 2) * (1 - min(1.0, max(0.0, y))):.1f}"

    path, is_drawn = "", False
    for x, y in zip(steps, shares, strict=True):
        if math.isfinite(y):
            path += f"{'L' if is_drawn else 'M'}{place(x, y)}"
        is_drawn = math.isfinite(y)
    told = (
        f"from {percent(points[0][1])} % at step {points[0][0]} to {percent(points[-1][1])} % at "
        f"step {points[-1][0]}; the height is 0 to 100 %"
    )
    return (
        f'<svg role="img" aria-label="{told}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" style="vertical-align:middle;margin-left:.8em">'
        f"<title>{told}</title>"
        f'<path d="M0 {_HEIGHT - 0.5}H{_WIDTH}" stroke="currentColor" stroke-opacity=".3"/>'
        f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
