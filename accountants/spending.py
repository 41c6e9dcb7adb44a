"""What releases spend, by a named accountant or by the tightest one that has a value."""

import math
from dataclasses import dataclass

from privrobust.accountants.protocol import Accountant
from privrobust.accountants.registry import get_accountant
from privrobust.accountants.release import Releases, as_sequence
from privrobust.errors import SpecError

AUTO_ORDER = ("pld", "rdp", "basic")
"""What "auto" tries, tightest first; all are upper bounds."""


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
    """What the releases spend together at that delta.

    Raises:
        SpecError: delta is not between 0 and 1, the accountant is unknown or does not support
            the releases.

    """
    chosen, value = _first(releases, "epsilon", delta, accountant)
    reasons = [r.not_private_reason for r in as_sequence(releases) if r.not_private_reason]
    return Spent(value, delta, chosen.name, chosen.is_upper_bound, reasons[0] if reasons else None)


def epsilon(releases: Releases, delta: float = 1e-5, accountant: str = "auto") -> float:
    """The epsilon that the releases spend together at that delta; raises as `spend` does."""
    return spend(releases, delta, accountant).epsilon


def delta(releases: Releases, epsilon: float, accountant: str = "auto") -> float:
    """The delta at which the releases spend that epsilon.

    Raises:
        SpecError: epsilon is no finite number from 0 up, the accountant is unknown or does not
            support the releases.

    """
    return _first(releases, "delta", epsilon, accountant)[1]


def _first(
    releases: Releases, measure: str, given: float, accountant: str
) -> tuple[Accountant, float]:
    """The first accountant with a finite value, and the value."""
    names = AUTO_ORDER if accountant == "auto" else (accountant,)
    failures: list[SpecError] = []
    last: tuple[Accountant, float] | None = None
    for name in names:
        candidate = get_accountant(name)
        try:
            last = candidate, getattr(candidate, measure)(releases, given)
        except SpecError as error:
            failures.append(error)
            continue
        if math.isfinite(last[1]):
            return last
    if last is None:
        raise failures[0]
    return last
