"""Rényi moments of one epoch of balls in bins: each unit joins one of k steps, any with chance 1/k.

Others' bins are drawn apart and alike for both neighbours, so they may be known. What then tells of
one unit, seen in the k steps together, is at most the pair

    P = 1/k sum_j N(e_j, sigma^2 I),    Q = N(0, sigma^2 I),

of which the messages are made: step t adds x_t times the unit's gradient over its largest norm to
what others send, and noise across it (docs/sampling.md). With L_j, independent likelihood ratios
of N(1, sigma^2) and N(0, sigma^2), and Y their mean, dP/dQ is Y under Q. The moments are

- **removed**, whole orders a: E[Y^a] = a!/k^a times the coefficient of x^a in
  (sum_i e^((i^2-i)/(2 sigma^2)) x^i / i!)^k, by the multinomial theorem;
- **added**, orders a > 1: E[Y^(1-a)] = int s^(a-2) phi(s/k)^k ds / Gamma(a-1), over s > 0, with
  phi(u) = E[e^(-u L)].

Sources: Chua et al. 2025 (arXiv:2412.16802) for the pair; Feldman, Shenfeld 2025
(arXiv:2502.08202) for the moments of the first kind, as sums over partitions.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

MOST_ORDERS = (256, 1024)
"""Orders are found up to the first, or to the second where it is asked for: that takes longer."""
ERROR = 1e-10
"""What a log moment may be too small by, with as much of its own size: sums of logarithms."""
_STEP = 0.015
"""Of the trapezoid rule over log s. On the line theta off the axis the integral is at most
cos(theta)^(1-a) times as large; at theta = 0.2 that leaves e^(21 - 83) of it at a = 1024."""
_REACH = 37.0
"""Standard deviations that phi is summed over; what lies beyond, 6e-300, is added."""
_LEAST_SIGMA = 0.2
"""Below it phi takes more nodes than are affordable."""
_FALLEN = 60.0
"""The integrand is log-concave in log s: where it has fallen by e^60 the rest is nothing."""


def divergence(bins: int, sigma: float, order: int) -> float:
    """Return the Rényi divergence of one epoch, the larger of both directions, from above.

    Args:
        bins: k, the steps of an epoch.
        sigma: the noise multiplier.
        order: a, a whole number from 2 up.

    """
    unsampled = order / (2 * sigma**2)
    most = next((most for most in MOST_ORDERS if order <= most), 0)
    if not most:
        return unsampled
    return min(unsampled, float(_log_moments(bins, sigma, most)[order - 2]) / (order - 1))


@lru_cache(maxsize=1024)
def _log_moments(bins: int, sigma: float, most: int) -> Any:
    larger = np.maximum(removed(bins, sigma, most), added(bins, sigma, most))
    return larger * (1 + ERROR) + ERROR


def removed(bins: int, sigma: float, most: int) -> Any:
    """Return log E[Y^a] of the orders a = 2 .. `most`."""
    from scipy.special import gammaln  # only where something is computed: it loads slowly

    i = np.arange(most + 1)
    base = i * (i - 1) / (2 * sigma**2) - gammaln(i + 1)
    power, result = base, None
    for bit in reversed(bin(bins)[2:]):
        if bit == "1":
            result = power if result is None else _product(result, power)
        power = _product(power, power)
    assert result is not None
    return (result + gammaln(i + 1) - i * math.log(bins))[2:]


def _product(first: Any, second: Any) -> Any:
    """Multiply two power series, up to their order, whose coefficients are given as logarithms."""
    places = np.arange(len(first))
    other = places[:, None] - places
    with np.errstate(divide="ignore"):
        terms = np.where(other < 0, -np.inf, first + second[other])
    largest = terms.max(axis=1)
    return largest + np.log(np.exp(terms - largest[:, None]).sum(axis=1))


def added(bins: int, sigma: float, most: int) -> Any:
    """Return log E[Y^(1-a)] of the orders a = 2 .. `most`, or what it is at most.

    By Jensen's inequality it is at most (a-1) (a-1+k) / (2 k sigma^2), which stands in for
    integrals that do not end, and at little noise.
    """
    from scipy.special import gammaln

    power = np.arange(1, most)  # a - 1
    bound = power * (power + bins) / (2 * bins * sigma**2)
    if sigma < _LEAST_SIGMA:
        return bound
    shift = 1 / sigma
    end = _REACH * shift + shift**2 / 2 + 5  # of log u: beyond it phi is what was left out
    t = np.arange(-90.0, end, _STEP)  # log u; s = k u
    logs = bins * np.minimum(0.0, _log_transform(t, shift))
    for at, order in enumerate(power):
        integrand = order * (t + math.log(bins)) + logs
        top = integrand.max()
        if max(integrand[0], integrand[-1]) > top - _FALLEN:
            continue
        integral = top + math.log(_STEP * float(np.exp(integrand - top).sum()))
        bound[at] = min(bound[at], integral - float(gammaln(order)))
    return bound


def _log_transform(t: Any, shift: float) -> Any:
    """Return log phi(e^t): E[exp(-e^(t + shift x - shift^2 / 2))], x normal, from above.

    A trapezoid rule again. On the line c off the axis the integral is e^(c^2 / 2) phi(u cos(c
    shift)); log phi is concave in log u, with a slope of `_REACH` / shift at most, or about. So the
    rule errs by some e^(c^2 (1 + `_REACH` shift) / 2 - 2 pi c / spacing) of phi, e^-40 at the best.
    """
    spacing = min(0.1, 2 * math.pi * min(2.0, 1 / shift) / 45)
    x = np.arange(-_REACH, _REACH + spacing, spacing)
    weights = spacing / math.sqrt(2 * math.pi) * np.exp(-0.5 * x**2)
    result = np.empty_like(t)
    for first in range(0, len(t), 256):
        part = t[first : first + 256, None] + shift * x - shift**2 / 2
        result[first : first + 256] = np.exp(-np.exp(np.minimum(part, 300.0))) @ weights
    return np.log(result + 6e-300)
