"""Privacy loss distributions, composed by their transforms: numerically tight, an upper bound.

The loss of T steps is a sum of T losses, so its moments M(s) = E[e^(s L)] multiply, and for any
theta > 0

    delta(epsilon) = 1/(2 pi) int M(s) e^(-s epsilon) / (s (s + 1)) d tau,  s = theta + i tau,

as 1 / (s (s + 1)) is the transform of the hockey-stick (1 - e^(epsilon - L))^+. Nothing is put on a
grid. What is computed is above delta(epsilon), for these reasons:

- **The trapezoid rule errs upwards.** With frequencies 2 pi / W apart it gives exactly
  sum_j e^(theta j W) delta(epsilon + j W) over all whole j, whose terms are all positive.
- **The frequencies left out** are bounded: |M(theta + i tau)| falls as `tilting.Decay` proves.
- **The tails left out** of each step's loss, and runs of two or more *rare* losses, are paid for
  with their probability.
- **Rounding** is bounded by the sum of absolute terms, and added.

At theta near the saddle point M(theta) e^(-theta epsilon) is of the size of delta, however small,
so that little is lost to rounding: an FFT of probabilities in double precision ends near 1e-13.
Where sampling is rare that takes a cut. Losses that are large and rare (one of them may make up all
of delta) would swamp M(theta), so runs without a rare loss and runs with one are inverted apart,
each at a theta of its own.

Sources: Koskela, Jälkö, Honkela 2020 (arXiv:1906.03049) for the distribution, and that adding and
removing are composed apart and the larger counts; Zhu, Dong, Wang 2022 (arXiv:2106.08567) for
characteristic functions; Alghamdi, Asoodeh, Calmon, Gomez, Kosut, Sankar 2023 (arXiv:2208.09595)
for the saddle point; Abate, Whitt 1992 (Queueing Systems 10) for the trapezoid rule.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from privrobust.accountants import privacy_loss_grid as grid
from privrobust.accountants.gaussian import amplified, sampled_epsilon
from privrobust.accountants.gaussian import epsilon as gaussian_epsilon
from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.one_sided import OneSided, Tiny, unsampled_mu
from privrobust.accountants.privacy_losses import Side
from privrobust.accountants.protocol import Accountant, another_law, no_sampled_replacement
from privrobust.accountants.release import Release
from privrobust.accountants.transform_inversion import Inversion

_FEW, _MANY = 1 << 9, 1 << 17
"""Frequencies: the few find about where the many are needed."""
TOLERANCE = 1e-2
"""Share of delta, left out and paid for, beyond which another way is tried."""


class PLD(Accountant):
    """Compose privacy loss distributions by their transforms, for Gaussian and Laplace noise.

    The module's docstring has the method. Batches of fixed size are composed on a grid alone.

    Formal guarantee:
        **Upper bound**, numerically tight, of releases as `Accountant` says, at any delta. All
        neighbours, but replace-one of a sampled unit under Laplace noise: zero-out and
        add-or-remove in both directions, each composed on its own; replace-one by the pair in
        which both have a unit, at opposite ends. Batches of fixed size by the pairs of
        `fixed_batches`, Gaussian. What is left out of the integral and the
        rounding of its sum are bounded and added. Where inversions cannot be tight,
        dp-accounting's grid may have a lesser value; it errs upwards by its rounding of losses,
        and is asked only where its FFT's rounding, added too, is a thousandth of delta at most.

    References:
        Koskela, Jälkö, Honkela 2020 (https://arxiv.org/abs/1906.03049); Zhu, Dong, Wang 2022
        (https://arxiv.org/abs/2106.08567), also for adaptive composition; Alghamdi et al. 2023
        (https://arxiv.org/abs/2208.09595).

    """

    name = "pld"
    samplings = frozenset({"poisson", "fixed"})

    def unsupported(self, release: Release) -> str | None:
        """Refuse logistic noise, and the replacement of a sampled unit under Laplace noise."""
        if release.noise == "gaussian":
            return None
        is_known = release.noise == "laplace"
        return no_sampled_replacement(release) or (None if is_known else another_law(release))

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return epsilon from above; NaN where a step would take too many nodes."""
        return _epsilon(steps, delta)


@lru_cache(maxsize=4096)
def _epsilon(steps: Composition, delta: float) -> float:
    if all(step.noise == "gaussian" and step.sampling_rate == 1 for step, _ in steps):
        return gaussian_epsilon(1 / unsampled_mu(steps), delta)
    if any(step.sampling != "poisson" for step, _ in steps):
        return grid.epsilon(steps, delta) if grid.is_sound(steps, delta) else math.nan
    ((first, count), *others) = steps
    if not others and count == 1 and first.noise == "gaussian" and not first.replace:
        return sampled_epsilon(first.noise_multiplier, first.sampling_rate, delta)
    value, is_tight = 0.0, True
    for side in _sides(steps):
        largest = _largest_loss(steps, side)
        if largest > value:
            try:
                found, tight = _one_sided(steps, side, delta)
            except OverflowError:
                found, tight = math.inf, False
            found = largest if math.isnan(found) else min(found, largest)
            value, is_tight = max((value, is_tight), (found, tight))
    if not is_tight and grid.is_sound(steps, delta):
        value = min(value, grid.epsilon(steps, delta))
    return value if value < math.inf else math.nan


def _largest_loss(steps: Composition, side: Side) -> float:
    """Return what the steps spend on this side at delta = 0: often infinite."""

    def of_one(step: Mechanism) -> float:
        q, sigma = step.sampling_rate, step.noise_multiplier
        if step.noise == "laplace":
            return amplified((1 + 1e-15) / sigma, q)  # the larger side's
        # of any law: (1 - q) Q + q P is at least (1 - q) Q
        return -math.log1p(-q) if side == "added" and q < 1 else math.inf

    return math.fsum(count * of_one(step) for step, count in steps) * (1 + 1e-15)


def _sides(steps: Composition) -> tuple[Side, ...]:
    """Return the pairs that have to be looked at: the others are their mirror images."""
    if any(step.replace for step, _ in steps):
        return ("replaced",)
    if all(step.sampling_rate == 1 for step, _ in steps):
        return ("removed",)
    return ("removed", "added")


def _one_sided(steps: Composition, side: Side, delta: float) -> tuple[float, bool]:
    """Return the least epsilon that the inversions show to be enough, and whether it is tight."""
    losses = OneSided(steps, side, delta)
    epsilon = _renyi_bound(losses, delta)
    for most in (_FEW, _MANY):  # the few show about where the many are needed
        parts = [_inversion(losses, epsilon, delta, rare, most) for rare in losses.kinds]
        epsilon = _least(parts, delta - losses.paid, epsilon)
        if math.isnan(epsilon):
            return math.inf, False
    if parts[0].excess(epsilon) > TOLERANCE * delta and (tiny := losses.tiny(epsilon, delta)):
        parts[0] = _inversion(losses, epsilon, delta, False, _MANY, tiny)
        epsilon = min(epsilon, _least(parts, delta - losses.paid, epsilon))
    return epsilon, sum(part.excess(epsilon) for part in parts) <= TOLERANCE * delta


def _inversion(
    losses: OneSided, epsilon: float, delta: float, rare: bool, most: int, tiny: Tiny | None = None
) -> Inversion:
    """Invert for that kind of runs where the transform is least: there it oscillates least."""

    def log_size(theta: float) -> float:
        if tiny:
            log_moment = losses.log_moment_of_others(theta, tiny)
        else:
            log_moment = losses.log_moment(theta, rare)
        return log_moment - theta * epsilon - math.log(theta * (theta + 1))

    return Inversion(losses, _minimum(log_size), epsilon, delta, most, rare, tiny)


def _least(parts: Sequence[Inversion], delta: float, start: float) -> float:
    """Return the least epsilon found, from 0 up, that spends no more than this delta."""

    def is_enough(epsilon: float) -> bool:
        return sum(part.delta(epsilon) for part in parts) <= delta

    if is_enough(0.0):
        return 0.0
    low, high = 0.0, max(start, 1e-9)
    while not is_enough(high):
        low, high = high, 1.25 * high
        if not high < 1e300:
            return math.nan
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _renyi_bound(losses: OneSided, delta: float) -> float:
    """Return about the epsilon of runs without a rare loss (Canonne et al. 2020, Prop. 12)."""

    def bound(theta: float) -> float:
        conversion = math.log(theta) - math.log1p(theta)
        excess = losses.log_moment(theta) - math.log(delta) - math.log1p(theta)
        return max(0.0, excess / theta + conversion)

    return bound(_minimum(bound))


def _minimum(function: Callable[[float], float]) -> float:
    """Return where a function of one dip is least over theta > 0, to 2 %."""
    theta, value, ratio = 1.0, function(1.0), 4.0
    while ratio > 1.02:
        for step in (ratio, 1 / ratio):
            while 1e-9 < theta * step < 1e9 and (there := function(theta * step)) < value:
                theta, value = theta * step, there
        ratio = math.sqrt(ratio)
    return theta
