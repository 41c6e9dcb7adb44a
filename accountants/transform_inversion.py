"""delta(epsilon) of a composition from the transform of its privacy loss, from above."""

import math
from typing import Any

import numpy as np

from privrobust.accountants.one_sided import PAID, OneSided, Tiny
from privrobust.accountants.privacy_losses import Resolution, log_sum
from privrobust.accountants.tilting import Decay, Tilted

_MOST_PRODUCTS = 1 << 28
"""Frequencies times nodes: half a second."""
_ROUNDING = 4e-15
"""Relative error of one step's transform, a sum of some thousand products."""
_ULP = 4e-16
"""Relative error of a product in double precision (2^-53 is 1.1e-16), with room for several."""


class Inversion:
    """delta(epsilon) of runs without a rare loss, or with one, by the trapezoid rule.

    Runs of tiny losses alone can be left out, for Chernoff's bound in place of them: under rare
    sampling they are most of all runs, spend nothing, and have the slowest transform.
    """

    def __init__(
        self,
        composition: OneSided,
        theta: float,
        epsilon: float,
        delta: float,
        most_frequencies: int,
        rare: bool = False,
        tiny: Tiny | None = None,
    ) -> None:
        """Choose the frequencies needed near this epsilon and delta, or as many as allowed."""
        self._theta, self._rare, self._tiny, mu = theta, rare, tiny, composition.mu

        def tilted(frequency: float) -> list[Tilted]:
            if tiny:
                frequency = max(frequency, tiny.frequency)
            found = composition.at(Resolution(theta, frequency))
            places = tiny.places if tiny else (-math.inf,) * len(found)
            return [
                Tilted(of_step, count, theta, place)
                for (of_step, count), place in zip(found, places, strict=True)
            ]

        steps = tilted(0.0)
        deviation = math.sqrt(mu**2 + sum(t.count * t.variance for t in steps))
        spread = max((t.spread for t in steps), default=0.0)
        log_moment = (
            composition.log_moment_of_others(theta, tiny)
            if tiny
            else composition.log_moment(theta, rare)
        )
        aliased = max(0.0, log_moment - math.log(delta)) - math.log(PAID)
        period = max(aliased / theta, 8 * deviation + spread)
        octaves = 2.0 ** np.arange(0, 80, 0.25) * (2 * math.pi / period)
        beyond = self._beyond(steps, mu, octaves)
        log_scale = composition.log_moment(theta, rare) - theta * epsilon - math.log(delta)
        with np.errstate(divide="ignore"):
            enough = np.log(beyond) + log_scale <= math.log(PAID)
        last = int(enough.argmax()) if enough.any() else len(octaves) - 1
        while True:
            count = math.ceil(float(octaves[last]) * period / (2 * math.pi)) + 1
            try:
                if count <= most_frequencies:
                    steps = tilted(float(octaves[last]))
                    if count * sum(len(t.values) for t in steps) <= _MOST_PRODUCTS:
                        break
            except OverflowError:
                pass
            last -= 2
            if last < 0:
                raise OverflowError("more nodes than are affordable")
        self._set(steps, mu, period, count, float(beyond[last]), epsilon)

    def _beyond(self, steps: list[Tilted], mu: float, frequencies: Any) -> Any:
        """Bound the integral of |transform| / M(theta) from each frequency on, over pi."""
        decay = np.exp(Decay(steps, mu, int(self._rare)).log_bound(frequencies))
        if self._rare:
            decay *= np.minimum(1.0, max(t.rare_variation for t in steps) / frequencies)
        elif self._tiny:
            # |a^T - b^T| <= T |a - b| max(|a|, |b|)^(T - 1)
            decay = sum(t.count * t.larger_variation for t in steps) / frequencies
        return np.cumsum((decay * (1 - 2**-0.25) / frequencies)[::-1])[::-1] / math.pi

    def _set(
        self,
        steps: list[Tilted],
        mu: float,
        period: float,
        count: int,
        beyond: float,
        epsilon: float,
    ) -> None:
        theta = self._theta
        self._frequencies = np.arange(count) * (2 * math.pi / period)
        self._center = mu**2 * (theta + 0.5) + sum(t.count * t.mean for t in steps)
        self._log_scale = mu**2 * theta * (theta + 1) / 2
        self._log_scale += sum(t.count * t.log_moment for t in steps)
        if self._rare:
            self._log_rates = log_sum(np.array([t.log_rate for t in steps]))
            self._log_scale += self._log_rates
        s = theta + 1j * self._frequencies
        gaussian = np.exp(-0.5 * np.square(mu * self._frequencies))
        self._terms = self._transform(steps, period, count) * gaussian / (s * (s + 1)) / period
        self._terms[1:] *= 2
        # steps' errors add up; phases and tilts are products with losses, rounded
        relative = _ROUNDING * (10 + sum(t.count for t in steps)) + _ULP * (
            theta * sum(t.count * t.size for t in steps)
            + self._frequencies
            * (abs(self._center) + sum(t.count * math.sqrt(t.variance) for t in steps))
            + abs(self._log_scale)
            + theta * epsilon
        )
        # a transform is M(theta) in size at most, and so is the one that is subtracted
        sizes = (4 if self._tiny else 2) / (period * np.abs(s * (s + 1)))
        self._excess = beyond + float(sizes @ relative)

    def _transform(self, steps: list[Tilted], period: float, count: int) -> Any:
        """Return that of the sampled steps, against M(theta): a product over them."""
        nothing = np.zeros(count, dtype=complex)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = [np.log(t.transform(t.weights, period, count)) for t in steps]
            powers = [t.count * log for t, log in zip(steps, logs, strict=True)]
            if not self._rare:
                product = np.exp(sum(powers, nothing))
                if not self._tiny:
                    return product
                tiny = [np.log(t.transform(t.tiny_weights, period, count)) for t in steps]
                return product - np.exp(
                    sum((t.count * log for t, log in zip(steps, tiny, strict=True)), nothing)
                )
            total = nothing
            for i, (t, log) in enumerate(zip(steps, logs, strict=True)):  # whose loss is rare
                if t.log_rare > -math.inf:
                    others = np.exp(
                        sum(
                            powers[:i] + powers[i + 1 :],
                            (t.count - 1) * log if t.count > 1 else nothing,
                        )
                    )
                    one = t.transform(t.rare_weights, period, count)
                    total = total + math.exp(t.log_rate - self._log_rates) * others * one
            return total

    def excess(self, epsilon: float) -> float:
        """Return the bound on what is left out, and on rounding, as a part of `delta`."""
        return self._scaled(epsilon, self._excess) + self._of_tiny(epsilon)

    def delta(self, epsilon: float) -> float:
        """Return what the runs leave out at that epsilon, or more: about `excess` more."""
        turned = self._terms * np.exp(-1j * self._frequencies * (epsilon - self._center))
        inverted = self._scaled(epsilon, float(turned.real.sum()) + self._excess)
        return inverted + self._of_tiny(epsilon)

    def _scaled(self, epsilon: float, value: float) -> float:
        """Return the value times M(theta) e^(-theta epsilon); infinite where it was not found."""
        exponent = self._log_scale - self._theta * epsilon
        if math.isnan(value) or not exponent < 700:
            return math.inf
        return math.exp(max(-700.0, exponent)) * max(0.0, value)

    def _of_tiny(self, epsilon: float) -> float:
        if not self._tiny:
            return 0.0
        return math.exp(min(0.0, self._tiny.log_moment - self._tiny.theta * epsilon))
