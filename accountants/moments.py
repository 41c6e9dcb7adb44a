"""The moments accountant as published by Abadi et al. 2016: an upper bound."""

import math
from typing import Any

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant

MOST_MOMENTS = 32
"""As published."""


class Moments(Accountant):
    """Add up log moments of Gaussian steps, Poisson-sampled or not, of whole orders up to 32.

    Epsilon is the least (alpha(lambda) + log(1 / delta)) / lambda over whole lambda. Of the two
    moments of the paper the one with the mixture on top is the larger, and it has a closed form
    for whole lambda.

    Formal guarantee:
        **Upper bound**, of releases as `Accountant` says. Neighbours: zero-out and add-or-remove,
        and replace-one without sampling. Rounding is not counted: it is below 1e-12 a step, and
        this conversion exceeds the tight one of `RDP` by 0.14 at least (at lambda = 32).

    References:
        Abadi et al. 2016, Theorem 2 (https://arxiv.org/abs/1607.00133); Mironov, Talwar, Zhang
        2019 (https://arxiv.org/abs/1908.10530) for which moment is the larger.

    """

    name = "moments"

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the least over lambda of the tail bound."""
        alpha = sum(count * _log_moments(step) for step, count in steps)
        return float(np.min((alpha - math.log(delta)) / np.arange(1, MOST_MOMENTS + 1)))


def _log_moments(step: Mechanism) -> Any:
    """Return alpha(lambda), lambda = 1..32, `(32,)`: binomial expansions of order lambda + 1."""
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
