"""Privacy loss distributions on a grid (dp-accounting), for what inversions leave loose or out.

Each step's privacy loss is rounded up to a grid and the grids are convolved by FFT, so any grid
gives an upper bound, a finer one a tighter bound, as long as delta is far above what rounding adds.
With "connect the dots" the excess shrinks with the square of the grid's interval, so two cheap
coarse passes tell which interval is fine enough.

Sources: Koskela, Jälkö, Honkela 2020 (arXiv:1906.03049); Doroshenko, Ghazi, Kamath, Kumar,
Manurangsi 2022 (arXiv:2207.04380). Adding and removing are composed apart, the larger counts.
"""

import math
from functools import lru_cache
from typing import Any

from privrobust.accountants import fixed_batches
from privrobust.accountants.mechanism import Composition, Mechanism

_TOLERANCE = 2e-4
"""Relative excess over the exact value that the grid is chosen for."""
_FIRST_POINTS = 10_000
"""Points of one step's grid to start with, at most."""
_MOST_POINTS = 400_000
"""Points of one step's grid. Where this binds, the bound is looser and still holds."""
_MOST_STEPS = 100_000
"""Sampled steps beyond which composing takes long."""
_LARGEST_LOSS = 1e3
"""Expected loss, roughly epsilon, beyond which no time is spent."""


def is_sound(steps: Composition, delta: float) -> bool:
    """Return whether rounding is a thousandth of delta at most, and the grids are affordable.

    An FFT of probabilities errs by some units of 2^-53 a step; 1e-15 a step and 1e-12 at least is a
    hundred times what was measured.
    """
    count = sum(count for _, count in steps)
    sampled = sum(
        count for step, count in steps if step.sampling_rate < 1 or step.noise != "gaussian"
    )
    if delta < 1e3 * (1e-12 + 1e-15 * count) or sampled > _MOST_STEPS:
        return False
    return _expected_loss(steps) <= _LARGEST_LOSS


@lru_cache(maxsize=1024)
def epsilon(steps: Composition, delta: float) -> float:
    """Return an upper bound, on a grid just fine enough, predicted from coarser ones."""
    delta *= 1 - 1e-3  # for rounding
    losses = max(_loss_range(step, count) for step, count in steps)
    finest = losses / _MOST_POINTS
    interval = max(
        losses / _FIRST_POINTS, min(_loss_scale(step, count) for step, count in steps) / 10
    )
    while True:
        coarse, fine = (
            float(_composed(steps, h).get_epsilon_for_delta(delta))
            for h in (2 * interval, interval)
        )
        excess = (coarse - fine) / 3
        if not excess > _TOLERANCE * fine > 0 or interval == finest:
            return fine
        enough = interval * math.sqrt(0.7 * _TOLERANCE * fine / excess)
        if enough > interval / 4:
            return float(_composed(steps, max(finest, enough)).get_epsilon_for_delta(delta))
        interval = max(finest, enough, interval / 64)


@lru_cache(maxsize=8)
def _composed(steps: Composition, interval: float) -> Any:
    first, *rest = (_self_composed(step, count, interval) for step, count in steps)
    for losses in rest:
        first = first.compose(losses)
    return first


def _self_composed(step: Mechanism, count: int, interval: float) -> Any:
    """Return the losses of so many steps, as dp-accounting's PrivacyLossDistribution."""
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
    if step.noise != "gaussian":
        raise AssertionError(f"no losses of {step.noise} noise")
    if step.sampling == "fixed":
        return _fixed(step, interval).self_compose(count)
    settings["neighboring_relation"] = (
        Neighbors.REPLACE_ONE if step.replace else Neighbors.ADD_OR_REMOVE_ONE
    )
    if step.sampling_rate == 1:
        return pld.from_gaussian_mechanism(_one_gaussian(step, count), **settings)
    return pld.from_gaussian_mechanism(step.noise_multiplier, **settings).self_compose(count)


def _fixed(step: Mechanism, interval: float) -> Any:
    """Return the losses of one step with a batch of fixed size."""
    from dp_accounting.pld.pld_pmf import create_pmf
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    cells = math.ceil(_loss_range(step, 1) / 2 / interval)
    sides = []
    for side in fixed_batches.SIDES:
        found = fixed_batches.masses(step, side, interval, cells)
        weights = dict(zip(range(-cells, cells + 1), found.weights.tolist(), strict=True))
        sides.append(create_pmf(weights, interval, found.infinite, True))
    return PrivacyLossDistribution(*sides)


def _one_gaussian(step: Mechanism, count: int) -> float:
    """Return the sigma of one step that reveals what `count` unsampled Gaussian steps do."""
    return step.noise_multiplier / math.sqrt(count)


def _loss_scale(step: Mechanism, count: int) -> float:
    """Return roughly the standard deviation of the loss on the grid."""
    if step.noise == "gaussian" and step.sampling_rate == 1:
        return 1 / _one_gaussian(step, count)
    return step.sampling_rate / step.noise_multiplier


def _loss_range(step: Mechanism, count: int) -> float:
    """Return roughly the range of the loss on the grid: Gaussian tails end at 10 sigma."""
    if step.noise == "laplace":
        return 2 / step.noise_multiplier
    if step.noise != "gaussian":
        raise AssertionError(f"no losses of {step.noise} noise")
    sigma = _one_gaussian(step, count) if step.sampling_rate == 1 else step.noise_multiplier
    if step.sampling == "fixed" and step.replace:
        sigma /= 2  # of other schemes, dp-accounting halves it
    return (1 + 20 * sigma) / sigma**2


def _expected_loss(steps: Composition) -> float:
    """Return epsilon roughly, and from above for Gaussian noise."""
    return sum(
        count * step.sampling_rate / min(step.noise_multiplier, 2 * step.noise_multiplier**2)
        for step, count in steps
    )
