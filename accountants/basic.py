"""Basic composition with amplification by sampling: an upper bound, the loosest.

Every step is made (epsilon_0, delta_0)-private on its own (Laplace: 1 / scale and 0; Gaussian: the
exact curve of Balle, Wang 2018), amplified to (log(1 + q (e^epsilon_0 - 1)), q delta_0) (Balle,
Barthe, Gaboardi 2018, Theorem 8), and the steps add up (Dwork, Roth 2014, Theorem 3.16).
"""

import math

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant, no_sampled_replacement
from privrobust.accountants.release import Release


class Basic(Accountant):
    """Gaussian and Laplace noise, Poisson-sampled or not."""

    name = "basic"

    def unsupported(self, release: Release) -> str | None:
        """Only the replacement of a sampled unit."""
        return no_sampled_replacement(release)

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """The sum over steps, each at an equal share of delta."""
        share = delta / sum(count for _, count in steps)
        return math.fsum(count * _amplified(step, share) for step, count in steps)


def _amplified(step: Mechanism, delta: float) -> float:
    """Epsilon of one step at that delta: log(1 - q + q e^epsilon_0), without overflow."""
    q = step.sampling_rate
    return float(np.logaddexp(np.log1p(-q), np.log(q) + _unsampled(step, delta / q)))


def _unsampled(step: Mechanism, delta: float) -> float:
    if step.noise == "laplace":
        return 1 / step.noise_multiplier
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(step.noise_multiplier, delta)) if delta < 1 else 0.0
