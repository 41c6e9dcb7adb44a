"""What Opacus guarantees in a client's training: the unit is an example, against everyone.

`make_private` loads Poisson batches at rate 1 / L, where L = ceil(n / B) is the number of batches
of an epoch, and adds noise of noise_multiplier clipping norms to a sum. Its engine counts its own
steps: one that is made anew for every round reports one round.

`make_private_with_epsilon` finds the noise by an accountant of Opacus; here it is the least that
our own accountant allows.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from privrobust.accountants import Release, noise_scale, spend
from privrobust.federated.check.claims import SampleNoise
from privrobust.federated.check.findings import EVERYONE, Finding, judged, stated


def sample_noise(claim: SampleNoise) -> Iterator[Finding]:
    """Yield what holds against everyone who sees what a client sends."""
    needed = ["delta", "dataset_size", "batch_size", "epochs", "rounds"]
    needed += ["epsilon", "claimed_epochs"] if claim.finds_noise else ["noise_multiplier"]
    missing = [name for name in needed if getattr(claim, name) is None]
    if claim.lasts is None and not claim.finds_noise:
        missing.append("engine_lasts")
    is_of_noise = claim.epsilon is None and not claim.finds_noise
    said = "noise multiplier" if is_of_noise else "epsilon"
    number = claim.noise_multiplier if is_of_noise else claim.epsilon
    found = Finding(
        where=claim.where,
        what=claim.what,
        claim=f"{said} {'?' if number is None else f'{number:g}'}",
        claimed=claim.epsilon,
        delta=claim.delta,
        unit="example",
        adjacency="zero-out",
        against=EVERYONE,
        verdict="cannot be told",
        why="the source leaves numbers open",
        missing=tuple(missing),
    )
    if claim.noise_multiplier == 0:
        yield replace(
            found,
            holds=math.inf,
            verdict="does not hold",
            why="no noise is added",
            missing=(),
        )
    elif missing:
        yield found
    else:
        yield _accounted(claim, found)


def _accounted(claim: SampleNoise, found: Finding) -> Finding:
    delta, epochs, rounds = stated(claim.delta), stated(claim.epochs), stated(claim.rounds)
    n, batch = stated(claim.dataset_size), stated(claim.batch_size)
    batches = math.ceil(n / batch)
    per_epoch = batches if claim.is_poisson else 1  # fixed batches: an example is in one of them
    once = Release(
        noise_scale=0.0,
        clip_norm=1.0,
        batch_size=n / batches if claim.is_poisson else n,
        dataset_size=n,
        sampling="poisson" if claim.is_poisson and batches > 1 else "full",
        steps=epochs * per_epoch,
    )
    claimed_epochs = claim.claimed_epochs or 0.0
    if claim.finds_noise:
        covered = replace(once, steps=max(1, math.floor(claimed_epochs * per_epoch)))
        b = noise_scale(covered, stated(claim.epsilon), delta)
    else:
        b = stated(claim.noise_multiplier) * once.contribution
    once = replace(once, noise_scale=b)
    spent = spend(replace(once, steps=once.steps * rounds), delta)
    claimed = claim.epsilon
    if claimed is None:
        claimed = spent.epsilon if claim.lasts else spend(once, delta).epsilon
        found = replace(found, claim=f"{found.claim}: epsilon {claimed:.4g}", claimed=claimed)
    why = []
    if claim.finds_noise and claimed_epochs < epochs * rounds:
        why.append(f"the noise is for {claimed_epochs:g} epochs, and there are {epochs * rounds}")
    elif not claim.finds_noise and not claim.lasts and rounds > 1:
        why.append(f"an engine made anew reports one round, and {rounds} rounds compose")
    if not claim.is_poisson:
        why.append("batches that are no Poisson samples amplify nothing")
    return replace(
        found,
        holds=spent.epsilon,
        accountant=spent.accountant,
        verdict=judged(claimed, spent.epsilon),
        why="; ".join(why) or "Poisson batches of all rounds, counted together",
    )
