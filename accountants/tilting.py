"""The losses of one step, tilted by exp(theta L): their transform, and how fast it falls."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from privrobust.accountants.privacy_losses import Losses, log_sum

_NEGLIGIBLE = 1e-22
"""Tilted probability of a node that is left out."""


class Tilted:
    """The losses of one step, tilted by exp(theta L): the common ones, and apart the rare ones."""

    def __init__(self, of_step: Losses, count: int, theta: float, place: float) -> None:
        """Tilt the losses of one step; those below the place are tiny."""
        rare, logs = of_step.rare, of_step.log_weights + theta * of_step.values
        self.count = count
        self.log_moment = log_sum(logs[~rare])
        self.log_rare = log_sum(logs[rare]) if rare.any() else -math.inf
        weights = np.exp(np.where(rare, -np.inf, logs - self.log_moment))
        of_rare = np.exp(np.where(rare, logs - self.log_rare, -np.inf)) if rare.any() else 0 * logs
        kept = (weights > _NEGLIGIBLE) | (of_rare > _NEGLIGIBLE)
        self.values, self.weights = of_step.values[kept], weights[kept]
        self.rare_weights = of_rare[kept]
        self.tiny_weights = np.where(of_step.places[kept] < place, self.weights, 0.0)
        self.mean = float(self.weights @ self.values)
        self.variance = float(self.weights @ np.square(self.values - self.mean))
        self.size = float(self.weights @ np.abs(self.values))
        self.spread = float(self.values.max()) - self.mean
        log_density = of_step.log_density + theta * of_step.values
        self.log_density = np.where(rare, -np.inf, log_density - self.log_moment)[kept]
        self.larger_variation = _variation(
            np.where(of_step.places[kept] < place, -np.inf, self.log_density)
        )
        """Total variation of the density of losses that are neither tiny nor rare."""
        self.rare_variation = _variation(log_density[rare] - self.log_rare)
        """That of the rare ones, as a probability density."""

    @property
    def log_rate(self) -> float:
        """Log of how many common losses one that is rare outweighs, summed over the steps."""
        return math.log(self.count) + self.log_rare - self.log_moment

    def transform(self, weights: Any, period: float, frequencies: int) -> Any:
        """Return E[e^(i tau (L - mean))] at multiples tau of 2 pi / period, by one product."""
        block = 1 << (frequencies.bit_length() // 2)
        phases = 2 * math.pi / period * (self.values - self.mean)
        starts = _rotations(block * phases, -(-frequencies // block)) * weights
        result: Any = starts @ _rotations(phases, block).T
        return result.ravel()[:frequencies]


def _rotations(phases: Any, count: int) -> Any:
    """Return e^(i k phases) for k = 0 .. count - 1, a row each, mostly by multiplication."""
    rows = np.ones((count, len(phases)), dtype=complex)
    known = 1
    while known < count:
        some = min(known, count - known)
        rows[known : known + some] = rows[:some] * np.exp(1j * (known * phases))
        known += some
    return rows


def _variation(log_density: Any) -> float:
    """Return the total variation of a density that is 0 elsewhere.

    The nodes see all but a little of it, which 5 % more stand for.
    """
    if not len(log_density) or log_density.max() > 700:
        return math.inf
    return 1.05 * float(np.abs(np.diff(np.exp(log_density), prepend=0.0, append=0.0)).sum())


class Decay:
    """How fast |phi(tau)| = |M(theta + i tau)| / M(theta) falls, for all large tau, proven.

    - Where the tilted loss has density f, integration by parts over any set I of losses gives
      |E[e^(i tau L); I]| <= V / tau, V the total variation of f on I. So for all tau >= Omega
      |phi(tau)| <= 1 - c(Omega), with c the supremum over I of P(I) - V / Omega.
    - |phi|^2 is the characteristic function of L - L', and 1 - cos(2 x) <= 4 (1 - cos x), so
      1 - |phi(tau)|^2 >= (1 - |phi(2 tau)|^2) / 4: below Omega what |phi|^2 falls short of 1 by is
      at least (tau / (2 Omega))^2 of what it is beyond.
    """

    _LEVELS = 40

    def __init__(self, tilted: Sequence[Tilted], mu: float, spared: int) -> None:
        """Take all steps but so many of each kind."""
        self._mu = mu
        self._gaps = [(max(0, each.count - spared), *self._gap(each)) for each in tilted]

    def _gap(self, tilted: Tilted) -> tuple[Any, Any]:
        """Return frequencies Omega, and what |phi|^2 falls short of 1 by from there on."""
        order = np.argsort(tilted.log_density)
        shares = np.cumsum(tilted.weights[order])
        places = np.searchsorted(shares, shares[-1] * np.arange(1, self._LEVELS) / self._LEVELS)
        masses, variations = [], []
        for level in {*tilted.log_density[order][places].tolist(), tilted.log_density.max()}:
            kept = np.where(tilted.log_density <= level, tilted.log_density, -np.inf)
            variation = _variation(kept)
            if variation < math.inf:
                masses.append(float(tilted.weights[kept > -np.inf].sum()))
                variations.append(variation)
        if not variations:
            return np.array([1.0]), np.array([0.0])
        least, most = max(1e-300, min(variations)), max(variations)
        omegas = np.geomspace(least / 8, max(1e-299, most) * 2.0**20, 100)
        gains = np.array(masses) - np.array(variations) / omegas[:, None]
        short = np.clip(gains.max(axis=1), 0.0, 1.0)
        return omegas, short * (2 - short)

    def log_bound(self, frequencies: Any) -> Any:
        """Return the log of the bound at and beyond each of some ascending frequencies."""
        total = -0.5 * np.square(self._mu * frequencies)
        for count, omegas, gaps in self._gaps:
            below = np.minimum(1.0, frequencies[:, None] / (2 * omegas)) ** 2
            gap = (gaps * np.where(frequencies[:, None] >= omegas, 1.0, below)).max(axis=1)
            total = total + count / 2 * np.log1p(-np.minimum(gap, 1 - 1e-16))
        return total
