"""Privacy random variables (opacus): the upper end of a numerical interval around the exact value.

Gopi, Lee, Wutschitz 2021 (arXiv:2106.02848) round the privacy loss to a mesh and bound the error in
epsilon (0.01 here, more only where the mesh would not fit) and in delta (a thousandth of it). The
value includes both. It does not include the rounding of the FFT, which adds up over steps and is no
longer small against a small delta: there is no value there.
"""

import math

from privrobust.accountants.mechanism import Composition
from privrobust.accountants.protocol import Accountant
from privrobust.accountants.rdp import RDP

EPSILON_ERROR = 0.01
LARGEST_EPSILON_ERROR = 0.5
MOST_POINTS = 1 << 21
LARGEST_LOSS = 700.0
"""Beyond it e^loss leaves double precision."""
ROUNDING, ROUNDING_OF_STEP = 1e-11, 1e-13
"""Deltas that rounding may matter for: a hundred times what was seen to be missing."""


class PRV(Accountant):
    """Gaussian noise, Poisson-sampled or not."""

    name = "prv"
    is_quick = False  # opacus loads torch

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Exact epsilon plus the error of the mesh; NaN where no mesh will do or delta is small."""
        error = _epsilon_error(steps, delta)
        if math.isnan(error):
            return math.nan
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = [
            (step.noise_multiplier, step.sampling_rate, count) for step, count in steps
        ]
        return float(accountant.get_epsilon(delta, eps_error=error))


def _epsilon_error(steps: Composition, delta: float) -> float:
    """The error in epsilon of a mesh of at most `MOST_POINTS`; NaN where none will do."""
    delta_error = delta / 1000
    if delta < ROUNDING + ROUNDING_OF_STEP * sum(count for _, count in steps):
        return math.nan
    largest_loss = RDP().compose_epsilon(steps, delta_error / 4) + 3
    count = sum(count for _, count in steps)
    mesh_per_error = 1 / math.sqrt(count * math.log(12 / delta_error) / 2)
    error = max(EPSILON_ERROR, 2 * largest_loss / (MOST_POINTS * mesh_per_error))
    usable = largest_loss < LARGEST_LOSS and error <= LARGEST_EPSILON_ERROR
    return error if usable else math.nan
