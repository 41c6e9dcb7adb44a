"""Gaussian differential privacy by the central limit theorem (opacus): an estimate, no bound.

Bu, Dong, Long, Su 2020 (arXiv:1911.11607) approximate many sampled steps by one Gaussian mechanism
of parameter mu. The approximation can under-report, all the more with few steps or little noise.
opacus gives mu; its search for epsilon fails above 500, so that our exact inverse of the Gaussian
mechanism's delta takes that part.
"""

import math

from privrobust.accountants import gaussian
from privrobust.accountants.mechanism import Composition
from privrobust.accountants.protocol import Accountant


class GDP(Accountant):
    """Gaussian noise, Poisson-sampled or not."""

    name = "gdp"
    is_upper_bound = False
    is_quick = False  # opacus loads torch

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Epsilon of the one Gaussian mechanism; NaN where its mu overflows."""
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
