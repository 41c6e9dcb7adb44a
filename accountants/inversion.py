"""delta(epsilon) of a composition from the transform of its privacy loss, from above."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from privrobust.accountants.losses import PANEL_NODES, Losses, Resolution, Side, losses
from privrobust.accountants.mechanism import Composition, Mechanism

PAID = 1e-6
"""Share of delta that each thing left out may cost, where that is affordable."""
_MOST_PRODUCTS = 1 << 28
"""Frequencies times nodes: half a second."""
_ROUNDING = 4e-15
"""Relative error of one step's transform, a sum of some thousand products."""
_ULP = 4e-16
_NEGLIGIBLE = 1e-22
"""Tilted probability of a node that is left out."""


def unsampled_mu(steps: Composition) -> float:
    """Return 1 / sigma of the one unsampled Gaussian step that reveals what those among them do."""
    squares = [count / step.noise_multiplier**2 for step, count in steps if _is_unsampled(step)]
    return math.sqrt(math.fsum(squares))


def _is_unsampled(step: Mechanism) -> bool:
    return step.noise == "gaussian" and step.sampling_rate == 1


def minimum(function: Callable[[float], float]) -> float:
    """Return where a function of one dip is least over theta > 0, to 2 %."""
    theta, value, ratio = 1.0, function(1.0), 4.0
    while ratio > 1.02:
        for step in (ratio, 1 / ratio):
            while 1e-9 < theta * step < 1e9 and (there := function(theta * step)) < value:
                theta, value = theta * step, there
        ratio = math.sqrt(ratio)
    return theta


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
            of_common = _log_sum(logs[~of_step.rare])
            common += count * of_common
            if of_step.rare.any():
                ratios.append(math.log(count) + _log_sum(logs[of_step.rare]) - of_common)
        value = self.mu**2 * theta * (theta + 1) / 2 + common
        return value + _log_sum(np.array(ratios)) if rare else value

    def tiny(self, epsilon: float, delta: float) -> "Tiny | None":
        """Return which losses are so small that alone they make up no epsilon, if any are.

        That is, runs of them alone have a share `PAID` of delta at most, by Chernoff's bound. None
        where a loss has atoms (Laplace noise), whose transform does not fall.
        """
        if any(step.noise == "laplace" for step, _ in self._sampled):
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
        """Of runs of tiny losses alone, for each choice of the panels that they end with."""
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
                ratio -= count * np.logaddexp(0.0, _log_sum(logs[larger]) - _log_sum(logs[is_tiny]))
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
    """How many panels have no loss above each of these; only common ones count."""
    last = of_step.values[PANEL_NODES - 1 :: PANEL_NODES]
    common = int((~of_step.rare[PANEL_NODES - 1 :: PANEL_NODES]).sum())
    return np.minimum(common, np.searchsorted(last, largest))


def _log_sum(logs: Any) -> float:
    largest = float(logs.max())
    return largest + math.log(float(np.exp(logs - largest).sum()))


def _variation(log_density: Any) -> float:
    """Total variation of a density that is 0 elsewhere; the nodes see all but a little of it."""
    if not len(log_density) or log_density.max() > 700:
        return math.inf
    return 1.05 * float(np.abs(np.diff(np.exp(log_density), prepend=0.0, append=0.0)).sum())


class _Tilted:
    """The losses of one step, tilted by exp(theta L): the common ones, and apart the rare ones."""

    def __init__(self, of_step: Losses, count: int, theta: float, place: float) -> None:
        """Losses below the place are tiny."""
        rare, logs = of_step.rare, of_step.log_weights + theta * of_step.values
        self.count = count
        self.log_moment = _log_sum(logs[~rare])
        self.log_rare = _log_sum(logs[rare]) if rare.any() else -math.inf
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
        """E[e^(i tau (L - mean))] at so many tau, multiples of 2 pi / period, by one product."""
        block = 1 << (frequencies.bit_length() // 2)
        phases = 2 * math.pi / period * (self.values - self.mean)
        starts = _rotations(block * phases, -(-frequencies // block)) * weights
        result: Any = starts @ _rotations(phases, block).T
        return result.ravel()[:frequencies]


def _rotations(phases: Any, count: int) -> Any:
    """e^(i k phases) for k = 0 .. count - 1, a row each, mostly by multiplication."""
    rows = np.ones((count, len(phases)), dtype=complex)
    known = 1
    while known < count:
        some = min(known, count - known)
        rows[known : known + some] = rows[:some] * np.exp(1j * (known * phases))
        known += some
    return rows


class _Decay:
    """How fast |phi(tau)| = |M(theta + i tau)| / M(theta) falls, for all large tau, proven.

    - Where the tilted loss has density f, integration by parts over any set I of losses gives
      |E[e^(i tau L); I]| <= V / tau, V the total variation of f on I. So for all tau >= Omega
      |phi(tau)| <= 1 - c(Omega), with c the supremum over I of P(I) - V / Omega.
    - |phi|^2 is the characteristic function of L - L', and 1 - cos(2 x) <= 4 (1 - cos x), so
      1 - |phi(tau)|^2 >= (1 - |phi(2 tau)|^2) / 4: below Omega what |phi|^2 falls short of 1 by is
      at least (tau / (2 Omega))^2 of what it is beyond.
    """

    _LEVELS = 40

    def __init__(self, tilted: Sequence[_Tilted], mu: float, spared: int) -> None:
        """Of all steps but so many of each kind."""
        self._mu = mu
        self._gaps = [(max(0, each.count - spared), *self._gap(each)) for each in tilted]

    def _gap(self, tilted: _Tilted) -> tuple[Any, Any]:
        """Frequencies Omega, and what |phi|^2 falls short of 1 by from there on."""
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
        """Log of the bound at and beyond each of some ascending frequencies, of all steps."""
        total = -0.5 * np.square(self._mu * frequencies)
        for count, omegas, gaps in self._gaps:
            below = np.minimum(1.0, frequencies[:, None] / (2 * omegas)) ** 2
            gap = (gaps * np.where(frequencies[:, None] >= omegas, 1.0, below)).max(axis=1)
            total = total + count / 2 * np.log1p(-np.minimum(gap, 1 - 1e-16))
        return total


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
        """With the frequencies that it takes near this epsilon and delta, or as many as allowed."""
        self._theta, self._rare, self._tiny, mu = theta, rare, tiny, composition.mu

        def tilted(frequency: float) -> list[_Tilted]:
            if tiny:
                frequency = max(frequency, tiny.frequency)
            found = composition.at(Resolution(theta, frequency))
            places = tiny.places if tiny else (-math.inf,) * len(found)
            return [
                _Tilted(of_step, count, theta, place)
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

    def _beyond(self, steps: list[_Tilted], mu: float, frequencies: Any) -> Any:
        """Bound on the integral of |transform| / M(theta) from each frequency on, over pi."""
        decay = np.exp(_Decay(steps, mu, int(self._rare)).log_bound(frequencies))
        if self._rare:
            decay *= np.minimum(1.0, max(t.rare_variation for t in steps) / frequencies)
        elif self._tiny:
            # |a^T - b^T| <= T |a - b| max(|a|, |b|)^(T - 1)
            decay = sum(t.count * t.larger_variation for t in steps) / frequencies
        return np.cumsum((decay * (1 - 2**-0.25) / frequencies)[::-1])[::-1] / math.pi

    def _set(
        self,
        steps: list[_Tilted],
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
            self._log_rates = _log_sum(np.array([t.log_rate for t in steps]))
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

    def _transform(self, steps: list[_Tilted], period: float, count: int) -> Any:
        """Of the sampled steps, against M(theta): a product over them."""
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
        """The value times M(theta) e^(-theta epsilon); infinite where it was not found."""
        exponent = self._log_scale - self._theta * epsilon
        if math.isnan(value) or not exponent < 700:
            return math.inf
        return math.exp(max(-700.0, exponent)) * max(0.0, value)

    def _of_tiny(self, epsilon: float) -> float:
        if not self._tiny:
            return 0.0
        return math.exp(min(0.0, self._tiny.log_moment - self._tiny.theta * epsilon))
