"""What releases spend, by a named accountant or by the tightest one that has a value."""

from dataclasses import dataclass

from privrobust.accountants.protocol import Accountant, check_delta, check_epsilon
from privrobust.accountants.registry import get_accountant
from privrobust.accountants.release import Release
from privrobust.accountants.sequence import Releases, as_sequence
from privrobust.core.numbers import own
from privrobust.errors import SpecError

AUTO = ("pld", "basic")
"""What "auto" asks: the least of these upper bounds."""
AUTO_OF_SIGNS = ("sign",)
"""What it asks besides, where some messages are signs."""
AUTO_FALLBACK = ("rdp", "moments")
"""What it asks besides, where one of `AUTO` has no value."""


@dataclass(frozen=True)
class Spent:
    """An (epsilon, delta) guarantee and who computed it.

    Attributes:
        epsilon: infinite where nothing is private.
        delta: the probability that the guarantee leaves out.
        accountant: the name of the accountant that "auto" settled on, or the one asked for.
        is_upper_bound: False for an estimate, which may under-report.
        reason: why epsilon is infinite, or None.

    """

    epsilon: float
    delta: float
    accountant: str
    is_upper_bound: bool
    reason: str | None = None


def spend(releases: Releases, delta: float = 1e-5, accountant: str = "auto") -> Spent:
    """Return what the releases spend together at that delta.

    Raises:
        SpecError: delta is not between 0 and 1, the accountant is unknown or does not support
            the releases.

    >>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
    >>> spent = spend(r, delta=1e-5)
    >>> round(spent.epsilon, 3), spent.accountant, spent.is_upper_bound
    (9.306, 'pld', True)
    """
    several, delta = as_sequence(releases), check_delta(delta)
    chosen, value = _least(several, "epsilon", delta, accountant)
    reasons = [release.not_private_reason for release in several if release.not_private_reason]
    return Spent(value, delta, chosen.name, chosen.is_upper_bound, reasons[0] if reasons else None)


def epsilon(releases: Releases, delta: float = 1e-5, accountant: str = "auto") -> float:
    """Return the epsilon that the releases spend together at that delta, for their `adjacency`.

    Raises as `spend` does.
    """
    return spend(releases, delta, accountant).epsilon


def delta(releases: Releases, epsilon: float, accountant: str = "auto") -> float:
    """Return the delta at which the releases spend that epsilon.

    Raises:
        SpecError: epsilon is no finite number from 0 up, the accountant is unknown or does not
            support the releases.

    """
    return _least(as_sequence(releases), "delta", check_epsilon(epsilon), accountant)[1]


def _least(
    releases: tuple[Release, ...], measure: str, given: float, accountant: str
) -> tuple[Accountant, float]:
    """Return the accountant asked for and its value; for "auto", that with the least value."""
    accountant = own("accountant", accountant)
    if not isinstance(accountant, str) or accountant != "auto":
        chosen = get_accountant(accountant)
        return chosen, getattr(chosen, measure)(releases, given)
    found, failures = _ask(AUTO, releases, measure, given)
    if any(release.message == "sign" for release in releases):
        found += _ask(AUTO_OF_SIGNS, releases, measure, given)[0]
    if failures:
        found += _ask(AUTO_FALLBACK, releases, measure, given)[0]
    if not found:
        raise failures[0]
    return min(found, key=lambda candidate: candidate[1])


def _ask(
    names: tuple[str, ...], releases: tuple[Release, ...], measure: str, given: float
) -> tuple[list[tuple[Accountant, float]], list[SpecError]]:
    """Return accountants with their values, and the errors of those that have none."""
    found: list[tuple[Accountant, float]] = []
    failures: list[SpecError] = []
    for name in names:
        candidate = get_accountant(name)
        try:
            found.append((candidate, getattr(candidate, measure)(releases, given)))
        except SpecError as error:
            failures.append(error)
    return found, failures
