"""What holds of our own runs: the epsilon of their own accountant against an upper bound."""

from privrobust.federated.check.claims import OwnRun
from privrobust.federated.check.findings import EVERYONE, Finding, judged


def own_run(claim: OwnRun) -> Finding:
    """Return what holds against everyone who sees messages, the server among them."""
    found = Finding(
        where=claim.where,
        what=claim.what,
        claim="none" if claim.claimed is None else f"{claim.word} {claim.claimed:.4g}",
        claimed=claim.claimed,
        holds=claim.holds.epsilon,
        delta=claim.holds.delta,
        unit=claim.unit,
        adjacency=claim.adjacency,
        against=EVERYONE,
        verdict="no claim" if claim.claimed is None else judged(claim.claimed, claim.holds.epsilon),
        why=claim.why,
        accountant=claim.holds.accountant,
    )
    return found
