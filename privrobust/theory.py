"""What theory says of a step: how far an aggregate may be from the gradient that is wanted.

`Aggregator.kappa_bound` bounds the error of a rule by the spread of the honest messages. With what
clipping and noise leave of that spread, it bounds the error by settings alone; docs/theory.md has
the proofs, and what measurements make of the bounds.
"""

import math

from privrobust.core.numbers import as_float, as_whole
from privrobust.errors import SpecError

_PIECES = 256  # of an integral, each bounded from above


def least_kappa(n: int, byzantine: int) -> float:
    """Return `f / (n - 2f)`: no rule is (f, kappa)-robust for a smaller kappa.

    Args:
        n: how many messages there are.
        byzantine: f, how many of them are Byzantine.

    Raises:
        SpecError: f is no minority.

    References:
        Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity
        (https://arxiv.org/abs/2302.01772).

    """
    n = as_whole("n", n, "a whole number, 1 or more", least=1)
    byzantine = as_whole("byzantine", byzantine, "a whole number, 0 or more", least=0)
    if 2 * byzantine >= n:
        raise SpecError(f"byzantine: {byzantine} of {n}; accepted: fewer than half")
    return byzantine / (n - 2 * byzantine)


def error_of_mean(honest: int, dim: int, noise_std: float) -> float:
    """Return `d s^2 / h`: what noise alone makes of the mean of the honest messages.

    It is the expectation of `|mean of g_i + noise - mean of g_i|^2`, for any g_i.

    Args:
        honest: h, who send a message each.
        dim: d, its coordinates.
        noise_std: s, the standard deviation of the noise on each.

    """
    return dim * noise_std**2 / honest


def error_bound(
    kappa: float, honest: int, dim: int, noise_std: float, second_moment: float
) -> float:
    """Bound `E |aggregate - mean of g_i|^2` of the honest gradients g_i before noise.

    That is `(sqrt(kappa (M + d s^2)) + sqrt(d s^2 / h))^2`: the rule's error by the spread of what
    is sent, then that of the mean by the noise on it. It has the three terms of the trilemma of
    Allouah et al. 2023 (https://arxiv.org/abs/2302.04787): `d s^2 / h` for privacy, `kappa M` for
    robustness, and `kappa d s^2`, the price of having both, here with constants.

    Args:
        kappa: of the rule, `Aggregator.kappa_bound`.
        honest: h, the honest workers.
        dim: d, the coordinates of a message.
        noise_std: s, the standard deviation of the noise on each; it is independent of the g_i.
        second_moment: M, which the mean over workers of `E |g_i|^2` does not exceed.

    """
    honest = _checked(kappa, honest, dim, noise_std, second_moment)
    noise = dim * noise_std**2
    of_rule = kappa * (second_moment + noise) if kappa else 0.0  # 0 times infinity is NaN
    return (math.sqrt(of_rule) + math.sqrt(noise / honest)) ** 2


def spectral_error_bound(
    kappa: float, honest: int, dim: int, noise_std: float, second_moment: float
) -> float:
    """Bound what `error_bound` does, for a rule that withstands by the top eigenvalue.

    Such a rule has `|result - m|^2 <= kappa lambda`, of the honest messages' mean m and the top
    eigenvalue lambda of their covariance: `smea` with kappa = `4f / (n - 2f)`. Gaussian noise,
    which is spread over all directions, adds little to any one of them:
    `E lambda <= (sqrt(M) + s sqrt(((sqrt(h) + sqrt(d))^2 + 1) / h))^2`. So the price of having both
    is `kappa s^2 (1 + d / h)` or so, in place of `kappa d s^2`.

    Args:
        kappa: of the rule, against the top eigenvalue.
        honest: h, the honest workers.
        dim: d, the coordinates of a message.
        noise_std: s, the standard deviation of the Gaussian noise on each.
        second_moment: M, which the mean over workers of `E |g_i|^2` does not exceed.

    Raises:
        SpecError: a value that is out of range.

    References:
        On the Privacy-Robustness-Utility Trilemma in Distributed Learning
        (https://arxiv.org/abs/2302.04787); Davidson, Szarek 2001, Theorem II.13, for
        `E |Z| <= sqrt(h) + sqrt(d)` of a standard normal h x d matrix's spectral norm.

    """
    honest = _checked(kappa, honest, dim, noise_std, second_moment)
    norm_of_noise = math.sqrt((math.sqrt(honest) + math.sqrt(dim)) ** 2 + 1)
    top = math.sqrt(second_moment) + noise_std * norm_of_noise / math.sqrt(honest)
    of_rule = math.sqrt(kappa) * top if kappa else 0.0  # 0 times infinity is NaN
    return (of_rule + noise_std * math.sqrt(dim / honest)) ** 2


def _checked(kappa: float, honest: int, dim: int, noise_std: float, second_moment: float) -> int:
    """Return h, whole; refuse what is negative."""
    given = {"kappa": kappa, "dim": dim, "noise_std": noise_std, "second_moment": second_moment}
    for name, value in given.items():
        if value < 0:
            raise SpecError(f"{name}: {value:g} is not accepted: 0 or more")
    return as_whole("honest", honest, "a whole number, 1 or more", least=1)


def median_bias_bound(deviation: float, workers: int, noise_scale: float) -> float:
    """Bound `|E median(u_i + b xi_i) - mean(u_i)|` for Gaussian noise of scale b.

    It is what Theorem 3 of Chen et al. 2020 (https://arxiv.org/abs/1906.01736) is about, with a
    constant, and of a higher order: with `r = n s^2 / b^2` the bound is
    `s int_0^1 sqrt(exp(t^2 r) - 1 - t^2 r) dt`, which is near `n s^3 / (3 sqrt(2) b^2)` where b is
    large, and never above `s sqrt(n - 1)`.

    Args:
        deviation: s, the standard deviation of the fixed u_i over workers (divided by n).
        workers: n.
        noise_scale: b.

    Raises:
        SpecError: a value that is out of range.

    """
    deviation = as_float("deviation", deviation, "a finite number, 0 or more", least=0.0)
    workers = as_whole("workers", workers, "a whole number, 1 or more", least=1)
    noise_scale = as_float("noise_scale", noise_scale, "a finite number, 0 or more", least=0.0)
    most = deviation * math.sqrt(workers - 1)
    if not noise_scale or not deviation:
        return most
    quotient = deviation / noise_scale
    ratio = workers * quotient * quotient  # infinite rather than an error
    # the integrand rises, so that its values at the right ends bound the integral
    pieces = (_beyond_linear(ratio * (piece / _PIECES) ** 2) for piece in range(1, _PIECES + 1))
    return min(most, deviation * math.fsum(map(math.sqrt, pieces)) / _PIECES)


def _beyond_linear(x: float) -> float:
    """Return `exp(x) - 1 - x`, from above."""
    if x > 700:  # beyond floats
        return math.inf
    # of small x the difference has lost its digits: its terms add up to less than this
    return x**2 / 2 * math.exp(x / 2) if x < 1e-3 else math.expm1(x) - x
