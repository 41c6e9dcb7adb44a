"""Basic composition with amplification by sampling: an upper bound, the loosest.

Every step is made (epsilon_0, delta_0)-private on its own (Laplace: 1 / scale and 0; Gaussian: the
exact curve of Balle, Wang 2018), amplified to (log(1 + q (e^epsilon_0 - 1)), q delta_0) (Balle,
Barthe, Gaboardi 2018, Theorem 8), and the steps add up (Dwork, Roth 2014, Theorem 3.16).
"""

import math

from privrobust.accountants import gaussian
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
        total = math.fsum(count * _amplified(step, share) for step, count in steps)
        return total * (1 + 1e-15)  # the products are rounded


def _amplified(step: Mechanism, delta: float) -> float:
    """Epsilon of one step at that delta."""
    if step.noise == "laplace":
        return gaussian.amplified((1 + 1e-15) / step.noise_multiplier, step.sampling_rate)
    return gaussian.sampled_epsilon(step.noise_multiplier, step.sampling_rate, delta)
