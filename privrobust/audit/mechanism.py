"""Audits of mechanisms of which nothing is known but that they take gradients and return numbers.

Neighbours are made by `neighbours`, messages are looked at by `tells`. Three rounds of trials, each
of its own calls: a short one of every pair of neighbours; a longer one of those that promise most;
and the one that is counted, of one pair, and two tells with their thresholds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from privrobust.audit.lower_bound import check_confidence, check_delta
from privrobust.audit.neighbours import ADJACENCIES, ROWS, Adjacency, Pair, Rows, pairs
from privrobust.audit.observations import detect_at_share, distance
from privrobust.audit.outcomes import Mechanism, Outcomes
from privrobust.audit.repeated_runs import clopper_pearson_bound, detected_p_value, gaussian_bound
from privrobust.audit.result import AuditResult
from privrobust.audit.tells import Seen, Tell, tells
from privrobust.audit.trade_offs import Claim, TradeOff
from privrobust.audit.trials import Truths
from privrobust.audit.verdict import SHARES, confidence_of_each, corrected
from privrobust.core.numbers import as_float, as_whole
from privrobust.errors import SpecError, shown

TRIALS = 20_000

_LEAST_TRIALS = 500
_FIRST, _SECOND = 25, 4
"""Of the trials that are counted, one in so many is tried with each pair, and with the best."""
_LEAST_OF_PILOT = 160
_BEST = 4
_SHARES = (0.0003, 0.001, *SHARES)
"""Of trials without the canary, how many are to lie above the threshold."""
_TOGETHER = 1 << 22
"""Numbers of trials that are scored at once."""


def audit_mechanism(
    fn: Mechanism,
    epsilon: float,
    delta: float,
    *,
    dim: int = 16,
    examples: int = 8,
    norm: float = 1.0,
    adjacency: Adjacency = "zero-out",
    rows: Rows = "any",
    curve: TradeOff | None = None,
    calls: int = 1,
    trials: int = TRIALS,
    confidence: float = 0.95,
    seed: int = 0,
) -> AuditResult:
    """Attack a mechanism of one's own: anything that turns gradients into a message.

    Example usage:
        >>> import torch
        >>> def forgets_to_clip(gradients):
        ...     return gradients.sum(0) + 2 * torch.randn(gradients.shape[1])
        >>> found = audit_mechanism(forgets_to_clip, 2.2, 1e-5, trials=2000)
        >>> found.is_refuted
        True

    Args:
        fn: takes gradients, a float32 tensor `(examples, dim)` of its own, and returns numbers:
            tensors, arrays, lists, tuples, dictionaries. An error is an outcome that may tell. It
            is called some 3 `trials` times `2 + calls`, on data at rest before and after.
        epsilon: what is claimed of `calls` calls together.
        delta: at which it is claimed.
        dim: coordinates of a gradient.
        examples: rows, the canary's among them.
        norm: C, of the gradients that the claim speaks of.
        adjacency: the claim's neighbours: the canary's row is "zero-out", all zero;
            "add-or-remove", not there; "replace-one", the opposite.
        rows: which gradients the claim is made of: "any", "finite", or "bounded" by the norm.
        curve: what is claimed at every delta, such as `Gaussian(1 / sigma)` or `claim(release)`.
            More is claimed so, and refuted sooner: the p-value is then of the whole curve.
        calls: how often `fn` is called for the claim. Contributions change their sign from call to
            call, so that noise that calls share gives itself away.
        trials: how many are counted.
        confidence: with which the result holds.
        seed: of what the audit draws itself. The mechanism's own draws are its own.

    Formal guarantee:
        **Lower bound**: of mechanisms that keep the claim, at most 1 - confidence are refuted. It
        assumes that trials are independent where the claim holds.

    Raises:
        SpecError: a setting is out of its range, or `fn` returned something else than numbers.

    """
    epsilon = as_float("epsilon", epsilon, "a finite number from 0 up", least=0)
    norm = as_float("norm", norm, "a number from 1e-6 to 1e6", least=1e-6, most=1e6)
    delta, confidence = check_delta(delta), check_confidence(confidence)
    dim = as_whole("dim", dim, "a whole number from 1 up", least=1)
    examples = as_whole("examples", examples, "a whole number from 1 up", least=1)
    calls = as_whole("calls", calls, "a whole number from 1 up", least=1)
    least = f"a whole number from {_LEAST_TRIALS} up"
    trials = as_whole("trials", trials, least, least=_LEAST_TRIALS)
    seed = as_whole("seed", seed, "a whole number from 0 up", least=0)
    for field, value, known in (("adjacency", adjacency, ADJACENCIES), ("rows", rows, ROWS)):
        if value not in known:
            raise SpecError(f"{field}: {shown(value)} is not one of {', '.join(known)}")
    if curve is not None and not isinstance(curve, TradeOff):
        raise SpecError(f"curve: {shown(curve)} is not a TradeOff, such as Gaussian(1 / sigma)")

    found = list(pairs(dim, examples, norm, adjacency, rows))
    outcomes = Outcomes(fn, [each.inside for each in found])
    rng = np.random.default_rng(seed)

    def promised(pair: Pair, of: int) -> list[_Promise]:
        count = max(_LEAST_OF_PILOT, trials // of)
        return _promises(pair, _tried(outcomes, pair, _coins(count, rng), calls), delta)

    by = _proven if curve is None else _spread
    first = sorted((max(promised(pair, _FIRST), key=by) for pair in found), key=by)
    promises = [each for one in first[-_BEST:] for each in promised(one.pair, _SECOND)]
    pair = max(promises, key=by).pair
    of_pair = [each for each in promises if each.pair is pair]
    chosen = {how: max(of_pair, key=how) for how in (_proven, _spread)}
    included = _coins(trials, rng)
    together = max(1, _TOGETHER // ((2 + calls) * len(outcomes)))
    parts = (
        _tried(outcomes, pair, included[at : at + together], calls)
        for at in range(0, trials, together)
    )
    scores = np.concatenate([[one.tell(part) for one in chosen.values()] for part in parts], 1)
    by_proof, by_spread = (
        detect_at_share(of, included, one.share)
        for of, one in zip(scores, chosen.values(), strict=True)
    )
    each = confidence_of_each(confidence, 1)
    bound = clopper_pearson_bound(by_proof, delta, each)
    proven = bound.epsilon_lower_bound
    # at delta 0 Gaussian noise has no epsilon
    if_gaussian = gaussian_bound(by_spread, delta, each).epsilon_lower_bound if delta else proven
    if curve is None:
        p_value = detected_p_value(by_proof, Claim([(epsilon, delta)]))
    else:
        p_value = detected_p_value(by_spread, curve)
    return AuditResult(
        epsilon_lower_bound=proven,
        epsilon_if_gaussian=if_gaussian,
        claimed=epsilon,
        delta=delta,
        p_value=corrected(p_value, 1),
        confidence=confidence,
        attack=chosen[_proven].name,
        observer="messages",
        canaries=pair.says,
        helpers=0,
        rule=getattr(fn, "__name__", type(fn).__name__),
        accountant="stated",
        adjacency=adjacency,
        runs=trials,
        per_run=1,
        assumed=(
            f"the claim is of {calls} calls with {rows} rows, of norm {norm:g} where it is bounded",
            f"neighbours: {pair.says}; {examples} rows of {dim} numbers",
            "trials are independent where the claim holds",
        ),
        bound=bound,
    )


class _Promise(NamedTuple):
    """What one tell with one threshold found on a pilot's trials."""

    epsilon: float
    mu: float
    distance: float
    name: str
    pair: Pair
    tell: Tell
    share: float


def _proven(one: _Promise) -> tuple[float, float]:
    """Order by what is proven of any mechanism; much the same, by the distance."""
    return round(one.epsilon, 1), one.distance


def _spread(one: _Promise) -> tuple[float, float]:
    """Order by what it would be if the trade-off were Gaussian."""
    return round(one.mu, 1), one.distance


def _promises(pair: Pair, seen: Seen, delta: float) -> list[_Promise]:
    """Learn on one half of the trials, and try on the other."""
    half = len(seen) // 2
    taught, choosing = seen[:half], seen[half:]
    promises = []
    for name, tell in tells(taught):
        scores = tell(choosing)
        apart = distance(scores, choosing.included)
        for share in _SHARES:
            found = detect_at_share(scores, choosing.included, share)
            epsilon = clopper_pearson_bound(found, delta, 0.9).epsilon_lower_bound
            mu = gaussian_bound(found, 1e-5, 0.9).mu or 0.0
            promises.append(_Promise(epsilon, mu, apart, name, pair, tell, share))
    return promises


def _coins(count: int, rng: np.random.Generator) -> Truths:
    """Say which trials have the canary: half of them, in random order."""
    return rng.permutation(np.arange(count) % 2 == 0)


def _tried(outcomes: Outcomes, pair: Pair, included: Truths, calls: int) -> Seen:
    """Call the mechanism on one neighbour or the other, and before and after at rest."""
    turns = {True: (pair.inside, pair.opposite), False: (pair.outside, pair.opposite_outside)}
    rows = np.empty((len(included), calls + 2, len(outcomes)))
    for trial, was_in in zip(rows, included.tolist(), strict=True):
        outcomes.row(pair.rest, trial[0])
        for call in range(calls):
            outcomes.row(turns[was_in][call % 2], trial[1 + call])
        outcomes.row(pair.rest, trial[-1])
    return Seen.of(rows, included)
