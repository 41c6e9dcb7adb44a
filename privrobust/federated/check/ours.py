"""What holds of our own noise: that of runs, and that of our mod in a Flower app.

Every message is noised by who sends it, so whatever the server makes of it is free.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from privrobust.accountants import Release, spend
from privrobust.core.formatting import rounded_up
from privrobust.federated.check.claims import OurExamples, OurUpdates, OwnRun
from privrobust.federated.check.findings import EVERYONE, Finding, judged, stated, unless_unused

_OF_UPDATES = {
    "clip_norm": "clipping_norm",
    "noise_scale": "noise_scale",
    "participation": "participation",
    "delta": "delta",
    "rounds": "rounds",
}
_OF_EXAMPLES = {
    "clip_norm": "clipping_norm",
    "noise_scale": "noise_scale",
    "batch_size": "batch_size",
    "delta": "delta",
    "local_steps": "local_steps",
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
        against=claim.against,
        verdict="no claim" if claimed is None else judged(claimed, claim.holds.epsilon),
        why=claim.why,
        accountant=claim.holds.accountant,
    )


def our_updates(claim: OurUpdates) -> Iterator[Finding]:
    """Yield what holds of the mod `private_updates`."""
    found = _found(claim, "client", _OF_UPDATES)
    if not found.missing and claim.noise and claim.message:
        release = Release(
            noise_scale=stated(claim.noise_scale),
            clip_norm=stated(claim.clip_norm),
            steps=stated(claim.rounds),
            worker_sampling_rate=claim.participation,
            noise=claim.noise,
            unit="worker",
            message=claim.message,
        )
        found = _accounted(found, release)
    yield unless_unused(found, claim.is_used)


def our_examples(claim: OurExamples) -> Iterator[Finding]:
    """Yield what holds of `PrivateWorker` in a client."""
    rate = "dataset_size" if claim.is_sampled_by_size else "sampling_rate"
    found = _found(claim, "example", _OF_EXAMPLES | {rate: rate})
    if not found.missing and claim.noise and claim.message:
        release = Release(
            noise_scale=stated(claim.noise_scale),
            clip_norm=stated(claim.clip_norm),
            batch_size=stated(claim.batch_size),
            steps=stated(claim.rounds) * stated(claim.local_steps),
            noise=claim.noise,
            message=claim.message,
            sampling_rate=claim.sampling_rate,  # type: ignore[arg-type]  # as it may be left out
            dataset_size=claim.dataset_size,
        )
        found = _accounted(found, release)
    yield found


def _found(claim: OurUpdates | OurExamples, unit: str, needed: Mapping[str, str]) -> Finding:
    scale = "?" if claim.noise_scale is None else f"{claim.noise_scale:g}"
    return Finding(
        where=claim.where,
        what=claim.what,
        claim=f"noise of scale {scale}",
        delta=claim.delta,
        unit=unit,
        adjacency="zero-out",
        against=EVERYONE,
        verdict="cannot be told",
        why="the source leaves numbers open",
        missing=tuple(name for field, name in needed.items() if getattr(claim, field) is None),
    )


def _accounted(found: Finding, release: Release) -> Finding:
    spent = spend(release, stated(found.delta))
    return replace(
        found,
        claimed=spent.epsilon,
        holds=spent.epsilon,
        adjacency=str(release.adjacency),
        accountant=spent.accountant,
        verdict="holds" if math.isfinite(spent.epsilon) else "does not hold",
        why=spent.reason or "each client noises what it sends, so any strategy may follow",
    )
