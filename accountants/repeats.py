"""What tuning spends: the best of several runs is published, and how many there were is public law.

Trying a list of candidates and publishing the best one tells more than one run does. How much more
depends on how many runs there were: `Release.repeats` names the law of that number, K.

A number that is fixed costs what all runs together do, `constant`. **A random number costs less**
(repeat and select): draw K, train K times, each time with a candidate drawn uniformly from the list
and with randomness of its own, publish the run of the highest score, and nothing of the others.
That is a promise against outsiders: a server, and workers who are sent its models, see all runs,
and what these tell together is what a constant number costs.

With f(x) = E[x^K], Q the output of a run that is ordered by its score (ties by lot, or, which is
the same, by which was first), and q, q' the probabilities of one event under neighbours,

    E[(A/A')^lambda] <= E[(Q/Q')^lambda] max over (q, q') of f'(q)^lambda f'(q')^(1-lambda),

where lambda > 1 and the expectations are over A' and Q'. Which events there are is limited by what
a run spends; that gives the classes below.

References: Liu, Talwar 2019 (arXiv:1811.07971); Papernot, Steinke 2022 (arXiv:2110.03620), whose
Lemma 7 the inequality is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privrobust.accountants.renyi import conversion, log_delta
from privrobust.core.parameters import Configured, parameter, parse, settings, written
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import unknown_name

if TYPE_CHECKING:
    from dp_accounting import DpEvent

MOST = 500
"""Runs that may be expected: the first probability of a Poisson law is no underflow."""


@dataclass(frozen=True)
class Repeats(Configured, ABC):
    """The law of K, the number of runs of which the best is published."""

    @abstractmethod
    def at(self, quantile: float) -> int:
        """Return the least k with P(K <= k) above a quantile in [0, 1): K, if that is uniform."""

    @abstractmethod
    def dp_event(self, run: "DpEvent") -> "DpEvent":
        """Return what is seen in the words of dp-accounting, given what one run is."""

    @property
    def runs(self) -> int:
        """How many runs are seen."""
        return 1


@dataclass(frozen=True)
class Constant(Repeats):
    """Always so many runs, all of whose messages may be seen: they compose.

    Args:
        count: how many.

    """

    count: int = parameter(1, least=1, most=MOST)

    def at(self, quantile: float) -> int:
        """Return `count`."""
        return self.count

    def dp_event(self, run: "DpEvent") -> "DpEvent":
        """Compose the runs."""
        from dp_accounting.dp_event import SelfComposedDpEvent

        return SelfComposedDpEvent(run, self.count)

    @property
    def runs(self) -> int:
        """`count`."""
        return self.count


@dataclass(frozen=True)
class Selection(Repeats):
    """A random number of runs, of which the best alone is seen.

    Formal guarantee:
        **Upper bound**, against whoever sees the published run alone, if candidates are drawn
        uniformly from a list that is fixed in advance, cost the same, are trained with randomness
        of their own, and are scored by what they send and by data that is not protected.
    """

    @abstractmethod
    def epsilon(
        self, orders: Any, divergences: Any, spent: Callable[[float], float], delta: float
    ) -> float:
        """Return epsilon of what is published.

        Args:
            orders: above 1, `(orders,)`.
            divergences: of one run, in nats, upper bounds for both directions.
            spent: epsilon of one run by its delta, by Rényi divergences of any order.
            delta: of the guarantee.

        """


@dataclass(frozen=True)
class NegativeBinomial(Selection):
    """A negative binomial number, truncated to 1 or more: shape 1 is geometric, 0 logarithmic.

    P(K = k) is proportional to (1 - gamma)^k Gamma(k + shape) / k!. By Theorem 2 of the paper, at
    every order lambda, with divergences eps(.) of one run and any order s >= 1,

        eps'(lambda) = eps(lambda) + log(E[K]) / (lambda - 1)
                       + (1 + shape) ((1 - 1/s) eps(s) + log(1/gamma) / s).

    The last term does not depend on lambda, and the one before makes a run's delta smaller by E[K].

    Args:
        mean: E[K].
        shape: eta; the smaller, the less it costs and the more K varies.

    """

    paper: ClassVar[str] = "Papernot, Steinke 2022, Theorem 2"

    mean: float = parameter(10.0, above=1, most=MOST)
    shape: float = parameter(1.0, least=0, most=100)

    @cached_property
    def log_gamma(self) -> float:
        """The logarithm of gamma, by bisection: E[K] falls as it rises."""
        low, high = -2 * math.log(self.mean) - 100.0, 0.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean_at(middle) > self.mean else (low, middle)
        return low

    def _mean_at(self, log_gamma: float) -> float:
        if log_gamma == 0:
            return 1.0
        odds = math.expm1(-log_gamma)  # (1 - gamma) / gamma
        if self._eta == 0:
            return odds / -log_gamma
        return self._eta * odds / -math.expm1(self._eta * log_gamma)

    @property
    def _eta(self) -> float:
        """The shape, one that is nothing in double precision as 0, of which it then is the law."""
        return self.shape if self.shape > 1e-15 else 0.0

    def at(self, quantile: float) -> int:
        """Return the number at a quantile, by adding up probabilities."""
        eta, rest = self._eta, -math.expm1(self.log_gamma)
        weight = eta / math.expm1(-eta * self.log_gamma) if eta else -1 / self.log_gamma
        return _at(quantile, 1, rest * weight, lambda k: rest * (k + eta) / (k + 1))

    def dp_event(self, run: "DpEvent") -> "DpEvent":
        """Select among runs."""
        from dp_accounting.dp_event import RepeatAndSelectDpEvent

        return RepeatAndSelectDpEvent(run, self.mean, self.shape)

    def epsilon(
        self, orders: Any, divergences: Any, spent: Callable[[float], float], delta: float
    ) -> float:
        """Return that of Theorem 2 at the best orders; s = 1 needs no divergence."""
        surprise = -self.log_gamma * (1 + 1e-12)
        of_order = (1 - 1 / orders) * divergences + surprise / orders
        return spent(delta / self.mean) + (1 + self.shape) * min(surprise, float(of_order.min()))


@dataclass(frozen=True)
class Poisson(Selection):
    """A Poisson number, which may be 0: then nothing is published.

    By Theorem 6 of the paper, where one run is (log(1 + 1/(lambda-1)), d)-private,
    E[(A/A')^lambda] over published runs is at most mean exp((lambda-1) (eps(lambda) + mean d)).
    Here it is over P(K > 0) = 1 - e^-mean: a run that is published is one of a number that was not
    0, of which the generating function is that of K over P(K > 0), but for a constant. So nothing
    is gained by not publishing, and what is said of the run holds whether or not it might have been
    kept back; where nothing may be published, the moment is a mean of this one and of 1, and less.

    Args:
        mean: E[K].

    """

    paper: ClassVar[str] = "Papernot, Steinke 2022, Theorem 6"

    mean: float = parameter(10.0, above=0, most=MOST)

    def at(self, quantile: float) -> int:
        """Return the number at a quantile, by adding up probabilities."""
        return _at(quantile, 0, math.exp(-self.mean), lambda k: self.mean / (k + 1))

    def dp_event(self, run: "DpEvent") -> "DpEvent":
        """Select among runs."""
        from dp_accounting.dp_event import RepeatAndSelectDpEvent

        return RepeatAndSelectDpEvent(run, self.mean, math.inf)

    def epsilon(
        self, orders: Any, divergences: Any, spent: Callable[[float], float], delta: float
    ) -> float:
        """Return the least over the orders, d being what their divergences make of a run."""
        least = np.log1p(1 / (orders - 1))[:, None]
        loss = np.exp(np.minimum(0.0, log_delta(orders, divergences, least).min(axis=1)))
        moment = math.log(self.mean) + (orders - 1) * (divergences + self.mean * loss)
        selected = (moment - math.log(-math.expm1(-self.mean))) / (orders - 1)
        return float((selected + conversion(orders, delta)).min())


def _at(quantile: float, k: int, mass: float, ratio: Callable[[int], float]) -> int:
    """Return the number at a quantile, of the first one, its probability, and how these go on."""
    below, before = mass, 0.0
    while quantile >= below > before:  # rounding may leave their sum below 1
        mass *= ratio(k)
        below, before = below + mass, below
        k += 1
    return k


REPEATS: Registry[type[Repeats]] = Registry(
    "repeats",
    {"constant": Constant, "negative_binomial": NegativeBinomial, "poisson": Poisson},
    Own((), "a law that `privrobust list repeats` shows"),
)
"""A user's own is none: it would need a theorem of its own."""


def list_repeats() -> list[Entry]:
    """Describe every law, as `privrobust list repeats` shows them."""
    return REPEATS.entries()


def get_repeats(text: str) -> Repeats:
    """Make the law that a spec names: `poisson(mean=10)`.

    Raises:
        SpecError: no such law or parameter, or a value that it does not accept.

    """
    name, given = parse("repeats", text)
    if name not in REPEATS.built_in:
        raise unknown_name("repeats", name, REPEATS.built_in)
    made: Repeats = REPEATS.make(name, given)
    return made


def canonical_repeats(text: str | None) -> str | None:
    """Write the same law in one way, with its mean; None stays, for one run."""
    if text is None:
        return None
    made = get_repeats(text)
    name, _ = parse("repeats", text)
    return written(name, settings(made, kept={"mean", "count"}))
