"""The losses of a composition on one side, and what is left out of them and paid for."""

import math
from typing import Any, NamedTuple

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.privacy_losses import (
    PANEL_NODES,
    Losses,
    Resolution,
    Side,
    log_sum,
    losses,
)

PAID = 1e-6
"""Share of delta that each thing left out may cost, where that is affordable."""


def unsampled_mu(steps: Composition) -> float:
    """Return 1 / sigma of the one unsampled Gaussian step that reveals what those among them do."""
    squares = [count / step.noise_multiplier**2 for step, count in steps if _is_unsampled(step)]
    return math.sqrt(math.fsum(squares))


def _is_unsampled(step: Mechanism) -> bool:
    return step.noise == "gaussian" and step.sampling_rate == 1


class OneSided:
    """The losses of a composition on one side, and what is left out of them and paid for.

    Runs are told apart by their *rare* losses: those with a probability of `cut` a step.
    """

    def __init__(self, steps: Composition, side: Side, delta: float) -> None:
        self.mu = unsampled_mu(steps)
        self._sampled = [(step, count) for step, count in steps if not _is_unsampled(step)]
        self._side = side
        total = sum(count for _, count in self._sampled)
        self._tail, self._cut = PAID * delta / total, math.sqrt(2 * PAID * delta) / total
        self.paid = 3 * PAID * delta
        """Two tails of every step, and runs of several rare losses: at most (T cut)^2 / 2."""
        has_rare = any(step.noise == "gaussian" for step, _ in self._sampled)
        self.kinds = (False, True) if has_rare else (False,)
        """Whether a run has one rare loss: which kinds of runs there are."""
        self._known: dict[Resolution, list[tuple[Losses, int]]] = {}

    def at(self, resolution: Resolution) -> list[tuple[Losses, int]]:
        """Return the losses of the sampled steps, with how many there are of each."""
        if resolution not in self._known:
            self._known[resolution] = [
                (losses(step, self._side, resolution, self._tail, self._cut), count)
                for step, count in self._sampled
            ]
        return self._known[resolution]

    def log_moment(self, theta: float, rare: bool = False) -> float:
        """Return log M(theta) of runs without a rare loss, or with one; infinite out of reach."""
        try:  # few resolutions for many thetas
            found = self.at(Resolution(2.0 ** math.ceil(math.log2(theta))))
        except OverflowError:
            return math.inf
        common, ratios = 0.0, []
        for of_step, count in found:
            logs = of_step.log_weights + theta * of_step.values
            of_common = log_sum(logs[~of_step.rare])
            common += count * of_common
            if of_step.rare.any():
                ratios.append(math.log(count) + log_sum(logs[of_step.rare]) - of_common)
        value = self.mu**2 * theta * (theta + 1) / 2 + common
        return value + log_sum(np.array(ratios)) if rare else value

    def tiny(self, epsilon: float, delta: float) -> "Tiny | None":
        """Return which losses are so small that alone they make up no epsilon, if any are.

        That is, runs of them alone have a share `PAID` of delta at most, by Chernoff's bound. None
        where a loss has atoms (Laplace noise), whose transform does not fall.
        """
        if any(step.noise != "gaussian" for step, _ in self._sampled):
            return None
        frequency = 512 / epsilon  # panels of an eighth of epsilon, which bear thetas of this size
        try:
            base = self.at(Resolution(1e-9, frequency))
        except OverflowError:
            return None
        largest = epsilon * 2.0 ** -np.arange(0.5, 20, 0.5)
        ends = [_ends_of_panels(of_step, largest) for of_step, _ in base]
        thetas = frequency * 2.0 ** -np.arange(0, 12, 0.5)
        chernoff = np.array([self._log_moments_below(base, ends, theta) for theta in thetas])
        chernoff -= epsilon * thetas[:, None]
        small = np.flatnonzero(chernoff.min(axis=0) <= math.log(PAID * delta))
        if not len(small):
            return None
        best = int(chernoff[:, small[0]].argmin())
        return Tiny(
            places=tuple(
                float(of_step.edges[end[small[0]]])
                for (of_step, _), end in zip(base, ends, strict=True)
            ),
            frequency=frequency,
            theta=float(thetas[best]),
            log_moment=float(chernoff[best, small[0]] + epsilon * thetas[best]),
        )

    def _log_moments_below(
        self, base: list[tuple[Losses, int]], ends: list[Any], theta: float
    ) -> Any:
        """Return those of runs of tiny losses alone, for each choice of panels they end with."""
        total = self.mu**2 * theta * (theta + 1) / 2
        for (of_step, count), end in zip(base, ends, strict=True):
            logs = of_step.log_weights + theta * of_step.values
            sums = np.logaddexp.reduceat(logs, np.arange(0, len(logs), PANEL_NODES))
            below = np.concatenate([[-np.inf], np.logaddexp.accumulate(sums)])
            total = total + count * below[end]
        return total

    def log_moment_of_others(self, theta: float, tiny: "Tiny") -> float:
        """Return log M(theta) of runs of common losses that are not all tiny, as `log_moment`."""
        try:
            found = self.at(Resolution(2.0 ** math.ceil(math.log2(theta)), tiny.frequency))
        except OverflowError:
            return math.inf
        ratio = 0.0
        for (of_step, count), place in zip(found, tiny.places, strict=True):
            logs = of_step.log_weights + theta * of_step.values
            is_tiny = of_step.places < place
            larger = ~is_tiny & ~of_step.rare
            if not is_tiny.any():
                ratio = -math.inf
            elif larger.any():
                ratio -= count * np.logaddexp(0.0, log_sum(logs[larger]) - log_sum(logs[is_tiny]))
        return self.log_moment(theta) + math.log(-math.expm1(ratio)) if ratio else -math.inf


class Tiny(NamedTuple):
    """Losses that make up no epsilon by themselves."""

    places: tuple[float, ...]
    """Below which they are, of each step: edges of panels that resolve this frequency."""
    frequency: float
    theta: float
    log_moment: float
    """log M(theta) of runs of tiny losses alone."""


def _ends_of_panels(of_step: Losses, largest: Any) -> Any:
    """Count the panels that have no loss above each of these; only common ones count."""
    last = of_step.values[PANEL_NODES - 1 :: PANEL_NODES]
    common = int((~of_step.rare[PANEL_NODES - 1 :: PANEL_NODES]).sum())
    return np.minimum(common, np.searchsorted(last, largest))
