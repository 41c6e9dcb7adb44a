"""What Flower's DifferentialPrivacy... wrappers guarantee.

The server adds noise of standard deviation noise_multiplier clipping_norm / num_sampled_clients to
what the strategy inside returns, which is right for a mean of so many clients of equal weight. Of
anything else the noise is noise_multiplier / (num_sampled_clients s) times what one client moves,
where s is that in clipping norms (`sensitivities`).

Adaptive clipping also releases how many updates were clipped. Flower counts that noise as Andrew,
Thakkar, McMahan, Ramaswamy 2021 (Theorem 1) do, for bits that move by 1/2; its own bits turn from 1
to 0. And its noise goes by the norm of the next round, which may be smaller than the norm to which
this round's updates were clipped.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from privrobust.accountants import Release, Spent, spend
from privrobust.core.formatting import rounded_down
from privrobust.federated.check.claims import CentralNoise
from privrobust.federated.check.findings import OF_MODELS, SERVER, Finding, judged, stated
from privrobust.federated.check.sensitivities import MEANS, Moved, moved, trained

_COUNTED = (None, "no-amplification")  # a wrapper refuses any other sampling


def central_noise(claim: CentralNoise) -> Iterator[Finding]:
    """Yield what holds against who sees models, and against the server."""
    yield _of_models(claim)
    yield _of_server(claim)


def _of_server(claim: CentralNoise) -> Finding:
    clipped = "clipped " if claim.clips_at == "client" and claim.is_clipped else ""
    sees = f"every client's {clipped}update without noise, and adds the noise itself"
    if claim.secure_aggregation:
        sees = "sums without noise; that it sees no single update rests on secure aggregation"
    elif claim.secure_aggregation is None:
        sees = "sums or single updates without noise: is the secure aggregation in place?"
    return Finding(
        where=claim.where,
        what=claim.what,
        claim="none",
        holds=math.inf,
        delta=claim.delta,
        unit="client",
        adjacency="zero-out",
        against=SERVER,
        verdict="no claim",
        why=f"it sees {sees}",
        missing=("secure_aggregation",) if claim.secure_aggregation is None else (),
    )


def _of_models(claim: CentralNoise) -> Finding:
    z, divisor, rounds, delta = (
        claim.noise_multiplier,
        claim.num_sampled_clients,
        claim.rounds,
        claim.delta,
    )
    needed = ("noise_multiplier", "num_sampled_clients", "rounds", "delta")
    missing = tuple(name for name in needed if getattr(claim, name) is None)
    said = "noise multiplier ?" if z is None else f"noise multiplier {z:g}"
    found = Finding(
        where=claim.where,
        what=f"{claim.what}({claim.rule or '?'})",
        claim=said if claim.epsilon is None else f"epsilon {claim.epsilon:g}",
        claimed=claim.epsilon,
        delta=delta,
        unit="client",
        adjacency="zero-out",
        against=OF_MODELS,
        verdict="cannot be told",
        why="the source leaves numbers open",
        missing=missing,
    )
    nothing = replace(found, holds=math.inf, verdict="does not hold", missing=())
    if claim.is_clipped is False:
        return replace(
            nothing, why="clients have no clipping among their mods, so nothing is clipped"
        )
    if z == 0:
        return replace(nothing, why="no noise is added")
    moves = moved(claim)
    if moves.is_unbounded:
        return replace(nothing, why=moves.why)
    open_ = missing + moves.missing + (() if claim.is_clipped else ("clips",))
    if z is None or divisor is None or rounds is None or delta is None:
        return replace(found, missing=open_)
    nominal = _nominal(claim, z, divisor, rounds, delta)
    claimed = nominal.epsilon if claim.epsilon is None else claim.epsilon
    if claim.epsilon is None:
        found = replace(found, claimed=claimed, claim=f"{said}: epsilon {rounded_down(claimed, 4)}")
    if moves.norms is None or not claim.is_clipped:
        why = moves.why if moves.norms is None else "whether clients clip cannot be told"
        return _of_few(claim, replace(found, why=why, missing=open_), claimed)
    refused = _refused(claim, z)
    if refused:
        return replace(found, why=refused)
    spent = _spent(claim, z / (divisor * moves.norms), rounds, delta, moves.norms)
    why = _why(claim, moves)
    limit = _limit(claim, moves)
    if limit is not None and limit < spent.epsilon:
        spent = replace(spent, epsilon=limit, accountant="Flower's")
        why = "Flower's accountant ends training before it would spend more"
    verdict = judged(claimed, spent.epsilon)
    if claim.accounting and claim.accounting.sampling == "without-replacement":
        if verdict == "does not hold":
            verdict = "cannot be told"
        why = "what sampling without replacement hides is not accounted for here"
    return replace(
        found, holds=spent.epsilon, accountant=spent.accountant, verdict=verdict, why=why
    )


def _limit(claim: CentralNoise, moves: Moved) -> float | None:
    """Return what Flower's own accountant lets be spent, where it counts what is released."""
    accounting, divisor = claim.accounting, stated(claim.num_sampled_clients)
    counts = accounting and accounting.is_of_wrapper and accounting.sampling in _COUNTED
    is_mean = claim.rule in MEANS and stated(moves.norms) <= (1 + 1e-9) / divisor
    return accounting.max_epsilon if accounting and counts and is_mean else None


def _nominal(claim: CentralNoise, z: float, divisor: int, rounds: int, delta: float) -> Spent:
    """Return what the noise multiplier is taken for: a mean's, of equal weights."""
    rate, accounting = None, claim.accounting
    if accounting and accounting.sampling == "poisson" and claim.clients:
        rate = min(1.0, divisor / claim.clients)
    return _spend(z, rounds, delta, rate)


def _spent(claim: CentralNoise, z: float, rounds: int, delta: float, share: float) -> Spent:
    """Return what is spent by noise of z times what one client moves, or less where C adapts."""
    if claim.adaptive is None:
        return _spend(z, rounds, delta)
    count, quantile, rate = claim.adaptive.count_noise, claim.adaptive.quantile, claim.adaptive.rate
    from scipy.special import ndtri  # which loads slowly

    multiplier, count = stated(claim.noise_multiplier), stated(count)
    of_updates = multiplier / math.sqrt(1 - (multiplier / (2 * count)) ** 2)
    # The share of clipped updates, noisy, is below `most` in all rounds but for delta / 2.
    most = 1 - float(ndtri(delta / (2 * rounds))) * count * share
    of_updates *= math.exp(-max(0.0, stated(rate) * (most - stated(quantile)))) * z / multiplier
    of_both = of_updates / math.hypot(1.0, of_updates / count)
    return replace(_spend(of_both, rounds, delta / 2), delta=delta)


def _spend(z: float, rounds: int, delta: float, rate: float | None = None) -> Spent:
    release = Release(
        noise_scale=z, clip_norm=1.0, unit="worker", steps=rounds, worker_sampling_rate=rate
    )
    return spend(release, delta)


def _refused(claim: CentralNoise, z: float) -> str | None:
    """Return why Flower refuses settings of adaptive clipping, or why they cannot be told."""
    if claim.adaptive is None:
        return None
    count = claim.adaptive.count_noise
    if count is None or claim.adaptive.quantile is None or claim.adaptive.rate is None:
        return "what adapts the clipping norm is not stated"
    if z >= 2 * count:
        return f"Flower refuses it: {z:g} is not below twice the noise on counts, {count:g}"
    return None


def _why(claim: CentralNoise, moves: Moved) -> str:
    why = [moves.why]
    if claim.rule not in MEANS and claim.rule is not None:
        why.append(f"the noise is that of a mean of {claim.num_sampled_clients}")
    if claim.accounting and claim.accounting.sampling == "poisson":
        why.append(
            "Flower samples a fixed number of clients, which amplifies nothing as Poisson does"
        )
    if claim.adaptive:
        why.append(
            "the count of clipped updates moves by 1, not 1/2, and C may shrink before noise"
        )
    return "; ".join(why)


def _of_few(claim: CentralNoise, found: Finding, claimed: float) -> Finding:
    """Say that a claim fails whatever the weights, where fewer train than the noise is for."""
    replies, divisor, z = trained(claim), claim.num_sampled_clients, claim.noise_multiplier
    if claim.rule not in MEANS or replies is None or divisor is None or replies >= divisor:
        return found
    multiplier = stated(z) * replies / divisor
    least = _spend(multiplier, stated(claim.rounds), stated(claim.delta)).epsilon
    if least <= claimed:
        return found
    return replace(
        found,
        verdict="does not hold",
        why=f"{replies} clients train in a round and the noise is for {divisor}: epsilon is "
        f"{rounded_down(least, 4)} where they weigh the same, and more where they do not",
    )
