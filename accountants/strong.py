"""Strong composition with amplification, as Abadi et al. 2016 compare against: an estimate."""

import math

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant


class Strong(Accountant):
    """Reproduce what Abadi et al. compare against, for Gaussian noise, Poisson-sampled or not.

    Their text gives 9.34 for q = 0.01, sigma = 4, T = 10,000, delta = 1e-5. What reproduces it:
    half of delta is split over the steps, epsilon_0 = sqrt(2 log(1.25 / delta_0)) / sigma,
    amplified to q epsilon_0, and composed to epsilon' sqrt(2 T log(1 / delta'')) + T epsilon'^2.

    Formal guarantee:
        **None: an estimate**, kept as a historical baseline. The theorem for one step holds for
        epsilon_0 < 1 only, and q epsilon_0 and T epsilon'^2 are first-order simplifications, which
        under-report where they are not small. Rounding is not counted. Neighbours: zero-out and
        add-or-remove, and replace-one without sampling.

    References:
        Abadi et al. 2016 (https://arxiv.org/abs/1607.00133); Dwork, Roth 2014, Theorem A.1
        (https://doi.org/10.1561/0400000042); Dwork, Rothblum, Vadhan 2010
        (https://doi.org/10.1109/FOCS.2010.12).

    """

    name = "strong"
    is_upper_bound = False

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return epsilon, of which half of delta pays for the steps and half for composing them."""
        share = delta / 2 / sum(count for _, count in steps)
        squares = math.fsum(count * _amplified(step, share) ** 2 for step, count in steps)
        return math.sqrt(2 * math.log(2 / delta) * squares) + squares


def _amplified(step: Mechanism, delta: float) -> float:
    q = step.sampling_rate
    return q * math.sqrt(2 * math.log(1.25 * q / delta)) / step.noise_multiplier
