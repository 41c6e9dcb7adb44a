r"""How much the likelihood ratio of noisy signs grows: the moments that the accountant composes.

A coordinate of a noisy sign is + with probability Phi(mu), and Phi(mu + v) with the unit that is
protected, in units of the noise; over all coordinates, the shifts v have an L2 norm of at most w =
1 / sigma. With R = Phi(mu + v) / Phi(mu) and S = Phi(-mu - v) / Phi(-mu), order i has the moment

    m_i(mu, v) = Phi(mu) R^i + Phi(-mu) S^i,  and  F_i(v) = sup over mu of log m_i(mu, v).

Coordinates are independent given mu, so log E[L^i] <= w^2 sup over v <= w of F_i(v) / v^2.

**Where the supremum over mu is.** Write p = Phi(mu), d = Phi(mu + v) - p, rho = phi(mu + v) /
phi(mu). The derivative of log m_i by mu has the sign of rho - xi, xi the mean of t under the
density t^(i-2) on [S, R].

- For mu > 0: m_i - 1 = sum over k >= 2 of C(i, k) d^k (p^(1-k) + (-1)^k (1-p)^(1-k)). At -mu no
  term is less, and neither is d.
- For -v/2 <= mu <= 0: rho <= 1 <= xi, and log m_i falls.
- For mu <= -M, M = i v + sqrt(i): R - xi >= (R - S) / i >= (R - 1) / i, and with lambda = phi(mu) /
  p, which is between |mu| and |mu| + 1 / |mu|, R - rho <= (R - 1) (lambda + mu + v) / lambda. So
  rho >= xi, and log m_i rises.

**Between the points of a grid.** m_i - 1 = d^2 (K(R) / p + K(S) / (1-p)) with K(t) = sum over k <=
i-2 of (i-1-k) t^k. By mu, log d has a second derivative of at least -1, log p and log(1-p) of at
most 0, log K(R) of at least 0, and log K(S) of at least -min(1, 0.3 v) (i-2) / 3, as (log Phi)''
rises from -1 to 0 by at most 0.3 a unit. So log m_i curves down by at most C log m_i, C = 2 +
min(1, 0.3 v) (i-2) / 3, and by at most i: points h apart miss no more than C h^2 / 8 of the
supremum, nor than i h^2 / 8.

**Over v.** F_i(v) / v^2 rises, as far as anyone has seen. `MARGIN` stands for what it may fall by,
and the tests bound that: for all orders up to `MOST_ORDER` and every v, by cells of v.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

MOST_ORDER = 256
MARGIN = 3e-4
"""What the largest F_i(v) / v^2 of smaller shifts v may exceed that of w by, as a share."""
LARGEST_SHIFT = 100.0
"""Beyond it the sign hides next to nothing, and the vector's moments stand in."""

_MISSED = 1e-4  # of the supremum, between points
_LOG_ROOT_TAU = math.log(2 * math.pi) / 2


@lru_cache(maxsize=1 << 17)
def log_moment(order: int, shift: float) -> float:
    """Return an upper bound of log E[L^order] over all mu and all shifts of that L2 norm."""
    of_vector = order * (order - 1) / 2 * shift**2  # signs are post-processing
    if order < 2 or shift > LARGEST_SHIFT:
        return of_vector
    return min(of_vector, worst_log_moment(order, shift) * (1 + MARGIN))


def worst_log_moment(order: int, shift: float) -> float:
    """Return F_i(v), from above: the supremum over mu of `log_moment_at`."""
    left, right = -(order * shift + math.sqrt(order)), -shift / 2
    curves = 2 + min(1.0, 0.3 * shift) * (order - 2) / 3
    apart = math.sqrt(8 * _MISSED) * max(curves**-0.5, shift * math.sqrt((order - 1) / math.pi))
    mu = np.linspace(left, right, math.ceil((right - left) / apart) + 1)
    found = float(log_moment_at(order, mu, shift).max())
    missed = float(mu[1] - mu[0]) ** 2 / 8
    share = min(curves * missed, 0.5)  # beyond a half, `apart` is from the other bound
    return min(found / (1 - share), found + order * missed)


def log_moment_at(order: int, mu: Any, shift: float) -> Any:
    """Return log m_i(mu, v) for an array of mu <= 0: precise for any v, as m_i - 1 is summed."""
    from scipy.special import log_ndtr

    log_p, log_rest = log_ndtr(mu), log_ndtr(-mu)
    slope = np.exp(-mu * mu / 2 - _LOG_ROOT_TAU - log_p)
    # log R <= slope v, and for small v the difference of logarithms has no digits
    is_small = shift * (1 + abs(mu)) < 1e-5
    log_ratio = np.where(is_small, shift * slope, log_ndtr(mu + shift) - log_p)
    with np.errstate(all="ignore"):
        rises = np.expm1(log_ratio)
        log_square = 2 * np.log(rises)  # of R - 1, as long as it is no overflow
        log_square = np.where(log_ratio > 30, 2 * log_ratio, log_square)
        power = order * log_ratio
        of_plus = np.log(np.expm1(power) - order * rises) - log_square
    of_plus = np.where(power > 30, power - log_square, of_plus)
    halves = order * (order - 1) / 2
    of_plus = np.where(power < 1e-4, math.log(halves) + (order - 2) / 3 * log_ratio, of_plus)
    log_distance = log_p + log_square / 2
    falls = np.minimum(np.exp(log_distance - log_rest), 1.0)
    with np.errstate(all="ignore"):
        of_minus = (np.expm1(order * np.log1p(-falls)) + order * falls) / falls**2
    of_minus = np.where(order * falls < 1e-4, halves * (1 - (order - 2) / 3 * falls), of_minus)
    log_excess = 2 * log_distance + np.logaddexp(of_plus - log_p, np.log(of_minus) - log_rest)
    return np.logaddexp(0.0, log_excess)
