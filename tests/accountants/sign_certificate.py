"""How far F_i(v) / v^2 may fall as v rises: a bound for every v, by cells of v.

With g(v) = F_i(v) / v^2, it bounds the supremum over w of (sup of g(v) over v <= w) / g(w), less 1.
A cell [a, b] of v gives, at any mu, with D <= d/dv log m_i(mu, v) <= E on it,

- from above, log m_i(mu, v) <= log m_i(mu, b) - (b - v) D, and <= log m_i(mu, b);
- from below, log m_i(mu, v) >= log m_i(mu, b) - (b - v) E, and >= log m_i(mu, a).

The derivative of m_i is i phi(mu + v) (R^(i-1) - S^(i-1)): R rises with v, and S falls. Below the
first cell L^i - 1 - i (L - 1) <= (L - 1)^2 i (i-1) / 2 max(1, L)^(i-2) bounds g; above the last g
is at most i (i-1) / 2, the vector's.
"""

import math

import numba
import numpy as np

from privrobust.accountants.sign_moments import LARGEST_SHIFT

_ROOT_HALF, _LOG_ROOT_TAU = math.sqrt(0.5), math.log(2 * math.pi) / 2


@numba.njit(cache=False)
def _log_cdf(x):
    if x > -20:
        return math.log(0.5 * math.erfc(-x * _ROOT_HALF))
    y = 1 / (x * x)  # of the asymptotic series, alternating: 6e-12 at most are left out
    tail = 1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y * (1 - 9 * y))))
    return -x * x / 2 - math.log(-x) - _LOG_ROOT_TAU + math.log(tail)


@numba.njit(cache=False)
def _log_moment(i, mu, v):
    plus = i * _log_cdf(mu + v) - (i - 1) * _log_cdf(mu)
    minus = i * _log_cdf(-mu - v) - (i - 1) * _log_cdf(-mu)
    high = max(plus, minus)
    return high + math.log(math.exp(plus - high) + math.exp(minus - high))


@numba.njit(cache=False)
def _slopes(i, mu, a, b):
    """Bounds of d/dv log m_i(mu, v) for v in [a, b]."""
    log_p, log_rest = _log_cdf(mu), _log_cdf(-mu)
    ends = -((mu + a) ** 2) / 2, -((mu + b) ** 2) / 2
    top = 0.0 if mu + a < 0 < mu + b else max(ends)
    least = _excess(i, _log_cdf(mu + a) - log_p, _log_cdf(-mu - a) - log_rest)
    most = _excess(i, _log_cdf(mu + b) - log_p, _log_cdf(-mu - b) - log_rest)
    low = min(ends) - _LOG_ROOT_TAU + least - _log_moment(i, mu, b)
    high = top - _LOG_ROOT_TAU + most - _log_moment(i, mu, a)
    return i * math.exp(low), i * math.exp(high)


@numba.njit(cache=False)
def _excess(i, log_r, log_s):
    """log(R^(i-1) - S^(i-1))"""
    gap = (i - 1) * (log_s - log_r)
    return (i - 1) * log_r + math.log(-math.expm1(gap))


@numba.njit(cache=False)
def _above(i, a, b, slack):
    """g on the cell, from above."""
    left, right = -(i * b + math.sqrt(i)), -a / 2
    curves = 2 + min(1.0, 0.3 * b) * (i - 2) / 3
    apart = math.sqrt(8 * slack) * max(curves**-0.5, a * math.sqrt((i - 1) / math.pi))
    count = math.ceil((right - left) / apart) + 1
    step = (right - left) / (count - 1)
    values = np.empty(count)
    for k in range(count):
        values[k] = _log_moment(i, left + k * step, b)
    best = values.max()
    found = 0.0
    for k in range(count):
        if values[k] * b * b <= best * a * a:  # nowhere on the cell above the best at b
            continue
        least, _ = _slopes(i, left + k * step, a, b)
        at_a, rest = max(values[k] - (b - a) * least, 0.0), values[k] - b * least
        here = max(values[k] / b**2, at_a / a**2)
        inside = -2 * rest / least
        if a < inside < b:
            here = max(here, (rest + inside * least) / inside**2)
        found = max(found, here)
    missed = step * step / 8
    return min(found / (1 - min(curves * missed, 0.5)), found + i * missed / (a * a))


@numba.njit(cache=False)
def _below(i, a, b):
    """g on the cell, from below, with the mu that is best at b."""
    left, right = -(i * b + 1.0), -b / 2
    for _ in range(60):  # any mu gives a bound; far ones are all rounding where v is small
        third = (right - left) / 3
        if _log_moment(i, left + third, b) < _log_moment(i, right - third, b):
            left += third
        else:
            right -= third
    mu = (left + right) / 2
    value = _log_moment(i, mu, b)
    _, most = _slopes(i, mu, a, b)
    by_slope = min(value / b**2, (value - (b - a) * most) / a**2)  # which is least at an end
    return max(by_slope, _log_moment(i, mu, a) / b**2)


@numba.njit(cache=False)
def _under(i, b):
    """g at all v <= b, from above."""
    left, found, step = -(i * b + math.sqrt(i)), 0.0, 1e-4
    for k in range(int(-left / step) + 1):
        mu, next_mu = left + k * step, min(0.0, left + (k + 1) * step)
        density = math.exp(-(min(0.0, next_mu + b) ** 2) / 2 - _LOG_ROOT_TAU)
        log_p = _log_cdf(mu)
        rises = (i - 2) * b * math.exp(-mu * mu / 2 - _LOG_ROOT_TAU - log_p)
        here = density**2 * (math.exp(rises - log_p) + 1 / math.exp(_log_cdf(-next_mu)))
        found = max(found, here)
    return found * i * (i - 1) / 2


@numba.njit(cache=False)
def _beyond(i, v):
    """g at all larger v, from below; 0 where this says nothing.

    By mu = -i v: log Phi(-x) is -x^2 / 2 - log x - log(2 pi) / 2, less 1 / (x^2 - 1) at most.
    """
    logs = math.log(v) + _LOG_ROOT_TAU + i * math.log(i - 1) - (i - 1) * math.log(i)
    beyond_one = ((i - 1) * v) ** 2 - 1
    if logs < 0.5 or beyond_one <= 0:  # else what is lost falls, over v^2
        return 0.0
    return i * (i - 1) / 2 - (logs + i / beyond_one) / (v * v)


@numba.njit(cache=False)
def largest_fall(i, slack, wide):
    """Return the bound, less 1, for all v up to LARGEST_SHIFT.

    Points of mu may miss a share `slack`, cells are about sqrt(wide) / (i v) wide.
    """
    v = 1e-4 / i
    high = _under(i, v)
    # by mu = -v / 2, where m_i - 1 is at least i (i-1) / 2 d^2 / (p (1-p))
    fall = high / (i * (i - 1) / math.pi * (1 - 1e-6)) - 1
    cap = i * (i - 1) / 2
    while v < LARGEST_SHIFT and cap > (1 + fall) * _beyond(i, v):
        b = v * (1 + max(wide / 2, math.sqrt(wide) / 2 / max(1.0, 3 * i * v)))
        low = _below(i, v, b)
        if low <= 0:
            return math.inf, v
        high = max(high, _above(i, v, b, slack))
        fall = max(fall, high / low - 1)
        v = b
    return fall, v
