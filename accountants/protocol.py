"""The interface of an accountant, and what every accountant shares."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from privrobust.accountants.mechanism import Composition, composition
from privrobust.accountants.release import Release, Releases, as_sequence
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError


class NoValue(SpecError):
    """A supported release that is outside an accountant's numerical range."""


LEAST_DELTA = 1e-18
"""The least delta that `Accountant.delta` looks for: a smaller one is reported as this."""


class Accountant(ABC):
    """Turns releases and a delta into an epsilon, and back.

    A subclass gives `name`, says whether its value `is_upper_bound`, and implements
    `compose_epsilon`. The rest is alike for all: validation, releases without privacy, unsupported
    ones, and the libraries' warnings and exceptions.

    Formal guarantee:
        Of one that `is_upper_bound`: whoever sees all messages of the releases learns of one unit
        no more than (epsilon, delta)-differential privacy allows, for the neighbours that
        `Release.adjacency` names, whatever the other units are, and also where a step's gradients
        depend on the messages before it. It assumes what a `Release` states: its numbers are
        public and fixed in advance; a unit joins each step independently with probability q; it
        adds at most `contribution` in the norm of the bound; noise is of the law, and drawn anew
        for each step and worker, as `privrobust.noise` does. Not covered: settings that were
        chosen by looking at private data, batches that are shuffled or of fixed size, and what
        a computation tells by its time.

    >>> class Unsampled(Accountant):
    ...     "Gaussian steps without sampling, by zero-concentrated differential privacy."
    ...     name = "unsampled"
    ...     def compose_epsilon(self, steps, delta):
    ...         rho = sum(count / (2 * step.noise_multiplier**2) for step, count in steps)
    ...         return rho + 2 * math.sqrt(rho * math.log(1 / delta))
    >>> r = Release(noise_scale=20.0, clip_norm=1.0, unit="worker", steps=1000)
    >>> round(Unsampled().epsilon(r, delta=1e-5), 3)
    8.837
    """

    name: ClassVar[str]
    is_upper_bound: ClassVar[bool] = True
    is_quick: ClassVar[bool] = True
    """Whether `privrobust budget` asks it unasked: it loads and computes within a moment."""
    knows_signs: ClassVar[bool] = False
    """Whether it charges a sign for less than the vector that it is of, which covers it."""

    @property
    def label(self) -> str:
        """The name as it is to be printed: one that can under-report says so."""
        return self.name if self.is_upper_bound else f"{self.name} (estimate)"

    def unsupported(self, release: Release) -> str | None:
        """Return why this accountant cannot do that release, or None.

        As inherited: Gaussian noise only, and no replacement of a sampled unit.
        """
        if release.noise != "gaussian":
            return another_law(release)
        return no_sampled_replacement(release)

    @abstractmethod
    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the epsilon of a private, supported composition; NaN where it has no value."""

    def compose_delta(self, steps: Composition, epsilon: float) -> float:
        """Return delta of the same; as inherited, `compose_epsilon` bisected to 0.1 % from above.

        Where a step of the search has no value it is taken for too much; NaN where all have none.
        """
        low, high, found = math.log(LEAST_DELTA), 0.0, False
        while high - low > 1e-3:
            middle = (low + high) / 2
            spent = self.compose_epsilon(steps, math.exp(middle))
            found = found or not math.isnan(spent)
            low, high = (low, middle) if spent <= epsilon else (middle, high)
        return math.exp(high) if found else math.nan

    def epsilon(self, releases: Releases, delta: float) -> float:
        """Return the epsilon spent at that delta; infinite where nothing is private.

        Raises:
            SpecError: delta is not between 0 and 1, the releases cannot be composed or are not
                supported; `NoValue` where the computation failed.

        """
        delta = check_delta(delta)
        steps = self._supported(releases)
        return math.inf if steps is None else self._guarded(self.compose_epsilon, steps, delta)

    def delta(self, releases: Releases, epsilon: float) -> float:
        """Return the delta at which that epsilon is spent; 1 where nothing is private.

        Raises:
            SpecError: epsilon is not a finite number from 0 up, or as `epsilon` raises.

        """
        epsilon = check_epsilon(epsilon)
        steps = self._supported(releases)
        if steps is None:
            return 1.0
        return min(1.0, self._guarded(self.compose_delta, steps, epsilon))

    def _supported(self, releases: Releases) -> Composition | None:
        """Return the composition, or None where some release is not private at all."""
        several = as_sequence(releases)
        if any(release.not_private_reason for release in several):
            return None
        for release in several:
            if reason := self.unsupported(release):
                raise SpecError(f"accountant: {self.name} does not support {reason}")
        return composition(several, knows_signs=self.knows_signs)

    def _guarded(
        self, compute: Callable[[Composition, float], float], steps: Composition, value: float
    ) -> float:
        """Return what `compute` does, from 0 up, without its warnings and with one clear error."""
        cause: Exception | None = None
        result = math.nan
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                result = float(compute(steps, value))
            except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
                cause = error
        if math.isnan(result):
            given = "epsilon" if compute == self.compose_delta else "delta"
            settings = ", ".join(f"{count} steps of {step}" for step, count in steps[:3])
            raise NoValue(
                f"accountant: {self.name} has no value for {settings} at {given} = {value:g} "
                "(outside its numerical range)"
            ) from cause
        return max(0.0, result)


def check_epsilon(epsilon: Any) -> float:
    """Return an epsilon as a float, or refuse what is no finite number from 0 up."""
    return as_float("epsilon", epsilon, "a finite number, 0 or more", least=0.0)


def check_delta(delta: Any) -> float:
    """Return a delta as a float, or refuse what is no probability between 0 and 1."""
    return as_float("delta", delta, "between 0 and 1, both excluded", above=0.0, below=1.0)


def another_law(release: Release) -> str:
    """Return that the release's law is not the accountant's, and which accountants know it."""
    able = {"laplace": " (pld and basic can do it)", "logistic": " (rdp can do it)"}
    return f"{release.noise} noise{able.get(release.noise, '')}"


def no_sampled_replacement(release: Release) -> str | None:
    """Return why amplification by sampling does not cover replacing a unit, or None."""
    if release.adjacency == "replace-one" and release.sampling_rate < 1:
        return (
            f"adjacency 'replace-one' with Poisson sampling of {release.noise} noise "
            "(only add-or-remove and zero-out, or pld with gaussian noise)"
        )
    return None
