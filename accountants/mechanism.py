"""A release reduced to what accounting needs: a noise law, sigma, q and the number of steps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from privrobust.accountants.release import Noise, Release


@dataclass(frozen=True)
class Mechanism:
    """One step of Poisson-subsampled noise.

    Attributes:
        noise: the law.
        noise_multiplier: sigma, the noise scale over the contribution of one unit.
        sampling_rate: q, in (0, 1].
        replace: neighbours replace a unit, where that differs from add-or-remove: without
            sampling, replacing is adding with a doubled contribution, which sigma then includes.

    """

    noise: Noise
    noise_multiplier: float
    sampling_rate: float
    replace: bool

    @classmethod
    def of(cls, release: Release) -> "Mechanism":
        """One step of that release.

        Zero-out has the distributions of add-or-remove: a zero adds to a sum what an absent unit
        does, and q and the divisor are the same for both neighbours under either.
        """
        sampled = release.sampling_rate < 1
        replace = release.adjacency == "replace-one"
        sigma = release.noise_multiplier / (2 if replace and not sampled else 1)
        return cls(release.noise, sigma, float(release.sampling_rate), replace and sampled)

    def __str__(self) -> str:
        return f"sigma = {self.noise_multiplier:.4g}, q = {self.sampling_rate:.4g}"


Composition = tuple[tuple[Mechanism, int], ...]
"""Mechanisms and how many steps each: hashable, equal steps merged."""


def composition(releases: Iterable[Release]) -> Composition:
    """The releases as one composition; only how many steps of each kind there are matters."""
    steps: Counter[Mechanism] = Counter()
    for release in releases:
        steps[Mechanism.of(release)] += release.steps
    return tuple(sorted(steps.items(), key=lambda item: repr(item[0])))
