"""Where epsilons stand: on a logarithmic axis, and beside it those that have no place on one."""

import math
from collections.abc import Iterable
from typing import Any

import altair as alt

from privrobust.core.formatting import rounded_up

_MARGIN = 0.05  # shares of the logarithmic part
_STRIP = {0.0: 0.14, math.inf: 0.3}
_LEAST_SPAN = math.log(4)
_ON_PHONES, _ON_SCREENS = 0.2, 0.075  # of it, between two labels
_PHONE = 440  # pixels


class EpsilonAxis:
    """Places for epsilons; zero and infinity have strips of their own, left and right.

    Args:
        epsilons: all that will be drawn; one at least is positive and finite.
        abreast: how many lines stand beside each other in a strip, where places mean nothing.

    """

    def __init__(self, epsilons: Iterable[float], abreast: int) -> None:
        values = set(epsilons)
        self.finite = sorted(value for value in values if 0 < value < math.inf)
        low, high = self.finite[0], self.finite[-1]
        self._span = max(math.log(high / low), _LEAST_SPAN)
        spare = math.exp((self._span - math.log(high / low)) / 2 + _MARGIN * self._span)
        self._ends = (low / spare, high * spare)
        self._abreast = abreast
        self.strips = {
            end: self._strip(end) for end in (0.0, math.inf) if end in values
        }  # their borders

    def _strip(self, end: float) -> tuple[float, float]:
        width = math.exp(_STRIP[end] * self._span)
        low, high = self._ends
        return (high, high * width) if end else (low / width, low)

    def place(self, epsilon: float, lane: int) -> float:
        """Return where an epsilon is drawn, of the line that stands at `lane` in strips."""
        if epsilon not in self.strips:
            return epsilon
        low, high = self.strips[epsilon]
        return float(low * (high / low) ** ((lane + 0.5) / self._abreast))

    def encoding(self) -> alt.X:
        """Make the axis: labels are the epsilons themselves, rounded up, as many as have room."""
        borders = [*self._ends, *(border for strip in self.strips.values() for border in strip)]
        names = {self._middle(end): _NAMES[end] for end in self.strips}
        on_screens = self._apart(self.finite, _ON_SCREENS)
        many = sorted([*on_screens, *names])
        few = sorted([*self._apart(on_screens, _ON_PHONES), *names])
        texts = [names.get(value) or rounded_up(value, 3) for value in many]
        return alt.X(
            "x:Q",
            title="epsilon, logarithmic (less is more private)",
            scale=alt.Scale(type="log", nice=False, domain=[min(borders), max(borders)]),
            axis=alt.Axis(
                values={"expr": f"width < {_PHONE} ? {few} : {many}"},
                labelExpr=f"{texts}[indexof({many}, datum.value)]",
                labelOverlap=False,
                grid=False,
            ),
        )

    def _middle(self, end: float) -> float:
        low, high = self.strips[end]
        return math.sqrt(low * high)

    def _apart(self, values: list[float], gap: float) -> list[float]:
        """Keep both ends, then those that are apart from all that are kept, by a share."""
        kept: list[float] = []
        for value in (values[0], values[-1], *values):
            if all(abs(math.log(value / other)) >= gap * self._span for other in kept):
                kept.append(value)
        return kept

    def shades(self) -> list[dict[str, Any]]:
        """Return the strips, as records of what shades them."""
        return [{"x": low, "x2": high} for low, high in self.strips.values()]


_NAMES: dict[float, Any] = {0.0: "0", math.inf: ["not", "private"]}
