"""A release reduced to what accounting needs: a noise law, sigma, q and the number of rounds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from privrobust.accountants.release import ACCOUNTED_LAWS, AccountedLaw, Message, Release
from privrobust.errors import SpecError


@dataclass(frozen=True)
class Mechanism:
    """One round of sampled noise: a step or, of balls in bins, an epoch.

    Attributes:
        noise: the law, one that accountants know.
        noise_multiplier: sigma, the noise scale over the contribution of one unit.
        sampling_rate: q, in (0, 1]; of balls in bins 1 / k, for k bins.
        replace: neighbours replace a unit, where that differs from add-or-remove: without
            sampling, replacing is adding with a doubled contribution, which sigma then includes.
        message: what is sent of it, to those accountants that know what a sign hides.
        sampling: how a unit comes to take part: "poisson" also where it always does.

    Raises:
        SpecError: it is of another law.

    """

    noise: AccountedLaw
    noise_multiplier: float
    sampling_rate: float
    replace: bool
    message: Message = "vector"
    sampling: Literal["poisson", "fixed", "balls_in_bins"] = "poisson"

    def __post_init__(self) -> None:
        if self.noise not in ACCOUNTED_LAWS:  # formulas of the known laws say nothing of it
            raise SpecError(f"noise: no accountant knows {self.noise}")

    @classmethod
    def of(cls, release: Release, *, knows_signs: bool = False) -> "Mechanism":
        """Return one round of that release; the vector's, which covers its sign, unless told.

        Zero-out has the distributions of add-or-remove: a zero adds to a sum what an absent unit
        does, and q and the divisor are the same for both neighbours under either. A shuffled epoch
        is one step without sampling, as its order may be known (docs/sampling.md).
        """
        noise = cast(AccountedLaw, release.noise)  # or the constructor refuses it
        q = 1.0 if release.sampling == "shuffled" else float(release.sampling_rate)
        replace = release.adjacency == "replace-one"
        sigma = release.noise_multiplier / (2 if replace and q == 1 else 1)
        message = release.message if knows_signs else "vector"
        if q < 1 and release.sampling in ("fixed", "balls_in_bins"):
            # without a proof for signs in such batches they are charged as vectors
            return cls(noise, sigma, q, replace, "vector", release.sampling)
        return cls(noise, sigma, q, replace and q < 1, message)

    def __str__(self) -> str:
        kind = "" if self.sampling == "poisson" else f" ({self.sampling})"
        return f"sigma = {self.noise_multiplier:.4g}, q = {self.sampling_rate:.4g}{kind}"


Composition = tuple[tuple[Mechanism, int], ...]
"""Mechanisms and how many rounds each: hashable, equal rounds merged."""


def composition(releases: Iterable[Release], *, knows_signs: bool = False) -> Composition:
    """Compose releases: only how many rounds of each kind there are matters, not their order."""
    steps: Counter[Mechanism] = Counter()
    for release in releases:
        steps[Mechanism.of(release, knows_signs=knows_signs)] += release.rounds * release.runs
    return tuple(sorted(steps.items(), key=lambda item: repr(item[0])))
