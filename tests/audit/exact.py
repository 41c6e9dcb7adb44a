"""Mechanisms whose law is known, and a paper's formula written out, without the package."""

import math

from scipy.stats import binom, norm


def right_of_randomised_response(epsilon, delta=0.0):
    """The chance that an answer is true: revealed with probability delta, else by the coin."""
    return delta + (1 - delta) / (1 + math.exp(-epsilon))


def right_of_gaussian(mu):
    """The chance that the likelier of N(0, 1) and N(mu, 1) is the true one."""
    return norm.cdf(mu / 2)


def tail(v, r, q):
    """P[Binomial(r, q) >= v]."""
    return binom.sf(v - 1, r, q)


def p_value_of_appendix_d(m, r, v, epsilon, delta):
    """Theorem 5.2 of Steinke, Nasr, Jagielski 2023 as a sum over outcomes."""
    q = 1 / (1 + math.exp(-epsilon))
    beta, between, alpha = tail(v, r, q), 0.0, 0.0
    for i in range(1, v + 1):
        between += binom.pmf(v - i, r, q)
        alpha = max(alpha, between / i)
    return min(1.0, beta + 2 * m * delta * alpha)
