"""Privacy random variables (opacus): the upper end of a numerical interval around epsilon."""

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
    """Round the losses of Gaussian steps, Poisson-sampled or not, to a mesh, and compose by FFT.

    Formal guarantee:
        **Upper bound** of the losses that opacus composes: the value includes the mesh's error in
        epsilon (0.01, more only where the mesh would not fit) and in delta (a thousandth of it).
        It does not include the FFT's rounding, which adds up over steps and is no longer small
        against a small delta: below 1e-11 + 1e-13 T there is no value. Neighbours: zero-out and
        add-or-remove, and replace-one without sampling. opacus composes the direction in which a
        unit is taken away. That the other spends no more is proven for one step, not for several
        (Lebeda et al. 2024); `PLD` composes both.

    References:
        Gopi, Lee, Wutschitz 2021 (https://arxiv.org/abs/2106.02848); Lebeda, Regehr, Kamath,
        Steinke 2024 (https://arxiv.org/abs/2405.20769).

    """

    name = "prv"
    is_quick = False  # opacus loads torch

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return epsilon plus the mesh's error; NaN where no mesh will do or delta is small."""
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
    """Return the error in epsilon of a mesh of `MOST_POINTS` at most; NaN where none will do."""
    delta_error = delta / 1000
    if delta < ROUNDING + ROUNDING_OF_STEP * sum(count for _, count in steps):
        return math.nan
    largest_loss = RDP().compose_epsilon(steps, delta_error / 4) + 3
    count = sum(count for _, count in steps)
    mesh_per_error = 1 / math.sqrt(count * math.log(12 / delta_error) / 2)
    error = max(EPSILON_ERROR, 2 * largest_loss / (MOST_POINTS * mesh_per_error))
    usable = largest_loss < LARGEST_LOSS and error <= LARGEST_EPSILON_ERROR
    return error if usable else math.nan
