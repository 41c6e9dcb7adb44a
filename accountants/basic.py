"""Basic composition with amplification by sampling: an upper bound, the loosest."""

import math

from privrobust.accountants import gaussian
from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant, another_law, no_sampled_replacement
from privrobust.accountants.release import Release


class Basic(Accountant):
    """Add up what the steps spend: Gaussian and Laplace noise, Poisson-sampled or not.

    Every step is made (epsilon_0, delta_0)-private on its own (Laplace: 1 / scale and 0; Gaussian:
    the exact curve), amplified to (log(1 + q (e^epsilon_0 - 1)), q delta_0), and the steps add up.

    Formal guarantee:
        **Upper bound**, of releases as `Accountant` says; exact for one step. Neighbours: zero-out
        and add-or-remove, and replace-one without sampling. Every value is rounded towards more
        spent privacy, so it holds of the double that is returned.

    References:
        Balle, Wang 2018, Theorem 8 (https://arxiv.org/abs/1805.06530) for one Gaussian step;
        Balle, Barthe, Gaboardi 2018, Theorem 8 (https://arxiv.org/abs/1807.01647) for sampling;
        Dwork, Roth 2014, Theorem 3.16 (https://doi.org/10.1561/0400000042) for composition.

    """

    name = "basic"

    def unsupported(self, release: Release) -> str | None:
        """Refuse logistic noise, and the replacement of a sampled unit."""
        if release.noise not in ("gaussian", "laplace"):
            return another_law(release)
        return no_sampled_replacement(release)

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the sum over steps, each at an equal share of delta."""
        share = delta / sum(count for _, count in steps)
        total = math.fsum(count * _amplified(step, share) for step, count in steps)
        return total * (1 + 1e-15)  # the products are rounded


def _amplified(step: Mechanism, delta: float) -> float:
    """Return the epsilon of one step at that delta."""
    if step.noise == "laplace":
        return gaussian.amplified((1 + 1e-15) / step.noise_multiplier, step.sampling_rate)
    if step.noise == "gaussian":
        return gaussian.sampled_epsilon(step.noise_multiplier, step.sampling_rate, delta)
    raise AssertionError(f"no curve of {step.noise} noise")
