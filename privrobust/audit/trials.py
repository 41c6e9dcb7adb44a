"""What an observer saw of canaries that were in, and of others that were out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]
Law = Literal["gaussian", "laplace", "logistic", "sign"]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Many canaries, each in or out by a fair coin, and what was seen where it would show.

    Attributes:
        values: `(trials, steps, parts)`: how far what was seen went along the canary. It acts on
            one part; others (the messages of other workers) only know of the noise.
        parts: `(trials,)`: which it acts on.
        amplitudes: `(trials, steps)`: how far it is to move that part where it takes part.
        included: `(trials,)`: whether it was in.
        rates: `(trials,)`: q, how likely one that is in takes part in a step.
        opposed: whether one that is out takes part the other way (replace-one).
        noise_scale: b that is claimed of that part, or 0 where nothing is known of its law.
        law: the law of that noise, or "sign" where the sign of a Gaussian sum was seen.
        broken: `(trials,)`: how many numbers were not finite; they are 0 in `values`.
        per_run: how many of them shared a run.
        beside: `(trials, steps, numbers)`: others that were found to tell of the noise in the part
            that it acts on, see `beside`.
        echoes: `(trials, 2)`: in how many steps that part was seen elsewhere, as it is and with
            the canary taken away, see `echoes`.

    """

    values: Floats
    parts: npt.NDArray[np.int64]
    amplitudes: Floats
    included: Truths
    rates: Floats
    opposed: bool = False
    noise_scale: float = 0.0
    law: Law = "gaussian"
    broken: Floats
    per_run: int = 1
    beside: Floats
    echoes: Floats

    @classmethod
    def of(
        cls,
        values: Floats,
        *,
        beside: Floats | None = None,
        echoes: Floats | None = None,
        **others: Any,
    ) -> Trials:
        """Make trials of values that may not be finite; arguments as its attributes."""
        is_finite = np.isfinite(values)
        return cls(
            values=np.where(is_finite, values, 0.0),
            broken=(~is_finite).sum((1, 2)).astype(float),
            beside=np.empty((*values.shape[:2], 0)) if beside is None else _finite(beside),
            echoes=np.zeros((len(values), 2)) if echoes is None else echoes,
            **others,
        )

    @classmethod
    def joined(cls, parts: Sequence[Trials]) -> Trials:
        """Join trials that differ in nothing else."""

        def all_of(name: str) -> npt.NDArray[Any]:
            return np.concatenate([getattr(each, name) for each in parts])

        return replace(
            parts[0],
            values=all_of("values"),
            parts=all_of("parts"),
            amplitudes=all_of("amplitudes"),
            included=all_of("included"),
            rates=all_of("rates"),
            broken=all_of("broken"),
            beside=all_of("beside"),
            echoes=all_of("echoes"),
        )

    @property
    def own(self) -> Floats:
        """Return the values of the parts that canaries act on, `(trials, steps)`."""
        return self.of_parts(self.values)

    def of_parts(self, numbers: Floats) -> Floats:
        """Pick from `(trials, steps, parts)` the parts that canaries act on."""
        picked: Floats = np.take_along_axis(numbers, self.parts[:, None, None], axis=2)[:, :, 0]
        return picked

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.included)

    def __getitem__(self, at: Any) -> Trials:
        """Return some of them."""
        return replace(
            self,
            values=self.values[at],
            parts=self.parts[at],
            amplitudes=self.amplitudes[at],
            included=self.included[at],
            rates=self.rates[at],
            broken=self.broken[at],
            beside=self.beside[at],
            echoes=self.echoes[at],
        )

    def parted(self, rng: np.random.Generator, *shares: float) -> list[Trials]:
        """Deal them at random: these shares, and the rest."""
        order = rng.permutation(len(self))
        ends = [round(len(self) * share) for share in np.cumsum(shares)]
        return [self[part] for part in np.split(order, ends)]


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)
