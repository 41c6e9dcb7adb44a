"""From a target epsilon back to b, to C, or to the number of steps, never above the target.

Each search brackets the target and bisects, and returns only a setting whose epsilon it has
computed and found within the target.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from privrobust.accountants.protocol import NoValue
from privrobust.accountants.release import Release
from privrobust.accountants.spending import spend
from privrobust.errors import SpecError
from privrobust.numeric import as_float

CLOSENESS = 0.999
"""A setting that spends this fraction of the target, or more, is close enough."""
MOST_STEPS = 10_000_000


def noise_scale(
    release: Release, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> float:
    """The b that spends the target: at most epsilon, and within 0.1 % of it.

    Args:
        release: the rest of the setting; its own `noise_scale` is ignored.
        epsilon: the target, above 0.
        delta: the probability that the guarantee leaves out, in (0, 1).
        accountant: a name, or "auto".

    Raises:
        SpecError: no b meets the target, or the accountant does not support the release.

    """
    if math.isinf(release.contribution):
        raise SpecError("noise_scale: no b meets a target with no clipping and no gradient bound")

    def spent(sigma: float) -> float:
        b = sigma * release.contribution
        return _spent(replace(release, noise_scale=b), delta, accountant)

    return _bisect(spent, epsilon, "noise_scale", accountant) * release.contribution


def max_clip_norm(
    release: Release, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> float:
    """The largest C that the release's b allows: spends at most epsilon, and within 0.1 % of it.

    The release's own `clip_norm` or `grad_norm_bound` is ignored; the rest as in `noise_scale`.
    """
    if release.noise_scale == 0:
        raise SpecError("clip_norm: no C meets a target with no noise (b = 0)")
    unit = replace(release, clip_norm=1.0, grad_norm_bound=None)

    def spent(sigma: float) -> float:
        c = unit.noise_multiplier / sigma
        return _spent(replace(unit, clip_norm=c), delta, accountant)

    return unit.noise_multiplier / _bisect(spent, epsilon, "clip_norm", accountant)


def max_steps(
    release: Release, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> int:
    """The largest T that stays within epsilon; the release's own `steps` is ignored.

    Raises:
        SpecError: the first step exceeds the target, `MOST_STEPS` do not reach it, or as `spend`
            raises.

    """
    check_target(epsilon)
    if release.not_private_reason:
        raise SpecError(f"steps: no T meets a target with {release.not_private_reason}")

    def spent(steps: int) -> float:
        return _spent(replace(release, steps=steps), delta, accountant)

    low, least = 1, spend(replace(release, steps=1), delta, accountant).epsilon
    if least > epsilon:
        raise SpecError(f"steps: one step alone spends {least:.4g}, above epsilon = {epsilon:g}")
    high, most = 2, spent(2)
    while most <= epsilon:
        low, least = high, most
        if low >= MOST_STEPS:
            raise SpecError(f"steps: {low:,} steps still spend less than epsilon = {epsilon:g}")
        high = 4 * low
        most = spent(high)
    while high - low > 1:
        middle = _interpolated(low, least, high, most, epsilon)
        value = spent(middle)
        if value <= epsilon:
            low, least = middle, value
        else:
            high, most = middle, value
    return low


def _interpolated(low: int, least: float, high: int, most: float, target: float) -> int:
    """Where between two numbers of steps a power law reaches the target; never at either end.

    Near an end it goes past the expected place, so that the bracket closes from both sides.
    """
    position = 0.5
    if 0 < least < most < math.inf:
        position = math.log(target / least) / math.log(most / least)
    expected: float = low * (high / low) ** min(max(position, 0.05), 0.95)
    return min(max(round(expected), low + 1), high - 1)


def _spent(release: Release, delta: float, accountant: str) -> float:
    """Epsilon, infinite where the accountant has no value: the search goes on elsewhere."""
    try:
        return spend(release, delta, accountant).epsilon
    except NoValue:
        return math.inf


def _bisect(spent: Callable[[float], float], target: float, field: str, accountant: str) -> float:
    """The sigma that spends at most the target and close to it; less is spent with more sigma."""
    check_target(target)
    good = 1.0
    while (least := spent(good)) > target:
        if good > 2.0**40:
            raise SpecError(
                f"{field}: epsilon = {target:g} is out of reach of {accountant}, "
                f"which reports {least:.4g} or more at any noise"
            )
        good *= 2
    bad = good / 2
    while spent(bad) <= target:
        good, bad = bad, bad / 2
    for _ in range(60):
        middle = math.sqrt(good * bad)
        value = spent(middle)
        good, bad = (middle, bad) if value <= target else (good, middle)
        if CLOSENESS * target <= value <= target:
            break
    return good


def check_target(epsilon: Any) -> float:
    """Return a target as a float, or refuse one that nothing can be calibrated to."""
    try:
        return as_float("epsilon", epsilon, "a finite number above 0", above=0.0)
    except SpecError as error:
        raise SpecError(f"epsilon: the target {str(error).removeprefix('epsilon: ')}") from None
