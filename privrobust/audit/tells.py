"""What may tell in the messages of a mechanism of which nothing is known, learned on some trials.

A trial is the calls that count, between two on data without the canary, which show noise alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from privrobust.audit.trials import Floats, Truths

_HUGE = 1e140
"""What is larger counts as this: sums of squares stay finite."""
_FLOOR = 1e-12
"""Of a number's size: what varies less does not vary."""


@dataclass(frozen=True)
class Seen:
    """What trials showed.

    Attributes:
        rows: `(trials, calls + 2, numbers)`, finite; the first and last of each at rest.
        broken: `(trials,)`, how many numbers of the calls that count were not finite.
        included: `(trials,)`, whether the canary was in.

    """

    rows: Floats
    broken: Floats
    included: Truths

    @property
    def calls(self) -> Floats:
        """Return messages of the calls that count."""
        return self.rows[:, 1:-1]

    @classmethod
    def of(cls, rows: Floats, included: Truths) -> Seen:
        """Take numbers that are not finite for zeros, and count them."""
        finite = np.isfinite(rows)
        broken = (~finite[:, 1:-1]).sum((1, 2)).astype(float)
        return cls(np.clip(np.where(finite, rows, 0.0), -_HUGE, _HUGE), broken, included)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.included)

    def __getitem__(self, at: Any) -> Seen:
        """Return some of them."""
        return Seen(self.rows[at], self.broken[at], self.included[at])


Tell = Callable[[Seen], Floats]
"""A number for each trial, higher for "in", never NaN."""


def tells(known: Seen) -> Iterator[tuple[str, Tell]]:
    """Yield what may tell, by name, learned on trials that are known to be in or out."""
    if known.broken.any():
        yield "numbers that are not finite", lambda seen: seen.broken
    parts: list[tuple[str, Callable[[Seen], Floats]]] = [
        ("the message", _message),
        ("the message against the one before", partial(_against, 0)),
        ("the message against the one after", partial(_against, -1)),
        ("the message with the one before", partial(_with, 0)),
        ("all calls", _all_calls),
    ]
    parts += [(f"the size of each number of {name}", partial(_sizes, of)) for name, of in parts]
    for name, of in parts:
        features = of(known)
        yield f"linear: {name}", _linear(of, features, known.included, ridge=None)
        if features.shape[1] < len(known) / 2:
            yield f"linear, noise removed: {name}", _linear(of, features, known.included, 1e-9)
        else:
            yield f"linear, noise removed: {name}", _linear(of, features, known.included, 0.1)
    for name, total in (("size", _norm), ("largest number", _largest), ("of repeats", _repeats)):
        for sign, word in ((1.0, "more"), (-1.0, "less")):
            yield f"{name}: {word}", partial(_signed, sign, total)
    yield "nearest message", _nearest(known)


def _signed(sign: float, total: Tell, seen: Seen) -> Floats:
    return sign * total(seen)


def _message(seen: Seen) -> Floats:
    """Sum calls with the signs that the canary's contribution has in them."""
    signs = 1.0 - 2.0 * (np.arange(seen.calls.shape[1]) % 2)
    message: Floats = np.einsum("ntm,t->nm", seen.calls, signs)
    return message


def _against(rest: int, seen: Seen) -> Floats:
    """Take a message at rest away from the call next to it: noise that they share is gone."""
    against: Floats = seen.calls[:, rest] - seen.rows[:, rest]
    return against


def _with(rest: int, seen: Seen) -> Floats:
    """Add a message at rest to the call next to it: noise that is negated is gone."""
    added: Floats = seen.calls[:, rest] + seen.rows[:, rest]
    return added


def _all_calls(seen: Seen) -> Floats:
    return seen.rows.reshape(len(seen), -1)


def _sizes(of: Callable[[Seen], Floats], seen: Seen) -> Floats:
    """Return logarithms: of a number that depends on data through its size alone."""
    sizes: Floats = np.log(np.abs(of(seen)) + 1e-30)
    return sizes


def _norm(seen: Seen) -> Floats:
    norm: Floats = np.log(np.square(seen.calls[:, :, :-2]).sum((1, 2)) + 1e-300)
    return norm


def _largest(seen: Seen) -> Floats:
    largest: Floats = np.abs(seen.calls[:, :, :-2]).max((1, 2))
    return largest


def _repeats(seen: Seen) -> Floats:
    """Count numbers that are those of the message before, turned around or not."""
    sizes = np.abs(seen.rows)
    repeats: Floats = (sizes[:, 1:] == sizes[:, :-1]).sum((1, 2)).astype(float)
    return repeats


def _spread(features: Floats, included: Truths) -> tuple[Floats, Floats, Floats]:
    """Return how far "in" lies above "out", what is left around both, and its deviation."""
    inside, outside = features[included], features[~included]
    apart = inside.mean(0) - outside.mean(0)
    left = np.concatenate([inside - inside.mean(0), outside - outside.mean(0)])
    size = np.abs(features).max(0)
    return apart, left, np.maximum(left.std(0), _FLOOR * size + np.finfo(float).tiny)


def _linear(
    of: Callable[[Seen], Floats], features: Floats, included: Truths, ridge: float | None
) -> Tell:
    """Learn Fisher's discriminant, with each number alone, or with how they vary together."""
    center = features.mean(0)
    apart, left, deviation = _spread(features - center, included)
    weights = apart / deviation
    if ridge is not None:
        left = left / deviation
        _, values, vectors = np.linalg.svd(left, full_matrices=False)
        variances = np.square(values) / len(left)
        # (R + ridge)^-1 apart, R of rank at most the trials'
        known = vectors @ weights
        weights = (weights - vectors.T @ known) / (ridge + _FLOOR) * (len(left) < len(center))
        weights = weights + vectors.T @ (known / (variances + ridge))

    def score(seen: Seen) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            found = ((of(seen) - center) / deviation) @ weights
        clipped: Floats = np.clip(np.nan_to_num(found), -_HUGE, _HUGE)
        return clipped

    return score


def _nearest(known: Seen) -> Tell:
    """Learn messages: one that is much like one with the canary has it, as where noise repeats."""
    calls = known.calls.reshape(len(known), -1)
    center = calls.mean(0)
    deviation = np.maximum(calls.std(0), _FLOOR * np.abs(calls).max(0) + np.finfo(float).tiny)
    of_known = np.clip((calls - center) / deviation, -1e6, 1e6)

    def score(seen: Seen) -> Floats:
        rows = (seen.calls.reshape(len(seen), -1) - center) / deviation
        rows = np.clip(rows, -1e6, 1e6)
        squares = np.square(rows).sum(1)[:, None] + np.square(of_known).sum(1)
        distances = squares - 2 * rows @ of_known.T
        floor = 1e-12 * squares + 1e-12
        near = np.log(np.maximum(distances, floor))
        found: Floats = near[:, ~known.included].min(1) - near[:, known.included].min(1)
        return found

    return score
