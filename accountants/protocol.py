"""The interface of an accountant, and what every accountant shares."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism, composition
from privrobust.accountants.release import Release
from privrobust.accountants.sequence import Releases, as_sequence
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
        public and fixed in advance; units take part as its `sampling` says; one adds at most
        `contribution` in the norm of the bound; noise is of the law, and drawn anew for each step
        and worker, as `privrobust.noise` does. With `Release.repeats` it covers the choice among
        so many releases too. Not covered: other settings that were chosen by looking at private
        data, batches drawn otherwise than stated, and what a computation tells by its time.

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
    knows_selections: ClassVar[bool] = False
    """Whether it has `divergences`, which the best of a random number of releases is charged by."""
    samplings: ClassVar[frozenset[str]] = frozenset({"poisson"})
    """Which rounds it composes, of `Mechanism.sampling`; of any it has to have a proof."""

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

    def supports(self, release: Release) -> bool:
        """Tell whether `epsilon` takes such a release, or refuses it."""
        try:
            self._supported(release)
        except SpecError:
            return False
        return True

    @abstractmethod
    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the epsilon of a private, supported composition; NaN where it has no value."""

    def compose_delta(self, steps: Composition, epsilon: float) -> float:
        """Return delta of the same; as inherited, `compose_epsilon` bisected to 0.1 % from above.

        Where a step of the search has no value it is taken for too much; NaN where all have none.
        """
        return _bisected(lambda delta: self.compose_epsilon(steps, delta), epsilon)

    def divergences(self, steps: Composition) -> tuple[Any, Any]:
        """Return orders above 1 and Rényi divergences of them, both `(orders,)`.

        They are upper bounds, in nats, whichever of the neighbours is the true one.
        """
        raise NotImplementedError

    def epsilon(self, releases: Releases, delta: float) -> float:
        """Return the epsilon spent at that delta; infinite where nothing is private.

        Raises:
            SpecError: delta is not between 0 and 1, the releases cannot be composed or are not
                supported; `NoValue` where the computation failed.

        """
        several, delta = as_sequence(releases), check_delta(delta)
        steps = self._supported(several)
        if steps is None:
            return math.inf
        return self._guarded(self._epsilon_of(several, steps), steps, delta, "delta")

    def delta(self, releases: Releases, epsilon: float) -> float:
        """Return the delta at which that epsilon is spent; 1 where nothing is private.

        Raises:
            SpecError: epsilon is not a finite number from 0 up, or as `epsilon` raises.

        """
        several, epsilon = as_sequence(releases), check_epsilon(epsilon)
        steps = self._supported(several)
        if steps is None:
            return 1.0

        def compute(epsilon: float) -> float:
            if several[0].selection is None:
                return self.compose_delta(steps, epsilon)
            return _bisected(self._epsilon_of(several, steps), epsilon)

        return min(1.0, self._guarded(compute, steps, epsilon, "epsilon"))

    def _epsilon_of(
        self, releases: tuple[Release, ...], steps: Composition
    ) -> Callable[[float], float]:
        """Return what tells epsilon by delta: of all releases, or of the best that there was."""

        def spent(delta: float) -> float:
            return self.compose_epsilon(steps, delta)

        selection = releases[0].selection
        if selection is None:
            return spent
        return lambda delta: selection.epsilon(*self.divergences(steps), spent, delta)

    def _supported(self, releases: Releases) -> Composition | None:
        """Return the composition, or None where some release is not private at all."""
        several = as_sequence(releases)
        if any(release.not_private_reason for release in several):
            return None
        for release in several:
            if reason := self.unsupported(release):
                raise SpecError(f"accountant: {self.name} does not support {reason}")
            if release.selection and not self.knows_selections:
                able = "no accountant" if release.noise == "laplace" else "rdp"
                raise SpecError(
                    f"accountant: {self.name} does not support a random number of repeats of "
                    f"{release.noise} noise ({able} can do it)"
                )
        steps = composition(several, knows_signs=self.knows_signs)
        for step, _ in steps:
            if step.sampling != "poisson" and not (
                step.sampling in self.samplings and step.noise == "gaussian"
            ):
                raise SpecError(
                    f"accountant: {self.name} does not support sampling {step.sampling!r} of "
                    f"{step.noise} noise{_who(step)}"
                )
        return steps

    def _guarded(
        self, compute: Callable[[float], float], steps: Composition, value: float, given: str
    ) -> float:
        """Return what `compute` does, from 0 up, without its warnings and with one clear error."""
        cause: Exception | None = None
        result = math.nan
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                result = float(compute(value))
            except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
                cause = error
        if math.isnan(result):
            settings = ", ".join(f"{count} steps of {step}" for step, count in steps[:3])
            raise NoValue(
                f"accountant: {self.name} has no value for {settings} at {given} = {value:g} "
                "(outside its numerical range)"
            ) from cause
        return max(0.0, result)


def _bisected(spent: Callable[[float], float], epsilon: float) -> float:
    """Return the delta of an epsilon, to 0.1 % from above; NaN where no delta tried has a value."""
    low, high, found = math.log(LEAST_DELTA), 0.0, False
    while high - low > 1e-3:
        middle = (low + high) / 2
        value = spent(math.exp(middle))
        found = found or not math.isnan(value)
        low, high = (low, middle) if value <= epsilon else (middle, high)
    return math.exp(high) if found else math.nan


def check_epsilon(epsilon: Any) -> float:
    """Return an epsilon as a float, or refuse what is no finite number from 0 up."""
    return as_float("epsilon", epsilon, "a finite number, 0 or more", least=0.0)


def check_delta(delta: Any) -> float:
    """Return a delta as a float, or refuse what is no probability between 0 and 1."""
    return as_float("delta", delta, "between 0 and 1, both excluded", above=0.0, below=1.0)


_ABLE = {
    ("poisson", "laplace"): "pld and basic",
    ("poisson", "logistic"): "rdp",
    ("fixed", "gaussian"): "pld and rdp",
    ("balls_in_bins", "gaussian"): "rdp",
}
"""Who knows steps that are so sampled, with noise of that law, where not all do."""


def _who(step: Mechanism) -> str:
    """Return in words who can do what an accountant cannot."""
    able = _ABLE.get((step.sampling, step.noise))
    return f" ({able} can do it)" if able else " (no accountant can do it)"


def another_law(release: Release) -> str:
    """Return that the release's law is not the accountant's, and which accountants know it."""
    step = Mechanism.of(release)
    drawn = "" if step.sampling == "poisson" else f", sampled {step.sampling!r}"
    return f"{release.noise} noise{drawn}{_who(step)}"


def no_sampled_replacement(release: Release) -> str | None:
    """Return why amplification by Poisson sampling does not cover replacing a unit, or None."""
    step = Mechanism.of(release)
    if step.replace and step.sampling == "poisson":
        return (
            f"adjacency 'replace-one' with Poisson sampling of {release.noise} noise "
            "(only add-or-remove and zero-out, or pld with gaussian noise)"
        )
    return None
