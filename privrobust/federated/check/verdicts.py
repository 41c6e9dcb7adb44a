"""What holds of claims of every kind."""

import math
from collections.abc import Iterable, Iterator

from privrobust.federated.check.central_noise import central_noise
from privrobust.federated.check.claims import (
    CentralNoise,
    Claim,
    LocalNoise,
    NotPrivate,
    OurExamples,
    OurUpdates,
    OwnRun,
    SampleNoise,
    SparseVector,
    Unread,
)
from privrobust.federated.check.findings import EVERYONE, Finding
from privrobust.federated.check.local_noise import local_noise
from privrobust.federated.check.ours import our_examples, our_updates, own_run
from privrobust.federated.check.sample_noise import sample_noise
from privrobust.federated.check.sparse_vector import sparse_vector


def findings(claims: Iterable[Claim]) -> list[Finding]:
    """Return what holds of each claim, in their order: one or several rows a claim."""
    return [found for claim in claims for found in _of(claim)]


def _of(claim: Claim) -> Iterator[Finding]:
    match claim:
        case LocalNoise():
            yield from local_noise(claim)
        case CentralNoise():
            yield from central_noise(claim)
        case SampleNoise():
            yield from sample_noise(claim)
        case SparseVector():
            yield from sparse_vector(claim)
        case OurUpdates():
            yield from our_updates(claim)
        case OurExamples():
            yield from our_examples(claim)
        case OwnRun():
            yield from own_run(claim)
        case NotPrivate():
            yield _nothing(claim)
        case Unread():
            yield _unread(claim)


def _nothing(claim: NotPrivate) -> Finding:
    return Finding(
        where=claim.where,
        what=claim.what,
        claim=claim.claim,
        holds=math.inf,
        unit="client",
        adjacency="any",
        against=EVERYONE,
        verdict="does not hold" if claim.is_claim else "no claim",
        why=claim.reason,
    )


def _unread(claim: Unread) -> Finding:
    return Finding(
        where=claim.where,
        what=claim.what,
        claim=claim.claim,
        unit="?",
        adjacency="?",
        against="?",
        verdict="cannot be told",
        why=claim.question,
    )
