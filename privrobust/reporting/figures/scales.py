"""Logarithmic axes with one more place, apart, for the value that has none on them."""

import math
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from privrobust.core.formatting import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADE = "0.94"
_ALL_BUT = 0.005  # what a target epsilon leaves unspent is less


def ticks_beside(columns: int) -> int:
    """Return how many ticks have room in a panel, of so many beside each other."""
    return min(6, 12 // columns)


class Scale:
    """Where values stand on a logarithmic axis: infinity right of it, 0 left of it.

    Args:
        values: all that will be drawn, of which one of 0 and infinity at most.
        apart: that one.
        name: what the axis calls it.
        most_ticks: of the ordinary values, as many as have room.

    """

    def __init__(
        self, values: Iterable[float], apart: float, name: str, most_ticks: int = 6
    ) -> None:
        values = list(values)
        ordinary = [value for value in values if value != apart]
        self.apart, self._name = apart, name
        self.low, self.high = min(ordinary, default=1.0), max(ordinary, default=1.0)
        self._ticks = _ticks(ordinary, most_ticks) if ordinary else []
        step = max(1.6, (self.high / self.low) ** 0.25)
        self._is_right = apart > 1
        self.place = self.high * step if self._is_right else self.low / step
        self._has_ordinary, self._has_apart = bool(ordinary), apart in values
        self._margin = step**0.5

    def __call__(self, value: float, shift: float = 0.0) -> float:
        """Return where a value stands, shifted by a share of the axis."""
        place = self.place if value == self.apart else value
        low, high = self._ends()
        return float(place * (high / low) ** shift)

    def show(self, panel: "Axes") -> None:
        """Make a panel's x axis this one."""
        from matplotlib.ticker import FixedLocator, NullLocator

        ticks = self._ticks
        labels = [_label(tick) for tick in ticks]
        low, high = self._ends()
        panel.set_xscale("log")
        if self._has_apart:
            ticks, labels = [*ticks, self.place], [*labels, self._name]
            border = self.place / self._margin if self._is_right else self.place * self._margin
            panel.axvspan(border, high if self._is_right else low, color=_SHADE, zorder=0)
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticks(ticks, labels)
        panel.set_xlim(low, high)

    def _ends(self) -> tuple[float, float]:
        places = [self.low, self.high] if self._has_ordinary else []
        places += [self.place] if self._has_apart else []
        return min(places) / self._margin, max(places) * self._margin


def _label(tick: float) -> str:
    power = round(math.log10(tick))
    if -3 <= power <= 3 or not math.isclose(tick, 10.0**power):
        return number(tick)
    return f"$10^{{{power}}}$"


def _ticks(values: Iterable[float], most: int) -> list[float]:
    """Return the values, if few, all but round and apart; else round ones among them, or ends."""
    there = sorted(set(values))
    low, high = there[0], there[-1]
    rounded = [float(f"{value:.1g}") for value in there]
    are_round = all(map(partial(math.isclose, rel_tol=_ALL_BUT), there, rounded))
    gap = (high / low) ** (1 / (2 * most))
    are_apart = all(value >= gap * before for before, value in pairwise(there))
    if len(there) <= most and are_round and are_apart:
        return sorted(set(rounded))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**power for power in range(first, last + 1)]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [power * step for power in powers for step in steps]
        ticks = [tick for tick in ticks if low * 0.95 <= tick <= high * 1.05]
        if len(ticks) <= most:
            break
    else:
        ticks = ticks[:: -(-len(ticks) // most)]
    return ticks if len(ticks) > 1 else sorted({float(f"{low:.2g}"), float(f"{high:.2g}")})
