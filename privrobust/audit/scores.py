"""Attacks that tell from what was seen whether a canary was in: numbers, higher for "in".

One knows the law that is claimed, and is the best there is where it holds (Neyman, Pearson 1933).
The others are learned on trials that no bound is computed from. They look for what a fault would
leave: noise that workers or steps share cancels in differences, noise that depends on the data
changes its size, a number that is not finite gives its reason away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import log_ndtr

from privrobust.audit.trials import Floats, Trials

Score = Callable[[Trials], Floats]
"""A number for each trial, never NaN."""

_ROUNDING = 1e-12
"""Of the mean square of what is seen: less is no variance."""
_ROUNDING_OF_RUNS = 1e-9
"""The same, of noise that came through float32."""
_TOLD_BY = 64
"""Numbers of a run by which one is told from another."""


def attacks(known: Trials) -> Iterator[tuple[str, Score]]:
    """Yield attacks by name, learned on trials that are known to be in or out."""
    for name, score in _attacks(known):
        yield name, partial(_finite, score)


def _finite(score: Score, trials: Trials) -> Floats:
    with np.errstate(all="ignore"):
        found: Floats = np.nan_to_num(score(trials))
    return found


def _attacks(known: Trials) -> Iterator[tuple[str, Score]]:
    if known.noise_scale:
        yield "likelihood ratio", _likelihood
    _, steps, parts = known.values.shape
    spans = {"what the canary moves": _apart}
    if parts > 1:
        spans["differences between workers"] = _of_workers
    if steps > 1:
        among = "workers and steps" if parts > 1 else "steps"
        spans[f"differences between {among}"] = _of_workers_and_steps
    if parts > 1 and steps > 1 and steps * parts < len(known) / 5:
        spans["differences between any messages"] = _of_all
    for name, precision in spans.items():
        whitened = _Whitened(known, precision)
        yield f"linear: {name}", whitened.linear
        if (known.rates < 1).any():
            yield f"mixture: {name}", whitened.mixture
    if known.beside.shape[2]:
        spans = {"what tells of its noise": _of_workers}
        if steps > 1 and steps * (1 + known.beside.shape[2]) < len(known) / 5:
            spans["what tells of its noise in any step"] = _of_all
        for name, precision in spans.items():
            whitened = _Whitened(_with_beside(known), precision)
            yield f"linear: {name}", partial(_of_view, whitened.linear)
            if (known.rates < 1).any():
                yield f"mixture: {name}", partial(_of_view, whitened.mixture)
    if known.echoes.any():
        yield "echoes of the noise", lambda trials: trials.echoes[:, 1] - trials.echoes[:, 0]
        yield "echoes without the canary", lambda trials: trials.echoes[:, 1]
        yield "echoes as it is", lambda trials: -trials.echoes[:, 0]
    runs = _OtherRuns(known)
    if runs.has_repeats:
        yield "noise of other runs", runs.nearest
    for name, sign in (("more", 1.0), ("less", -1.0)):
        yield f"size: {name}", partial(_size, sign)
    yield "farthest step", _farthest
    if known.broken.any():
        yield "numbers that are not finite", lambda trials: trials.broken


def _with_beside(trials: Trials) -> Trials:
    """Return trials of one part, beside which stands what tells of its noise."""
    values = np.concatenate([trials.own[:, :, None], trials.beside], axis=2)
    return replace(trials, values=values, parts=np.zeros_like(trials.parts))


def _of_view(score: Score, trials: Trials) -> Floats:
    return score(_with_beside(trials))


def _size(sign: float, trials: Trials) -> Floats:
    size: Floats = np.einsum("nij,nij->n", trials.values, trials.values)
    return sign * size


def _farthest(trials: Trials) -> Floats:
    """Return how far one step went at most: noise that ends somewhere does not reach beyond."""
    half = np.abs(trials.amplitudes) / 2
    farthest: Floats = (trials.own * np.sign(trials.amplitudes) - half).max(1)
    return farthest


def _log_mixed(rates: Floats, log_ratio: Floats) -> Floats:
    """Return log(1 - q + q e^x), of x `(trials, steps)`."""
    q = rates[:, None]
    with np.errstate(divide="ignore"):  # of q = 1: e^-inf is 0
        mixed: Floats = np.logaddexp(np.log1p(-q), np.log(q) + log_ratio)
    return mixed


def _likelihood(trials: Trials) -> Floats:
    """Return the logarithm of how much likelier what was seen is with the canary, summed."""
    seen, moved, b = trials.own, trials.amplitudes, trials.noise_scale

    def log_ratio(moved: Floats) -> Floats:
        if trials.law == "laplace":
            ratio: Floats = (np.abs(seen) - np.abs(seen - moved)) / b
        elif trials.law == "logistic":
            # its density is proportional to cosh(x / 2)^-2, x in units of b
            near, far = (np.logaddexp(x, -x) for x in (seen / b / 2, (seen - moved) / b / 2))
            ratio = 2 * (near - far)
        elif trials.law == "sign":
            ratio = log_ndtr(np.sign(seen) * moved / b) - np.log(0.5)
        else:
            ratio = (seen * moved - moved**2 / 2) / b**2
        return _log_mixed(trials.rates, ratio)

    total: Floats = log_ratio(moved).sum(1)
    if trials.opposed:
        total = total - log_ratio(-moved).sum(1)
    return total


class _OtherRuns:
    """Noise of runs that are known: where runs draw from few seeds, it comes again."""

    def __init__(self, known: Trials) -> None:
        moved = np.where(known.included, 1.0, -1.0 if known.opposed else 0.0)
        is_known = (known.rates == 1) | (moved == 0)  # of others, who joined is not
        self._noise = _less(known, moved)[is_known]
        size = np.square(self._noise).mean() or 1.0
        some = self._noise[:, :_TOLD_BY]
        apart = _squared_distances(some, some) + size * len(some.T) * np.eye(len(some))
        self.has_repeats = bool((apart < _ROUNDING_OF_RUNS * size * len(some.T)).any())

    def nearest(self, trials: Trials) -> Floats:
        """Return how much nearer one of them is if the canary was in."""
        count = len(trials)
        out = _less(trials, np.full(count, -1.0 if trials.opposed else 0.0))
        inside = _less(trials, np.ones(count))
        floor = 1e-12 * np.square(out).sum(1).mean() + np.finfo(float).tiny
        apart = [_squared_distances(each, self._noise).min(1) + floor for each in (out, inside)]
        nearer: Floats = np.log(apart[0]) - np.log(apart[1])
        return nearer


def _less(trials: Trials, weights: Floats) -> Floats:
    """Take canaries away, times weights `(trials,)`; return rows."""
    acts = np.eye(trials.values.shape[2])[trials.parts][:, None, :]
    taken = trials.values - weights[:, None, None] * trials.amplitudes[:, :, None] * acts
    rows: Floats = taken.reshape(len(trials), -1)
    return rows


def _squared_distances(first: Floats, second: Floats) -> Floats:
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1)
    apart: Floats = np.maximum(squares - 2 * first @ second.T, 0.0)
    return apart


Removal = Callable[[Floats], Floats]
"""Takes away from `(trials, steps, parts)` numbers what the others of a trial tell of each; to be
exact it is the product with an inverse covariance."""


class _Whitened:
    """What is left of a canary's part when all that other parts and steps tell of it is taken away.

    What they tell is learned on trials whose canary was out.
    """

    def __init__(self, known: Trials, learned: Callable[[Floats], tuple[Removal, Floats]]) -> None:
        largest = float(np.abs(known.values).max()) or 1.0
        self._unit = largest * float(np.sqrt(np.square(known.values / largest).mean())) or 1.0
        own, moved = known.own / self._unit, known.amplitudes / self._unit
        shares = (own * moved).sum(1) / np.maximum(np.square(moved).sum(1), 1e-300)
        apart = shares[known.included].mean() - shares[~known.included].mean()
        self._opposed = known.opposed
        self._share = float(apart) / known.rates.mean() / (2 if known.opposed else 1)
        out = known[~known.included]
        noise = out.values / self._unit
        if known.opposed:
            acts = np.eye(noise.shape[2])[out.parts][:, None, :]
            noise += float(apart) / 2 * out.amplitudes[:, :, None] / self._unit * acts
        self._remove, self._variances = learned(noise - noise.mean(0))

    def _residual(self, trials: Trials) -> Floats:
        return trials.of_parts(self._remove(trials.values / self._unit))

    def linear(self, trials: Trials) -> Floats:
        """Return Fisher's discriminant (1936)."""
        score: Floats = (self._residual(trials) * trials.amplitudes).sum(1) * np.sign(self._share)
        return score

    def mixture(self, trials: Trials) -> Floats:
        """Return the likelihood ratio if what is left is Gaussian and independent."""
        variances = np.broadcast_to(self._variances, (len(trials), *self._variances.shape))
        deviation = np.sqrt(trials.of_parts(variances))
        seen = self._residual(trials) / deviation
        moved = self._share * trials.amplitudes / self._unit * deviation
        total: Floats = _log_mixed(trials.rates, seen * moved - moved**2 / 2).sum(1)
        if self._opposed:
            total = total - _log_mixed(trials.rates, -seen * moved - moved**2 / 2).sum(1)
        return total


# From noise `(trials, steps, parts)` they make what takes away what is told, and the entries of its
# diagonal, `(steps, parts)`.


def _apart(noise: Floats) -> tuple[Removal, Floats]:
    """Take workers and steps for independent."""
    return _product(np.diag(np.diag(_between_workers(noise))), np.eye(noise.shape[1]))


def _of_workers(noise: Floats) -> tuple[Removal, Floats]:
    """Take steps for independent."""
    return _product(_between_workers(noise), np.eye(noise.shape[1]))


def _of_workers_and_steps(noise: Floats) -> tuple[Removal, Floats]:
    """Take the covariance for one of workers times one of steps, each learned from all noise."""
    along = np.einsum("ntw,nsw->ts", noise, noise) / (len(noise) * noise.shape[2])
    variance = max(float(np.trace(along)) / len(along), _ROUNDING)
    return _product(_between_workers(noise), along / variance)


def _of_all(noise: Floats) -> tuple[Removal, Floats]:
    """Take nothing for granted."""
    rows = noise.reshape(len(noise), -1)
    precision = _precision(rows.T @ rows / len(rows))

    def remove(values: Floats) -> Floats:
        left: Floats = (values.reshape(len(values), -1) @ precision).reshape(values.shape)
        return left

    return remove, np.diag(precision).reshape(noise.shape[1:])


def _between_workers(noise: Floats) -> Floats:
    between: Floats = np.einsum("ntw,ntv->wv", noise, noise) / (len(noise) * noise.shape[1])
    return between


def _product(of_workers: Floats, of_steps: Floats) -> tuple[Removal, Floats]:
    workers, steps = _precision(of_workers), _precision(of_steps)

    def remove(values: Floats) -> Floats:
        left: Floats = steps @ (values @ workers)
        return left

    return remove, np.outer(np.diag(steps), np.diag(workers))


def _precision(covariance: Floats) -> Floats:
    """Invert a covariance of numbers of size 1."""
    values, vectors = np.linalg.eigh(covariance)
    inverse: Floats = (vectors / np.maximum(values, _ROUNDING)) @ vectors.T
    return inverse
