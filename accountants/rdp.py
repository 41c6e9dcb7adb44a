"""Rényi differential privacy: fast, an upper bound some 10 % above pld's."""

import math
from bisect import bisect_left
from functools import lru_cache
from typing import Any

import numpy as np

from privrobust.accountants import balls_in_bins, fixed_batches
from privrobust.accountants.logistic import of_whole_orders, renyi_multiplier
from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant, no_sampled_replacement
from privrobust.accountants.release import Release
from privrobust.accountants.renyi import conversion, fractional_log_moment, whole_log_moment

WHOLE_ORDERS = (
    *(float(k) for k in range(2, 64)),
    *(float(round(2 ** (k / 4))) for k in range(24, 41)),
    *(4.0**k for k in range(6, 21)),
)
"""Each up to 63, then ever sparser ones: far up, epsilon changes slowly with the order."""
LOW_ORDERS = tuple(1 + 2 ** (k / 4) for k in range(-24, 8) if k % 4)
"""Fractional ones from 1.02 on, ever sparser: a selection's price is often least at one of them."""
LARGEST_REFINED_ORDER = 12
"""Above it no fractional order is looked for: it would save 3 % at most, as measured up to 40."""
MOST_POINTS = 2000
"""Of the quadrature, which only chooses an order."""
FRACTIONAL_ERROR, WHOLE_ERROR = 2e-11, 1e-12
"""What the log moment of one step may be too small by: the fractional series stops at terms of
e^-30 (measured: up to 9e-12), the whole one sums logarithms of binomials."""
LARGEST_SAMPLED_ORDER = 1024
"""Above it binomials overflow: the bound without sampling stands in."""


class RDP(Accountant):
    """Add up Rényi divergences of steps, however they are sampled, at the best order.

    Every order gives an upper bound, so the search for the best one may be approximate: whole
    orders, which are quick to evaluate, by bisection from 2 to 4^20; then, around a small one, the
    fractional order that a quadrature points to. No optimum is at the edge of a fixed list, and a
    dozen orders are evaluated where opacus, whose divergences of Poisson-sampled steps these are,
    evaluates 150. Batches of fixed size and balls in bins have whole orders alone. Logistic noise
    is bounded by Gaussian noise of sqrt(3) times its scale (`accountants/logistic.py`), where it is
    sampled at whole orders.

    Formal guarantee:
        **Upper bound**, of releases as `Accountant` says. Neighbours: zero-out and add-or-remove,
        and replace-one without sampling or with batches of fixed size. What the two series of a
        step may be too small by, `FRACTIONAL_ERROR` and `WHOLE_ERROR`, is added to each; steps are
        summed by `fsum`. docs/sampling.md proves the rounds of the other schemes.

    References:
        Mironov, Talwar, Zhang 2019 (https://arxiv.org/abs/1908.10530) for the divergence of a
        step; Canonne, Kamath, Steinke 2020, Proposition 12 (https://arxiv.org/abs/2004.00010) for
        the conversion.

    """

    name = "rdp"
    knows_selections = True
    samplings = frozenset({"poisson", "fixed", "balls_in_bins"})

    def unsupported(self, release: Release) -> str | None:
        """Refuse Laplace noise, and the replacement of a sampled unit."""
        if release.noise == "logistic":
            return no_sampled_replacement(release)
        return super().unsupported(release)

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the least over the orders tried."""

        def rises(i: int) -> bool:
            here, there = WHOLE_ORDERS[i : i + 2]
            return _epsilon(steps, delta, here) <= _epsilon(steps, delta, there)

        whole = WHOLE_ORDERS[bisect_left(range(len(WHOLE_ORDERS) - 1), True, key=rises)]
        orders = [whole]
        if whole <= LARGEST_REFINED_ORDER and not _are_whole(steps):
            orders.append(_likely_best(steps, delta, whole))
        return min(_epsilon(steps, delta, order) for order in orders)

    def divergences(self, steps: Composition) -> tuple[Any, Any]:
        """Return those of orders next to 1, where selections need them, and of whole ones.

        Of batches other than Poisson's, and of logistic noise, there are whole orders alone.
        """
        orders = WHOLE_ORDERS if _are_whole(steps) else (*LOW_ORDERS, *WHOLE_ORDERS)
        return np.array(orders), np.array([_composed(steps, order) for order in orders])


def _are_whole(steps: Composition) -> bool:
    """Tell whether some step has a proof for whole orders alone."""
    return any(step.sampling != "poisson" or of_whole_orders(step) for step, _ in steps)


def _epsilon(steps: Composition, delta: float, order: float) -> float:
    return float(_composed(steps, order) + conversion(order, delta))


def _composed(steps: Composition, order: float) -> float:
    return math.fsum(count * _divergence(step, order) for step, count in steps)


@lru_cache(maxsize=200_000)
def _divergence(step: Mechanism, order: float) -> float:
    """Return the Rényi divergence of one round, at most that without sampling (convexity)."""
    if step.sampling == "balls_in_bins":
        bins = round(1 / step.sampling_rate)
        return balls_in_bins.divergence(bins, step.noise_multiplier, int(order))
    if step.sampling == "fixed":
        return fixed_batches.divergence(step, int(order))
    q, sigma = step.sampling_rate, renyi_multiplier(step)
    unsampled = order / (2 * sigma**2)
    if q == 1 or order > LARGEST_SAMPLED_ORDER:
        return unsampled
    if order % 1:
        moment, error = fractional_log_moment(q, sigma, order), FRACTIONAL_ERROR
    else:
        moment, error = whole_log_moment(q, sigma, int(order)), WHOLE_ERROR
    if not math.isfinite(moment):  # the series fails for extreme sigma
        return unsampled
    return min((max(0.0, moment) + error) / (order - 1), unsampled)


def _likely_best(steps: Composition, delta: float, whole: float) -> float:
    """Return the fractional order near the best whole one of the least approximate epsilon."""
    lowest = -10 if whole == 2 else -1
    orders = 1 + (whole - 1) * np.exp2(np.linspace(lowest, 1, 16 * (1 - lowest) + 1))
    approximate = sum(count * _quadrature(step, orders) for step, count in steps)
    return float(orders[np.nanargmin(approximate + conversion(orders, delta))])


def _quadrature(step: Mechanism, orders: Any) -> Any:
    """Return divergences of one step by the trapezoid rule: to choose an order, not to report."""
    from scipy.special import logsumexp

    q, sigma = step.sampling_rate, renyi_multiplier(step)
    span = orders[-1] + 20 * sigma
    spacing = max(sigma / 4, span / MOST_POINTS)
    z = np.arange(-10 * sigma, span - 10 * sigma, spacing)
    log_ratio = np.logaddexp(np.log1p(-q), np.log(q) + (2 * z - 1) / (2 * sigma**2))
    terms = orders[:, None] * log_ratio - z**2 / (2 * sigma**2)
    density = spacing / (sigma * math.sqrt(2 * math.pi))
    return (logsumexp(terms, axis=1) + math.log(density)) / (orders - 1)
