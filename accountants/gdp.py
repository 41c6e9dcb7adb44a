"""Gaussian differential privacy by the central limit theorem (opacus): an estimate, no bound."""

import math

from privrobust.accountants import gaussian
from privrobust.accountants.mechanism import Composition
from privrobust.accountants.protocol import Accountant


class GDP(Accountant):
    """Take many sampled Gaussian steps for one Gaussian mechanism, of parameter mu.

    opacus gives mu; its search for epsilon fails above 500, so that our exact inverse of the
    Gaussian mechanism's delta takes that part.

    Formal guarantee:
        **None: an estimate.** By a central limit theorem it is right as the number of steps grows
        with q sqrt(steps) fixed; before that it can under-report, all the more with few steps or
        little noise. Nothing is added for that, nor for rounding. Neighbours: zero-out and
        add-or-remove, and replace-one without sampling.

    References:
        Bu, Dong, Long, Su 2020 (https://arxiv.org/abs/1911.11607).

    """

    name = "gdp"
    is_upper_bound = False
    is_quick = False  # opacus loads torch

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the epsilon of the one Gaussian mechanism; NaN where its mu overflows."""
        from opacus.accountants.analysis.gdp import compute_mu_poisson

        mus = [
            compute_mu_poisson(
                steps=count, noise_multiplier=step.noise_multiplier, sample_rate=step.sampling_rate
            )
            for step, count in steps
        ]
        mu = math.hypot(*mus)
        if mu == 0:
            return 0.0
        return gaussian.epsilon(1 / mu, delta) if math.isfinite(mu) else math.nan
