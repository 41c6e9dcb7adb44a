"""What NVFlare's SVTPrivacy guarantees, by its source in NVFlare 2.9.

Of d numbers it sends c = ceil(fraction d): first it asks of each whether it is above a noisy
threshold, until c are, then sends c of these with Laplace noise. Its own count for a call is
epsilon_threshold + epsilon_query + epsilon_release.

- The proof of the sparse vector technique pays epsilon_query / c for each answer "above" (Lyu, Su,
  Li 2017, Algorithm 7), and stops at c of them. The filter goes through all numbers before it
  looks whether c are reached, so up to d are, of which it then draws c: it pays
  epsilon_query d / c.
- Without `epsilon_release`, sending c numbers costs c noise_var.
- `epsilon` is what choosing costs; rounds add up.

Earlier versions have weaker noise for choosing.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from privrobust.federated.check.claims import SparseVector
from privrobust.federated.check.findings import EVERYONE, OF_MODELS, Finding, judged


def sparse_vector(claim: SparseVector) -> Iterator[Finding]:
    """Yield what holds against who sees what the filter lets through; delta is 0."""
    missing = tuple(
        name
        for name in ("rounds", "parameters")
        if getattr(claim, name) is None and not (name == "parameters" and claim.epsilon_release)
    )
    found = Finding(
        where=claim.where,
        what=claim.what,
        claim=f"epsilon {claim.epsilon:g}",
        claimed=claim.epsilon,
        delta=0.0,
        unit="client",
        adjacency="replace-one",
        against=EVERYONE if claim.is_on_results else OF_MODELS,
        verdict="cannot be told",
        why="the values that are sent cost noise_var each, and how many there are is not stated",
        missing=missing,
    )
    if missing:
        yield found if "parameters" in missing else replace(found, why="rounds are not stated")
        return
    assert claim.rounds is not None
    choosing, sending = _choosing(claim), _sending(claim)
    holds = claim.rounds * (choosing + sending)
    why = [f"{choosing:.4g} a round for what is chosen, {sending:.4g} for its values"]
    if claim.rounds > 1:
        why.append(f"{claim.rounds} rounds add up")
    yield replace(
        found,
        holds=holds,
        accountant="pure composition",
        verdict=judged(claim.epsilon, holds),
        why="; ".join(why),
    )


def _count(claim: SparseVector) -> float:
    """Return c / d, at least: what is sent of all numbers."""
    if claim.parameters is None:
        return min(1.0, claim.fraction)
    return min(claim.parameters, math.ceil(claim.fraction * claim.parameters)) / claim.parameters


def _choosing(claim: SparseVector) -> float:
    threshold, query = claim.epsilon_threshold, claim.epsilon_query
    if threshold is None and query is None:
        if claim.parameters is None:
            return claim.epsilon / _count(claim)  # more than any split of it
        ratio = (2 * _count(claim) * claim.parameters) ** (2 / 3)
        threshold = claim.epsilon / (1 + ratio)
    if threshold is None:
        assert query is not None
        threshold = claim.epsilon - query
    return threshold + (claim.epsilon - threshold) / _count(claim)


def _sending(claim: SparseVector) -> float:
    if claim.epsilon_release is not None:
        return claim.epsilon_release
    assert claim.parameters is not None
    return round(_count(claim) * claim.parameters) * claim.noise_var
