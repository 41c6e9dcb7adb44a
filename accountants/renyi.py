"""Rényi moments of one Poisson-sampled Gaussian step (Mironov, Talwar, Zhang 2019, Section 3.3).

Both return log E[(P / Q)^order] of x ~ Q, for P = (1 - q) N(0, sigma^2) + q N(1, sigma^2) and
Q = N(0, sigma^2), which is `order - 1` times the Rényi divergence.
"""

import math
from typing import Any

import numpy as np

SMALLEST_TERM = -30.0
"""The logarithm of the term at which the fractional series stops."""
MOST_TERMS = 1 << 22


def whole_log_moment(q: float, sigma: float, order: int) -> float:
    """Return that of a whole order, of which 1024 is the last whose binomials are no overflow."""
    from scipy.special import binom, logsumexp  # only where something is computed: it loads slowly

    k = np.arange(order + 1)
    terms = np.log(binom(order, k)) + k * math.log(q) + (order - k) * math.log1p(-q)
    return float(logsumexp(terms + (k * k - k) / (2 * sigma * sigma)))


def fractional_log_moment(q: float, sigma: float, order: float) -> float:
    """Return that of an order which is not whole; NaN where its series does not end."""
    count = 64
    while count <= MOST_TERMS:
        if not math.isnan(moment := _sum_of_series(q, sigma, order, count)):
            return moment
        count *= 4
    return math.nan


def _sum_of_series(q: float, sigma: float, order: float, count: int) -> float:
    """Return the series' sum if its end is among so many terms, else NaN.

    The integral is split where both parts of P are equal, so that on either side the larger one can
    be taken out and the rest expanded; every i has a term of each side.
    """
    from scipy.special import binom, log_ndtr, logsumexp

    i = np.arange(count)
    j = order - i
    split = sigma * sigma * math.log(1 / q - 1) + 0.5
    log_q, log_rest, variance = math.log(q), math.log1p(-q), sigma * sigma
    coefficients = binom(order, i)
    left = i * log_q + j * log_rest + (i * i - i) / (2 * variance) + log_ndtr((split - i) / sigma)
    right = j * log_q + i * log_rest + (j * j - j) / (2 * variance) + log_ndtr((j - split) / sigma)
    sides = np.log(np.abs(coefficients)) + np.stack([left, right])
    small = np.flatnonzero(sides.max(axis=0) < SMALLEST_TERM)
    if not small.size:
        return math.nan
    end = small[0] + 1
    return float(logsumexp(sides[:, :end], b=np.sign(coefficients[:end])))


def conversion(order: Any, delta: float) -> Any:
    """Return what epsilon exceeds the divergence of that order (or orders) by.

    (Canonne, Kamath, Steinke 2020, arXiv:2004.00010, Proposition 12.)
    """
    return np.log1p(-1 / order) - np.log(delta * order) / (order - 1)


def log_delta(orders: Any, divergences: Any, epsilon: Any) -> Any:
    """Return the logarithm of the delta at which an epsilon is spent: `conversion`, turned."""
    excess = (orders - 1) * (divergences - epsilon)
    return excess + orders * np.log1p(-1 / orders) - np.log(orders - 1)
