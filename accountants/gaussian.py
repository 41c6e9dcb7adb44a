"""The Gaussian mechanism, exactly: its (epsilon, delta) curve (Balle, Wang 2018, Theorem 8).

delta(epsilon) = Phi(1 / (2 sigma) - epsilon sigma) - e^epsilon Phi(-1 / (2 sigma) - epsilon sigma)
for noise of sigma contributions. Values are rounded towards more spent privacy, and hold at any
delta that a double can express.
"""

import math

_ROUNDING = 1e-13
"""Relative error of the functions used here, and of their differences, generously."""


def log_delta(sigma: float, epsilon: float) -> float:
    """Return log delta of one release at that epsilon (of any sign), rounded up.

    With Mills' ratio m, where m(x) phi(x) = Phi(-x), delta is phi(a) (m(-a) - m(-b)) for the two
    arguments a > b: nothing overflows, and what cancels is of the size of its own error bound.
    """
    from scipy.special import erfcx, log_ndtr  # only where something is computed: it loads slowly

    a, b = 0.5 / sigma - epsilon * sigma, -0.5 / sigma - epsilon * sigma
    if a > -1:
        log_first, log_tail = float(log_ndtr(a)), float(log_ndtr(b))
        log_second = epsilon + log_tail  # which cancel
        error = _ROUNDING * (1 + abs(epsilon) + abs(log_tail) + abs(a) * (abs(a) + abs(b)))
        rest = -math.expm1(min(0.0, log_second - log_first)) + error
        return min(0.0, log_first + math.log(rest) + error)
    ratios = (float(erfcx(-a / math.sqrt(2))), float(erfcx(-b / math.sqrt(2))))
    rest = ratios[0] - ratios[1] + _ROUNDING * ratios[0]
    slip = _ROUNDING * abs(a) * (abs(a) + abs(b))  # a itself is a difference
    return slip - a * a / 2 + math.log(rest / 2)


def epsilon(sigma: float, delta: float) -> float:
    """Return the least epsilon, from 0 up, that one release spends at that delta, rounded up."""
    target = math.log(delta)
    if delta >= 1 or log_delta(sigma, 0.0) <= target:
        return 0.0
    low, high = 0.0, 1 / sigma
    while log_delta(sigma, high) > target:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if log_delta(sigma, middle) <= target else (middle, high)
    return high


def sampled_epsilon(sigma: float, sampling_rate: float, delta: float) -> float:
    """Return the same of one release of Poisson-sampled data, whichever way neighbours differ.

    Exactly log(1 + q (e^epsilon' - 1)) at delta / q: with the mixture on top,
    P - e^epsilon Q = q (N(1) - e^epsilon' N(0)), and that side is the larger one (Balle, Barthe,
    Gaboardi 2018, Theorem 8).
    """
    return amplified(epsilon(sigma, min(1.0, delta / sampling_rate)), sampling_rate)


def amplified(unsampled: float, sampling_rate: float) -> float:
    """Return log(1 + q (e^epsilon - 1)), rounded up, without overflow."""
    if sampling_rate == 1:
        return unsampled
    if unsampled > 700:
        value = unsampled + math.log(sampling_rate)
        return value + math.exp(-700) / sampling_rate + _ROUNDING * unsampled
    return math.log1p(sampling_rate * math.expm1(unsampled)) * (1 + _ROUNDING)
