"""Trade-off functions: how well the two kinds of error of any attack can do together.

A mechanism is f-differentially private if no test of "in" against "out" with false positive rate x
has a false negative rate below f(x), in either direction (Dong, Roth, Su 2019, arXiv:1905.02383).
All f here are symmetric, f(f(x)) = x: a claim of (epsilon, delta) at every delta covers adding and
removing alike.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from privrobust.accountants import Release, spend
from privrobust.audit.lower_bound import gaussian_epsilon
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError, shown

_NORMAL = NormalDist()
_DELTAS = tuple(float(each) for each in np.geomspace(1e-6, 0.8, 32))
"""Where a claim's curve is looked at. Between them the claim is taken for less than it is, which
costs an audit a few thousandths of epsilon and nothing of its confidence."""


class TradeOff(ABC):
    """A symmetric trade-off function f."""

    @abstractmethod
    def least_false_positives(self, true_positives: float) -> float:
        """Return f(1 - x): the least false positive rate at a true positive rate x in [0, 1]."""

    @abstractmethod
    def epsilon(self, delta: float) -> float:
        """Return the epsilon that it allows at that delta."""


@dataclass(frozen=True)
class Gaussian(TradeOff):
    """Tell N(0, 1) from N(mu, 1): mu-Gaussian differential privacy.

    Attributes:
        mu: for Gaussian noise, 1 / noise multiplier.

    """

    mu: float

    def __post_init__(self) -> None:
        """Check mu.

        Raises:
            SpecError: it is no finite number above 0.

        """
        mu = as_float("mu", self.mu, "a finite number above 0", above=0)
        object.__setattr__(self, "mu", mu)

    def least_false_positives(self, true_positives: float) -> float:
        """Return Phi(Phi^-1(x) - mu)."""
        if not 0 < true_positives < 1:
            return true_positives
        # math's erfc keeps its relative precision in the tail
        return math.erfc((self.mu - _NORMAL.inv_cdf(true_positives)) / math.sqrt(2)) / 2

    def epsilon(self, delta: float) -> float:
        """Return epsilon at that delta."""
        return gaussian_epsilon(self.mu, delta)


@dataclass(frozen=True)
class Claim(TradeOff):
    """Take the trade-off that (epsilon, delta) claims allow together, each of which holds.

    Attributes:
        points: pairs of epsilon and delta. More of them claim more, and are more easily rejected;
            one alone is plain (epsilon, delta)-differential privacy.

    """

    points: Sequence[tuple[float, float]]

    def __post_init__(self) -> None:
        """Check the pairs.

        Raises:
            SpecError: there is none, or one is not of an epsilon from 0 up and a delta in [0, 1].

        """
        pairs = []
        for pair in self.points:
            try:
                epsilon, delta = map(float, pair)
            except (TypeError, ValueError):
                epsilon, delta = math.nan, math.nan
            if not (epsilon >= 0 and 0 <= delta <= 1):
                raise SpecError(
                    f"points: {shown(pair)} is not a pair of an epsilon from 0 up and a delta "
                    "from 0 to 1"
                )
            pairs.append((epsilon, delta))
        if not pairs:
            raise SpecError("points: () is not at least one pair of epsilon and delta")
        object.__setattr__(self, "points", tuple(pairs))
        epsilons, deltas = np.array(pairs).T
        with np.errstate(over="ignore"):
            object.__setattr__(self, "_terms", (np.exp(epsilons), np.exp(-epsilons), deltas))

    def least_false_positives(self, true_positives: float) -> float:
        """Return the largest of what each claim demands (Dong, Roth, Su 2019, Proposition 2.5)."""
        grown, shrunk, deltas = self.__dict__["_terms"]
        if true_positives >= 1:
            return 1 - float(deltas.min())  # where an infinite epsilon has no product
        near_all = 1 - deltas - grown * (1 - true_positives)
        return max(0.0, float(near_all.max()), float((shrunk * (true_positives - deltas)).max()))

    def epsilon(self, delta: float) -> float:
        """Return the epsilon that is claimed at that delta.

        Raises:
            SpecError: nothing is claimed at that delta. Between two points epsilon is not stated,
                and that of a lesser delta is no lower bound.

        """
        found = [epsilon for epsilon, at in self.points if at == delta]
        if not found:
            raise SpecError(f"delta: {shown(delta)} is not a delta of the claim's points")
        return min(found)


def claim(
    releases: Release | Sequence[Release], delta: float = 1e-5, accountant: str = "auto"
) -> Claim:
    """Return the trade-off that an accountant's whole curve claims, sampled compositions too.

    Args:
        releases: what a run hands out, as accountants take it.
        delta: one at which the curve is looked at besides others.
        accountant: whose curve it is.

    Raises:
        SpecError: delta is not between 0 and 1, the accountant is unknown or does not support
            the releases.

    >>> claimed = claim(Release(noise_scale=2.0, clip_norm=1.0, unit="worker", steps=1))
    >>> [round(each.least_false_positives(0.5), 3) for each in (claimed, Gaussian(0.5))]
    [0.308, 0.309]
    """
    deltas = sorted({*_DELTAS, delta})
    return Claim([(spend(releases, each, accountant).epsilon, each) for each in deltas])
