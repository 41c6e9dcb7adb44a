"""What holds of our own noise: that of runs, and that of our mod in a Flower app.

Every message is noised by who sends it, so whatever the server makes of it is free.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from privrobust.accountants import Release, spend
from privrobust.core.formatting import rounded_up
from privrobust.federated.check.claims import OurUpdates, OwnRun
from privrobust.federated.check.findings import EVERYONE, Finding, judged, stated, unless_unused

_NEEDED = {
    "clip_norm": "clipping_norm",
    "noise_scale": "noise_scale",
    "participation": "participation",
    "delta": "delta",
    "rounds": "rounds",
}


def own_run(claim: OwnRun) -> Iterator[Finding]:
    """Yield what holds of a run: the epsilon of its own accountant against an upper bound."""
    claimed = claim.claimed
    yield Finding(
        where=claim.where,
        what=claim.what,
        claim="none" if claimed is None else f"{claim.word} {rounded_up(claimed, 4)}",
        claimed=claimed,
        holds=claim.holds.epsilon,
        delta=claim.holds.delta,
        unit=claim.unit,
        adjacency=claim.adjacency,
        against=EVERYONE,
        verdict="no claim" if claimed is None else judged(claimed, claim.holds.epsilon),
        why=claim.why,
        accountant=claim.holds.accountant,
    )


def our_updates(claim: OurUpdates) -> Iterator[Finding]:
    """Yield what holds of the mod `private_updates`."""
    missing = [name for field, name in _NEEDED.items() if getattr(claim, field) is None]
    scale = "?" if claim.noise_scale is None else f"{claim.noise_scale:g}"
    found = Finding(
        where=claim.where,
        what=claim.what,
        claim=f"noise of scale {scale}",
        delta=claim.delta,
        unit="client",
        adjacency="zero-out",
        against=EVERYONE,
        verdict="cannot be told",
        why="the source leaves numbers open",
        missing=tuple(missing),
    )
    if not missing and None not in (claim.noise, claim.message):
        found = _accounted(claim, found)
    yield unless_unused(found, claim.is_used)


def _accounted(claim: OurUpdates, found: Finding) -> Finding:
    release = Release(
        noise_scale=stated(claim.noise_scale),
        clip_norm=stated(claim.clip_norm),
        steps=stated(claim.rounds),
        worker_sampling_rate=claim.participation,
        noise=stated(claim.noise),
        unit="worker",
        message=stated(claim.message),
    )
    spent = spend(release, stated(claim.delta))
    return replace(
        found,
        claimed=spent.epsilon,
        holds=spent.epsilon,
        accountant=spent.accountant,
        verdict="holds" if math.isfinite(spent.epsilon) else "does not hold",
        why=spent.reason or "each client noises what it sends, so any strategy may follow",
    )
