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
from privrobust.accountants.sequence import Releases, as_sequence
from privrobust.accountants.spending import spend
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError

CLOSENESS = 0.999
"""A setting that spends this fraction of the target, or more, is close enough."""
MOST_STEPS = 10_000_000


def noise_scale(
    releases: Releases, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> float:
    """Return the b that spends the target: at most epsilon, and within 0.1 % of it.

    Args:
        releases: the rest of the setting; their own `noise_scale` is ignored. Several get one b in
            common, with which they spend the target together.
        epsilon: the target, above 0.
        delta: the probability that the guarantee leaves out, in (0, 1).
        accountant: a name, or "auto".

    Raises:
        SpecError: no b meets the target, or the accountant does not support the releases.

    >>> r = Release(noise_scale=0, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
    >>> round(noise_scale(r, epsilon=8.0), 3)
    0.113
    """
    several = as_sequence(releases)
    for release in several:
        if reason := replace(release, noise_scale=1.0).not_private_reason:
            raise SpecError(f"noise_scale: no b meets a target with {reason}")
    largest = max(release.contribution for release in several)

    def spent(b: float) -> float:
        return _spent([replace(each, noise_scale=b) for each in several], delta, accountant)

    return _search(lambda sigma: sigma * largest, spent, epsilon, "noise_scale", accountant)


def max_clip_norm(
    releases: Releases, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> float:
    """Return the largest C that b allows: it spends at most epsilon, and within 0.1 % of it.

    The releases' own `clip_norm` or `grad_norm_bound` is ignored, and several get one C in common;
    the rest as in `noise_scale`.
    """
    several = as_sequence(releases)
    clipped = [replace(each, clip_norm=1.0, grad_norm_bound=None) for each in several]
    for release in clipped:
        if release.not_private_reason:
            raise SpecError(f"clip_norm: no C meets a target with {release.not_private_reason}")
    least = min(release.noise_multiplier for release in clipped)

    def spent(c: float) -> float:
        return _spent([replace(each, clip_norm=c) for each in clipped], delta, accountant)

    return _search(lambda sigma: least / sigma, spent, epsilon, "clip_norm", accountant)


def max_steps(
    releases: Releases, epsilon: float, delta: float = 1e-5, accountant: str = "auto"
) -> int:
    """Return the largest T that stays within epsilon; the release's own `steps` is ignored.

    Of several releases it is that of the last, after all of the earlier ones: how long training can
    go on with its present settings.

    Raises:
        SpecError: the first step exceeds the target, `MOST_STEPS` do not reach it, or as `spend`
            raises.

    """
    epsilon = check_target(epsilon)
    *earlier, last = as_sequence(releases)
    for release in (*earlier, last):
        if release.not_private_reason:
            raise SpecError(f"steps: no T meets a target with {release.not_private_reason}")

    def spent(steps: int) -> float:
        return _spent([*earlier, replace(last, steps=steps)], delta, accountant)

    low, least = 1, spend([*earlier, replace(last, steps=1)], delta, accountant).epsilon
    if least > epsilon:
        one = "one step after the earlier ones" if earlier else "one step alone"
        raise SpecError(f"steps: {one} spends {least:.4g}, above epsilon = {epsilon:g}")
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
    """Return where between two numbers of steps a power law reaches the target; at neither end.

    Near an end it goes past the expected place, so that the bracket closes from both sides.
    """
    position = 0.5
    if 0 < least < most < math.inf:
        position = math.log(target / least) / math.log(most / least)
    expected: float = low * (high / low) ** min(max(position, 0.05), 0.95)
    return min(max(round(expected), low + 1), high - 1)


def _spent(releases: list[Release], delta: float, accountant: str) -> float:
    """Return epsilon, infinite where there is no value: the search goes on elsewhere."""
    try:
        return spend(releases, delta, accountant).epsilon
    except NoValue:
        return math.inf


def _search(
    setting: Callable[[float], float],
    spent: Callable[[float], float],
    target: float,
    field: str,
    accountant: str,
) -> float:
    """Find a setting that spends at most the target and close to it.

    Args:
        setting: b or C, of the least sigma of the releases; less is spent with more sigma.
        spent: by the setting itself, so that what is returned has been found within the target to
            the last bit.
        target: the epsilon.
        field: what is looked for, for errors.
        accountant: its name, for errors.

    """
    target = check_target(target)
    good = 1.0
    while (least := spent(setting(good))) > target:
        if good > 2.0**40:
            raise SpecError(
                f"{field}: epsilon = {target:g} is out of reach of {accountant}, "
                f"which reports {least:.4g} or more at any noise"
            )
        good *= 2
    bad = good / 2
    while (most := spent(setting(bad))) <= target:
        good, least, bad = bad, most, bad / 2
    aim = math.sqrt(CLOSENESS) * target
    for tries in range(60):
        if CLOSENESS * target <= least:
            break
        position = 0.5
        if tries % 3 < 2 and 0 < least < most < math.inf:  # else halves, lest one end stay
            position = min(max(math.log(most / aim) / math.log(most / least), 0.01), 0.99)
        middle = bad * (good / bad) ** position
        value = spent(setting(middle))
        if value <= target:
            good, least = middle, value
        else:
            bad, most = middle, value
    return setting(good)


def check_target(epsilon: Any) -> float:
    """Return a target as a float, or refuse one that nothing can be calibrated to."""
    try:
        return as_float("epsilon", epsilon, "a finite number above 0", above=0.0)
    except SpecError as error:
        raise SpecError(f"epsilon: the target {str(error).removeprefix('epsilon: ')}") from None
