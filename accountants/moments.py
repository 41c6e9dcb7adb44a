"""The moments accountant as published: Abadi et al. 2016 (arXiv:1607.00133), an upper bound.

Theorem 2: the log moments alpha(lambda) of the steps add up, and epsilon is the least
(alpha(lambda) + log(1 / delta)) / lambda over whole lambda from 1 to 32. Of the two moments of
that paper the one with the mixture on top is the larger (Mironov, Talwar, Zhang 2019), and it has
a closed form for whole lambda.
"""

import math
from typing import Any

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant

MOST_MOMENTS = 32


class Moments(Accountant):
    """Gaussian noise, Poisson-sampled or not."""

    name = "moments"

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """The least over lambda of the tail bound."""
        alpha = sum(count * _log_moments(step) for step, count in steps)
        return float(np.min((alpha - math.log(delta)) / np.arange(1, MOST_MOMENTS + 1)))


def _log_moments(step: Mechanism) -> Any:
    """alpha(lambda) for lambda = 1..32: a binomial expansion of order lambda + 1."""
    from scipy.special import gammaln, logsumexp, xlog1py, xlogy

    power = np.arange(2, MOST_MOMENTS + 2)[:, None]
    k = np.arange(MOST_MOMENTS + 2)
    rest = np.maximum(power - k, 0)
    q = step.sampling_rate
    terms = (
        gammaln(power + 1)
        - gammaln(k + 1)
        - gammaln(rest + 1)
        + xlogy(k, q)
        + xlog1py(rest, -q)
        + (k * k - k) / (2 * step.noise_multiplier**2)
    )
    return logsumexp(np.where(k <= power, terms, -np.inf), axis=1)
