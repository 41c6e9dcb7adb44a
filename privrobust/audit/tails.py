"""Noise with cut or thin tails: a message far out that noise alone cannot reach gives a unit away.

Let one unit move one coordinate by a, and the noise lie above c with probability p0 and above c - a
with p1. "In some of T steps that coordinate lies above c", where the unit joins with probability q,
has probability 1 - (1 - p0)^T without it, and 1 - (1 - (1 - q) p0 - q p1)^T with it. Real-valued
noise of the claimed law keeps their ratio below e^epsilon, but for delta; noise that ends somewhere
does not.

The rates are known from draws alone. c is the (k+1)-th largest of many, so that p0 has the law that
Clopper and Pearson's limit of k is made for (`detect_at_ranks`); p1 is counted on others; and k and
the side were chosen on others yet. k = 0 is always tried as well: where noise ends is not seen on
few draws.

Both sides at once are looked at through the noise's size. Let a coin that all know decide which way
the unit moves its coordinate, and so on which side one looks: what holds either way holds on
average. Of both sides' rates p+ and p-, half of the sum is known. 1 - (1 - p)^T is concave, so that
without the unit its average is at most that of the average rate, and with it at least
(1 - (1 - q (p+ + p-))^T) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainccinv, betaincinv

from privrobust.accountants import spend
from privrobust.audit.lower_bound import LowerBound, check_confidence, check_delta
from privrobust.audit.observations import Detections
from privrobust.audit.result import AuditResult
from privrobust.core.numbers import as_float, as_whole
from privrobust.errors import SpecError, in_a_line, shown

if TYPE_CHECKING:
    from privrobust.spec import RunSpec

Floats = npt.NDArray[np.floating[Any]]

TAILS = "tails"
"""What audits name this attack where they name kinds of canaries."""
DRAWS = 2 * 10**9
PAPER = "Mironov 2012 (doi:10.1145/2382196.2382264); Clopper, Pearson 1934"

_CHOSEN, _MOVED = 0.03, 0.17
"""Of all draws, how many choose k and the side, and how many count p1; the rest make c."""
_OF_CUT = 0.9
"""Of the risk, the share of the limit of p0, which is known from few draws or none."""
_SIDES: dict[str, Callable[[Floats], Floats]] = {
    "far from": np.abs,
    "above": np.positive,
    "below": np.negative,
}
_RANKS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000)
_CHUNK = 1 << 20
_LEAST = 1000


def audit_noise(
    draw: Callable[[int], Any],
    contribution: float,
    epsilon: float,
    delta: float,
    *,
    sampling_rate: float = 1.0,
    steps: int = 1,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> AuditResult:
    """Look for tails that are too thin for a claim.

    Example usage:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).standard_normal
        >>> cut = audit_noise(lambda n: noise(n).clip(-3, 3), 1.0, 4.4, 1e-5, draws=10**5)
        >>> cut.is_refuted, audit_noise(noise, 1.0, 4.4, 1e-5, draws=10**5).is_refuted
        (True, False)

    Args:
        draw: returns so many draws of the noise on one coordinate, a tensor or an array; each call
            is to draw anew.
        contribution: the most that one unit moves one coordinate, in units of the draws.
        epsilon: what is claimed of all steps.
        delta: at which it is claimed.
        sampling_rate: q, how likely the unit joins a step.
        steps: T.
        draws: how many are looked at, about; they are not kept.
        confidence: with which the result holds.

    Formal guarantee:
        **Lower bound**: of noise that keeps the claim, at most 1 - confidence is refuted. It
        assumes that draws are independent and of one law, as those of the T steps are, and that
        noise is added to what units move.

    Raises:
        SpecError: a setting is out of its range, or `draw` returned something else than so many
            numbers.

    """
    epsilon = as_float("epsilon", epsilon, "a finite number from 0 up", least=0)
    contribution = as_float("contribution", contribution, "a finite number above 0", above=0)
    delta, confidence = check_delta(delta), check_confidence(confidence)
    q = as_float("sampling_rate", sampling_rate, "a number above 0, up to 1", above=0, most=1)
    steps = as_whole("steps", steps, "a whole number from 1 up", least=1)
    least = f"a whole number from {_LEAST} up"
    draws = as_whole("draws", draws, least, least=_LEAST)
    if not callable(draw):
        raise SpecError(f"draw: {shown(draw)} is not a function of how many draws")

    def bound(seen: _Seen, risk: float) -> float:
        """Return the least epsilon that one of the cuts shows."""
        return max(
            _epsilon(counts, seen.folds, risk / len(seen.at), q, steps, delta) for counts in seen.at
        )

    seen = _counted(draw, contribution, draws, lambda pilot: bound(pilot, 0.1))
    found = bound(seen, 1 - confidence)
    best = max(seen.at, key=lambda counts: bound(seen._replace(at=(counts,)), 1 - confidence))
    name = getattr(draw, "__name__", type(draw).__name__)
    return AuditResult(
        epsilon_lower_bound=found,
        epsilon_if_gaussian=found,
        claimed=epsilon,
        delta=delta,
        p_value=_p_value(lambda risk: bound(seen, risk) > epsilon),
        confidence=confidence,
        attack=f"one coordinate {seen.side} zero, beyond all but {best.false_positives} draws",
        observer="messages",
        canaries=TAILS,
        helpers=0,
        rule=name,
        accountant="stated",
        adjacency="zero-out",
        runs=best.runs_with + best.runs_without,
        per_run=1,
        assumed=(
            "draws are independent and of one law; noise is added to what units move",
            f"a unit moves one coordinate by {contribution:.4g}, all others are known",
            f"it joins each of {steps} steps with probability {q:.4g}",
        ),
        bound=LowerBound(found, delta, confidence, best, "tails", PAPER, tests=len(seen.at)),
    )


def audit_tails(
    spec: RunSpec,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    claimed: float | None = None,
    on_draws: Callable[[float], object] = lambda share: None,
) -> AuditResult:
    """Look for tails of a run's own noise that are too thin for what its accountant claims.

    Draws are those that its workers add to averages of zero, `Perturbation`'s, step after step.

    Args:
        spec: the run.
        draws: as of `audit_noise`.
        confidence: as of `audit_noise`.
        claimed: an epsilon, at the run's delta; by default what its accountant says.
        on_draws: called with what share of all draws was made, again and again.

    Raises:
        SpecError: as the run's own training and accountant; a run without noise, or of which no
            finite epsilon is claimed; one whose steps do not draw examples apart.

    """
    import torch

    from privrobust.data import get_dataset
    from privrobust.models.validation import initial_parameters
    from privrobust.training.noise import Perturbation
    from privrobust.training.privacy_plan import PrivacyPlan

    if spec.sampling != "poisson" and spec.unit == "example":
        raise SpecError(
            f"sampling: {spec.sampling} with canaries: {TAILS}, which count on steps that draw "
            "examples apart; accepted: poisson"
        )
    if spec.pairwise_noise:
        raise SpecError(
            f"pairwise_noise: {spec.pairwise_noise:g} with canaries: {TAILS}, which count on noise "
            "that is independent; accepted: other canaries"
        )
    plan = PrivacyPlan(spec)
    release = max(plan.releases, key=lambda each: each.sampling_rate)
    spent = spend(release, spec.delta, spec.accountant)
    stated = spent.epsilon if claimed is None else claimed
    if not plan.spec.noise_scale or not math.isfinite(stated):
        raise SpecError(
            f"noise_scale: {shown(plan.spec.noise_scale)} with a claimed epsilon of {stated}; "
            "accepted: noise of which a finite epsilon is claimed"
        )
    _, parameters = initial_parameters(spec.model, get_dataset(spec.dataset, spec.data_dir), (0,))
    shape = (-(-_CHUNK // parameters.shape[-1]), parameters.shape[-1])
    perturbed = Perturbation([plan], shape, torch.device("cpu"))
    averages = torch.zeros(1, *shape, dtype=torch.float64)

    in_all = draws + round(_CHOSEN * draws)  # that many are drawn twice: for cuts, and beyond them

    def noise(count: int) -> Any:
        on_draws(count / in_all)
        steps = -(-count // averages.numel())
        return torch.cat([perturbed(averages).flatten() for _ in range(steps)])[:count]

    found = audit_noise(
        noise,
        release.contribution,
        stated,
        spec.delta,
        sampling_rate=float(release.sampling_rate),
        steps=plan.noisy_steps,
        draws=draws,
        confidence=confidence,
    )
    return replace(
        found,
        rule=spec.aggregator,
        spec=spec,
        accountant=spent.accountant if claimed is None else "stated",
        is_estimate=claimed is None and not spent.is_upper_bound,
        adjacency=str(release.adjacency),
    )


class _Seen(NamedTuple):
    """Counts at cuts that they did not choose, as many as were planned before."""

    side: str
    at: tuple[Detections, ...]

    @property
    def folds(self) -> int:
        """Return how many sides were counted at once."""
        return 2 if _SIDES[self.side] is np.abs else 1


def _epsilon(
    counts: Detections, folds: int, risk: float, q: float, steps: int, delta: float
) -> float:
    """Return the least epsilon: each of both limits fails with its share of the risk."""
    k0, n0 = counts.false_positives, counts.runs_without
    k1, n1 = counts.true_positives, counts.runs_with
    most = 1.0 if k0 == n0 else float(betainccinv(k0 + 1, n0 - k0, _OF_CUT * risk))
    moved = float(betaincinv(k1, n1 - k1 + 1, (1 - _OF_CUT) * risk)) if k1 else 0.0
    without = -math.expm1(steps * math.log1p(-most / folds)) if most < folds else 1.0
    # what noise alone puts there in steps without the unit is left out: it only adds
    inside = -math.expm1(steps * math.log1p(-q * moved)) if q * moved < 1 else 1.0
    inside = inside / folds - delta
    return max(0.0, math.log(inside / without)) if inside > 0 else 0.0


def _counted(
    draw: Callable[[int], Any], contribution: float, draws: int, bound: Callable[[_Seen], float]
) -> _Seen:
    """Choose a side and a rank on some draws, and count on others."""
    pilot, moved = round(_CHOSEN * draws), round(_MOVED * draws)
    rest = draws - pilot - moved
    ranks = [rank for rank in _RANKS if rank < max(1, pilot // 10)]
    tops = _largest(draw, pilot, ranks[-1] + 1, list(_SIDES))
    cuts = {(side, rank): float(tops[side][rank]) for side in _SIDES for rank in ranks}
    above = _beyond(draw, pilot, contribution, cuts)

    def promise(at: tuple[str, int]) -> tuple[float, int]:
        side, rank = at
        found = bound(_Seen(side, (Detections(pilot, above[at], pilot, rank),)))
        # by chance one side looks better on few draws, and it has half of them
        return round(found - (0 if side == "far from" else 0.5), 2), -rank

    side, rank = max(cuts, key=promise)
    final = sorted({0, min(round(rank * rest / pilot), _RANKS[-1])})
    (top,) = _largest(draw, rest, final[-1] + 1, [side]).values()
    k1 = _beyond(draw, moved, contribution, {(side, k0): float(top[k0]) for k0 in final})
    return _Seen(side, tuple(Detections(moved, k1[side, k0], rest, k0) for k0 in final))


def _largest(
    draw: Callable[[int], Any], count: int, most: int, sides: list[str]
) -> dict[str, Floats]:
    """Return the largest draws on each side, in descending order."""
    tops = {side: np.full(most, -np.inf) for side in sides}
    for drawn in _chunks(draw, count):
        for side, top in tops.items():
            values = _SIDES[side](drawn)
            kept = np.concatenate([top, values[values > top.min()].astype(np.float64)])
            tops[side] = np.partition(kept, len(kept) - most)[-most:]
    return {side: np.sort(top)[::-1] for side, top in tops.items()}


def _beyond(
    draw: Callable[[int], Any], count: int, contribution: float, cuts: dict[tuple[str, int], float]
) -> dict[tuple[str, int], int]:
    """Count, for each side and cut, draws that the unit's contribution would move beyond it."""
    counts = dict.fromkeys(cuts, 0)
    for drawn in _chunks(draw, count):
        for side in {side for side, _ in cuts}:
            values = _SIDES[side](drawn)
            for at, cut in cuts.items():
                if at[0] != side:
                    continue
                edge = cut - contribution
                if side == "far from":  # where a unit moves it beyond the other side is left out
                    edge = max(0.0, edge)
                counts[at] += int(np.count_nonzero(values > edge))
    return counts


def _chunks(draw: Callable[[int], Any], count: int) -> Iterator[Floats]:
    """Yield that many draws, a chunk at a time."""
    while count > 0:
        size = min(_CHUNK, count)
        try:
            drawn = draw(size)
        except Exception as error:  # whatever a user's function raises
            raise SpecError(f"draw: it failed for {size} draws ({in_a_line(error)})") from error
        if hasattr(drawn, "detach"):
            drawn = drawn.detach().cpu().numpy()
        values = np.asarray(drawn)
        if values.dtype.kind != "f" or values.size != size or np.isnan(values).any():
            raise SpecError(
                f"draw: {shown(drawn)} is not accepted: {size} floating-point numbers, not NaN"
            )
        yield values.reshape(-1)
        count -= size


def _p_value(is_refuted: Callable[[float], bool]) -> float:
    """Return the least risk at which the claim is refuted, 1 if at none."""
    low, high = math.log(1e-300), math.log(1 - 1e-9)
    if not is_refuted(math.exp(high)):
        return 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if is_refuted(math.exp(middle)) else (middle, high)
    return math.exp(high)
