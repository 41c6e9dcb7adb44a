"""Logarithmic axes: honest ticks, and a place apart for the value that has none on them."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from privrobust.core.formatting import number, rounded_up
from privrobust.reporting.figures.lettering import width_of
from privrobust.reporting.figures.panels import Place
from privrobust.reporting.figures.themes import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALL_BUT = 1.005  # what a target epsilon leaves unspent is less
_WIDE = 0.75  # of the place apart, for those that stand side by side in it
_MOST_TICKS = 6
_EACH = 0.48  # inches of a panel for a tick, where ticks are round
_LABEL, _BETWEEN = 6.5, 0.04  # points of a tick's label, and inches between two
_INCHES = 3.0  # of a panel of two beside each other


def epsilon_at(tick: float) -> str:
    """Write an epsilon on an axis: no smaller than it is."""
    return rounded_up(tick, 3)


class Scale:
    """Where values stand on a logarithmic axis: infinity right of it, 0 left of it.

    Ticks are the values where these are few, or every second of them where there is no more room,
    with small ticks at the others. Else they are round ones, of which the first is no more than all
    values and the last no less; powers of ten between those have small ticks.

    Args:
        values: all that will be drawn, of which one of 0 and infinity at most.
        apart: that one.
        name: what the axis calls it.
        inches: width of the panel.
        written: writes a value that is a tick.
        lines: that stand side by side in the place apart.

    """

    def __init__(
        self,
        values: Iterable[float],
        apart: float,
        name: str,
        inches: float = _INCHES,
        written: Callable[[float], str] = number,
        lines: int = 1,
    ) -> None:
        values = [value for value in map(float, values) if not math.isnan(value)]
        ordinary = [value for value in values if value != apart]
        self.apart, self._name = apart, name
        self._is_right, self._lines = apart > 1, lines
        self._reach(min(ordinary, default=1.0), max(ordinary, default=1.0))
        self._has_ordinary, self.has_apart = bool(ordinary), apart in values
        there, self._small = _apart(ordinary), list[float]()
        self._say(there, written)
        if len(there) > _MOST_TICKS or not self._has_room(inches):
            self._say(there[::2], written)
            self._small = there
            if not 3 <= len(self._ticks) <= _MOST_TICKS / 2 or not self._has_room(inches):
                self._be_round(int(inches / _EACH))

    def _say(self, ticks: list[float], written: Callable[[float], str]) -> None:
        """Have ticks, and what is written at them."""
        self._ticks, self._labels = ticks, list(map(written, ticks))

    def _be_round(self, most: int) -> None:
        """Have so many round ticks at most, which enclose all values."""
        self._say(bracket(self.low, self.high, min(_MOST_TICKS, most)), number)
        self._small = _powers(self._ticks[0], self._ticks[-1])
        self._reach(min(self.low, *self._ticks), max(self.high, *self._ticks))

    def _reach(self, low: float, high: float) -> None:
        """Take what the axis reaches over, and make room beside it."""
        self.low, self.high = low, high
        self._margin = max(1.6, (high / low) ** 0.25) ** 0.5
        self._half = self._margin ** max(1.2, 0.5 + self._lines / 6)  # of the place apart

    @property
    def place(self) -> float:
        """Where the value that has none stands."""
        away = self._margin * self._half
        return float(self.high * away if self._is_right else self.low / away)

    def _has_room(self, inches: float) -> bool:
        """Tell whether no label of a panel so wide runs into the next, in their first lines."""
        ticks, labels = self._shown()
        low, high = self._ends()
        scale = inches / math.log(high / low)
        halves = [width_of(each.split("\n")[0], _LABEL) / 2 for each in labels]
        ends = sorted(
            (scale * math.log(tick / low) - half, scale * math.log(tick / low) + half)
            for tick, half in zip(ticks, halves, strict=True)
        )
        return all(after[0] - one[1] >= _BETWEEN for one, after in pairwise(ends))

    def _shown(self) -> tuple[list[float], list[str]]:
        """Return all ticks and their labels, that of the place apart last."""
        if not self.has_apart:
            return self._ticks, self._labels
        return [*self._ticks, self.place], [*self._labels, self._name]

    def __call__(self, value: float) -> float:
        """Return where a value stands."""
        return float(self.place if value == self.apart else value)

    def beside(self, value: float, place: Place) -> float:
        """Return where one of several stands: side by side in the place apart, which has no width.

        Elsewhere the axis is one of quantities, and nothing is moved.
        """
        shift = _WIDE * ((2 * place.number + 1) / place.lines - 1) * (value == self.apart)
        return float(self(value) * self._half**shift)

    def show(self, panel: "Axes") -> None:
        """Make a panel's x axis this one."""
        from matplotlib.ticker import FixedLocator, NullFormatter

        ticks, labels = self._shown()
        low, high = self._ends()
        panel.set_xscale("log")
        if self.has_apart:
            border = self.place / self._half if self._is_right else self.place * self._half
            end = high if self._is_right else low
            panel.axvspan(border, end, color=theme().shade, lw=0, zorder=0)
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_minor_locator(FixedLocator(self._small))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xticks(ticks, labels)
        panel.set_xlim(low, high)

    def _ends(self) -> tuple[float, float]:
        low, high = self.low / self._margin, self.high * self._margin
        if self.has_apart:
            ends = self.place / self._half, self.place * self._half
            if not self._has_ordinary:
                return ends
            low, high = min(low, ends[0]), max(high, ends[1])
        return low, high


def log_y(panel: "Axes", values: Iterable[float], most_ticks: int = 6) -> None:
    """Make a panel's y axis logarithmic, with round ticks below and above all values."""
    from matplotlib.ticker import NullLocator

    ordinary = [value for value in values if 0 < value < math.inf]
    ticks = bracket(min(ordinary, default=1.0), max(ordinary, default=10.0), most_ticks)
    panel.set_yscale("log")
    panel.yaxis.set_minor_locator(NullLocator())
    panel.set_yticks(ticks, list(map(number, ticks)))
    panel.set_ylim(min(ticks), max(ticks))


def _apart(values: Iterable[float]) -> list[float]:
    """Return different values, of such as are all but alike the largest.

    A tick at that says no less than any of them spends.
    """
    there = [*sorted(set(values)), math.inf]
    return [one for one, after in pairwise(there) if after > one * _ALL_BUT]


def bracket(low: float, high: float, most: int) -> list[float]:
    """Return round values, about so many at most, of which the first and the last enclose a range.

    >>> bracket(1.8, 421.0, 4)
    [1.0, 10.0, 100.0, 1000.0]

    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high * 1.001))
    powers = [10.0**power for power in range(first, last + 1)]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = _enclosing([power * step for power in powers for step in steps], low, high)
        if len(ticks) <= most:
            return ticks
    least = -(-(last - first) // max(1, most - 1))
    every = min(range(least, last - first + 1), key=lambda step: (first - last) % step)
    return [10.0**power for power in range(first, last + every, every)]


def _powers(low: float, high: float) -> list[float]:
    """Return the powers of ten between two."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def _enclosing(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """Keep the ticks from the last that is no more than low to the first no less than high."""
    start = max((tick for tick in ticks if tick <= low * _ALL_BUT), default=low)
    least = max(start * 1.5, high / _ALL_BUT)
    end = min((tick for tick in ticks if tick >= least), default=high)
    return [tick for tick in ticks if start <= tick <= end]
