"""Privacy loss distributions: numerically tight, and an upper bound (dp-accounting).

Each step's privacy loss is rounded up to a grid and the grids are convolved, so any grid gives an
upper bound, a finer one a tighter bound. With "connect the dots" the excess shrinks with the
square of the grid's interval, so two cheap coarse passes tell which interval is fine enough; any
fixed one is slow for little noise and loose for much.

Sources: Koskela, Jälkö, Honkela 2020 (arXiv:1906.03049); Doroshenko, Ghazi, Kamath, Kumar,
Manurangsi 2022 (arXiv:2207.04380). Adding and removing are composed apart, the larger counts.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import LEAST_DELTA, Accountant, no_sampled_replacement
from privrobust.accountants.release import Release

TOLERANCE = 2e-4
"""Relative excess over the exact value that the grid is chosen for."""
FIRST_POINTS = 10_000
"""Points of one step's grid to start with, at most."""
MOST_POINTS = 400_000
"""Points of one step's grid. Where this binds, the bound is looser and still holds."""
MOST_STEPS = 2_000_000
"""Sampled steps beyond which composing takes minutes."""
LARGEST_LOSS = 1e5
"""Expected loss, roughly epsilon, beyond which no time is spent."""


class PLD(Accountant):
    """Gaussian and Laplace noise, sampled or not; every adjacency but sampled Laplace replaced."""

    name = "pld"

    def unsupported(self, release: Release) -> str | None:
        """Only the replacement of a sampled unit under Laplace noise."""
        return None if release.noise == "gaussian" else no_sampled_replacement(release)

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """From above: within `TOLERANCE` of exact for Gaussian noise, q above 1e-3, epsilon < 700.

        Laplace losses have atoms and converge more slowly (0.4 %); rare sampling wants more points
        than `MOST_POINTS` (q = 1e-6: several times the exact value).

        NaN at a delta that rounding errors would swamp, beyond `LARGEST_LOSS` or `MOST_STEPS`.
        """
        rounding = _rounding(steps)
        if delta < 10 * rounding or _too_much(steps):
            return math.nan
        return _refined_epsilon(steps, delta - rounding)

    def compose_delta(self, steps: Composition, epsilon: float) -> float:
        """From above, never below the rounding errors of the convolution."""
        if _too_much(steps):
            return math.nan
        delta = _refined(steps, lambda losses: losses.get_delta_for_epsilon(epsilon))
        return max(LEAST_DELTA, delta + _rounding(steps))


@lru_cache(maxsize=4096)
def _refined_epsilon(steps: Composition, delta: float) -> float:
    return _refined(steps, lambda losses: losses.get_epsilon_for_delta(delta))


def _refined(steps: Composition, measure: Callable[[Any], float]) -> float:
    """The measure on a grid just fine enough, predicted from the excess of coarser ones."""
    losses = max(_loss_range(step, count) for step, count in steps)
    finest = losses / MOST_POINTS
    interval = max(
        losses / FIRST_POINTS, min(_loss_scale(step, count) for step, count in steps) / 10
    )
    while True:
        coarse, fine = (measure(_composed(steps, h)) for h in (2 * interval, interval))
        excess = (coarse - fine) / 3
        if not excess > TOLERANCE * fine > 0 or interval == finest:
            return fine
        enough = interval * math.sqrt(0.7 * TOLERANCE * fine / excess)
        if enough > interval / 4:
            return measure(_composed(steps, max(finest, enough)))
        interval = max(finest, enough, interval / 64)


@lru_cache(maxsize=8)
def _composed(steps: Composition, interval: float) -> Any:
    first, *rest = (_self_composed(step, count, interval) for step, count in steps)
    for losses in rest:
        first = first.compose(losses)
    return first


def _self_composed(step: Mechanism, count: int, interval: float) -> Any:
    """The loss distribution of so many steps, as dp-accounting's PrivacyLossDistribution."""
    from dp_accounting import NeighboringRelation as Neighbors
    from dp_accounting.pld import privacy_loss_distribution as pld

    settings = {
        "value_discretization_interval": interval,
        "sampling_prob": step.sampling_rate,
        "use_connect_dots": True,
    }
    if step.noise == "laplace":
        laplace = pld.from_laplace_mechanism(step.noise_multiplier, **settings)
        return laplace.self_compose(count)
    settings["neighboring_relation"] = (
        Neighbors.REPLACE_ONE if step.replace else Neighbors.ADD_OR_REMOVE_ONE
    )
    if step.sampling_rate == 1:
        return pld.from_gaussian_mechanism(_one_gaussian(step, count), **settings)
    return pld.from_gaussian_mechanism(step.noise_multiplier, **settings).self_compose(count)


def _one_gaussian(step: Mechanism, count: int) -> float:
    """The sigma of one step that reveals what `count` unsampled Gaussian steps do."""
    return step.noise_multiplier / math.sqrt(count)


def _loss_scale(step: Mechanism, count: int) -> float:
    """Roughly the standard deviation of the loss on the grid."""
    if step.noise == "gaussian" and step.sampling_rate == 1:
        return 1 / _one_gaussian(step, count)
    return step.sampling_rate / step.noise_multiplier


def _loss_range(step: Mechanism, count: int) -> float:
    """Roughly the range of the loss on the grid: Gaussian tails end at 10 sigma."""
    if step.noise == "laplace":
        return 2 / step.noise_multiplier
    sigma = _one_gaussian(step, count) if step.sampling_rate == 1 else step.noise_multiplier
    return (1 + 20 * sigma) / sigma**2


def _too_much(steps: Composition) -> bool:
    sampled = sum(count for step, count in steps if step.sampling_rate < 1)
    return sampled > MOST_STEPS or _expected_loss(steps) > LARGEST_LOSS


def _expected_loss(steps: Composition) -> float:
    """Roughly, and from above for Gaussian noise."""
    return sum(
        count * step.sampling_rate / min(step.noise_multiplier, 2 * step.noise_multiplier**2)
        for step, count in steps
    )


def _rounding(steps: Composition) -> float:
    """What FFT convolutions in double precision may be off by, in delta.

    Measured: below 1e-14 at 1e4 steps, 3e-12 at 1e5, 5e-11 at 1e6.
    """
    return 1e-13 + 1e-16 * sum(count for _, count in steps)
