"""A release reduced to what accounting needs: a noise law, sigma, q and the number of steps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from privrobust.accountants.release import ACCOUNTED_LAWS, AccountedLaw, Message, Release
from privrobust.errors import SpecError


@dataclass(frozen=True)
class Mechanism:
    """One step of Poisson-subsampled noise.

    Attributes:
        noise: the law, one that accountants know.
        noise_multiplier: sigma, the noise scale over the contribution of one unit.
        sampling_rate: q, in (0, 1].
        replace: neighbours replace a unit, where that differs from add-or-remove: without
            sampling, replacing is adding with a doubled contribution, which sigma then includes.
        message: what is sent of it, to those accountants that know what a sign hides.

    Raises:
        SpecError: it is of another law.

    """

    noise: AccountedLaw
    noise_multiplier: float
    sampling_rate: float
    replace: bool
    message: Message = "vector"

    def __post_init__(self) -> None:
        if self.noise not in ACCOUNTED_LAWS:  # formulas of the known laws say nothing of it
            raise SpecError(f"noise: no accountant knows {self.noise}")

    @classmethod
    def of(cls, release: Release, *, knows_signs: bool = False) -> "Mechanism":
        """Return one step of that release; the vector's, which covers its sign, unless told.

        Zero-out has the distributions of add-or-remove: a zero adds to a sum what an absent unit
        does, and q and the divisor are the same for both neighbours under either.
        """
        noise = cast(AccountedLaw, release.noise)  # or the constructor refuses it
        sampled = release.sampling_rate < 1
        replace = release.adjacency == "replace-one"
        sigma = release.noise_multiplier / (2 if replace and not sampled else 1)
        message = release.message if knows_signs else "vector"
        return cls(noise, sigma, float(release.sampling_rate), replace and sampled, message)

    def __str__(self) -> str:
        return f"sigma = {self.noise_multiplier:.4g}, q = {self.sampling_rate:.4g}"


Composition = tuple[tuple[Mechanism, int], ...]
"""Mechanisms and how many steps each: hashable, equal steps merged."""


def composition(releases: Iterable[Release], *, knows_signs: bool = False) -> Composition:
    """Compose releases: only how many steps of each kind there are matters, not their order."""
    steps: Counter[Mechanism] = Counter()
    for release in releases:
        steps[Mechanism.of(release, knows_signs=knows_signs)] += release.steps * release.runs
    return tuple(sorted(steps.items(), key=lambda item: repr(item[0])))
