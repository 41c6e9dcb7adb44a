"""What Flower's LocalDpMod guarantees.

Once a round it adds noise of sigma = sensitivity sqrt(2 ln(1.25 / delta)) / epsilon to an update
that it clipped to `clipping_norm`, and composes nothing. The formula is proven for epsilon < 1 and
one message (Dwork, Roth 2014, Theorem A.1); here the Gaussian mechanism is accounted for exactly,
over all rounds. A client may take part in each of them, and whoever sees a message sees whose it
is, so sampling of clients amplifies nothing.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from privrobust.accountants import Release, spend
from privrobust.accountants.release import Adjacency
from privrobust.core.formatting import rounded_up
from privrobust.federated.check.claims import LocalNoise
from privrobust.federated.check.findings import EVERYONE, Finding, judged, stated, unless_unused

_NEEDED = ("clipping_norm", "sensitivity", "epsilon", "delta", "rounds")
_NEIGHBOURS: tuple[tuple[Adjacency, str, int], ...] = (
    ("zero-out", "", 1),
    ("replace-one", " of local DP", 2),
)


def local_noise(claim: LocalNoise) -> Iterator[Finding]:
    """Yield what holds against everyone, for both kinds of neighbours.

    Local differential privacy is of any two updates, which differ by up to two clipping norms.
    """
    for adjacency, of, norms in _NEIGHBOURS:
        said = "?" if claim.epsilon is None else f"{claim.epsilon:g}"
        found = Finding(
            where=claim.where,
            what=claim.what,
            claim=f"epsilon {said}{of}",
            claimed=claim.epsilon,
            delta=claim.delta,
            unit="client",
            adjacency=adjacency,
            against=EVERYONE,
            verdict="cannot be told",
            why="the source leaves numbers open",
            missing=tuple(name for name in _NEEDED if getattr(claim, name) is None),
        )
        if not found.missing:
            found = _accounted(claim, found, adjacency, norms)
        yield unless_unused(found, claim.is_used)


def _accounted(claim: LocalNoise, found: Finding, adjacency: Adjacency, norms: int) -> Finding:
    sensitivity, clipping_norm = stated(claim.sensitivity), stated(claim.clipping_norm)
    epsilon, delta, rounds = stated(claim.epsilon), stated(claim.delta), stated(claim.rounds)
    release = Release(
        noise_scale=sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon,
        clip_norm=clipping_norm,
        unit="worker",
        adjacency=adjacency,
        steps=rounds,
    )
    spent = spend(release, delta)
    why = []
    if sensitivity < norms * clipping_norm:
        moves = norms * clipping_norm
        why.append(f"an update may move by {moves:g}, and sensitivity is {sensitivity:g}")
    if rounds > 1:
        why.append(f"{epsilon:g} is of one round, and {rounds} rounds compose")
    if epsilon > 1:
        once = spend(replace(release, steps=1), delta).epsilon
        exactly = rounded_up(once, 4)
        why.append(
            f"the mod's formula is proven for epsilon below 1; one round is {exactly} exactly"
        )
    return replace(
        found,
        holds=spent.epsilon,
        accountant=spent.accountant,
        verdict=judged(epsilon, spent.epsilon),
        why="; ".join(why) or "one message of the Gaussian mechanism, exactly",
    )
