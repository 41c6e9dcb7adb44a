"""Audits of runs: canaries go through the whole of training, and observers look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from privrobust.accountants import Release, noise_scale, spend
from privrobust.audit.audited_runs import Asked, AuditedRuns
from privrobust.audit.canaries import Coordinate, ExampleCanary, Orthogonal, canary
from privrobust.audit.lower_bound import check_confidence
from privrobust.audit.result import AuditResult
from privrobust.audit.tails import TAILS, audit_tails
from privrobust.audit.trade_offs import Claim, TradeOff, claim
from privrobust.audit.trials import Trials
from privrobust.audit.verdict import LEAST_TRIALS, confidence_of_each, corrected, judge
from privrobust.audit.watching import OBSERVERS, Observer
from privrobust.core.numbers import as_float, as_whole
from privrobust.errors import SpecError, shown
from privrobust.spec import RunSpec

Adjacency = Literal["replace-one"]

RUNS = 1000


def audit(
    spec: RunSpec,
    observer: Observer = "messages",
    canaries: str = "coordinate",
    *,
    helpers: int = 0,
    runs: int = RUNS,
    per_run: int = 1,
    adjacency: Adjacency | None = None,
    claimed: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> AuditResult:
    """Attack a run's privacy, and return what that proves of its epsilon.

    Runs like it train with canaries, each of which is in by a fair coin, and the observer is to
    tell from what it sees which were.

    Args:
        spec: the run. Its seed is not used: each run of the audit has one of its own, and deals
            the data by it.
        observer: who sees "messages", "aggregates" or the last "model".
        canaries: "coordinate", "orthogonal" or "update", gradients that are planted; or
            "mislabelled", "blank" or "out_of_distribution", examples; or "tails", which plants
            nothing and looks at the tails of the run's noise (`audit_tails`).
        helpers: f Byzantine workers in place of the run's own, who see all messages and help.
        runs: how many train; before them a pilot, with up to a fifth as many.
        per_run: canaries in each. One makes runs independent trials (Clopper-Pearson); many share
            a run, so that few runs do (Steinke, Nasr, Jagielski 2023), which proves less of each.
        adjacency: None for the run's own neighbours, one of which lacks the canary; "replace-one"
            exchanges it: for the opposite gradient, or for the example whose place it takes.
        claimed: the epsilon to be held against the attack, at the run's delta; by default what
            its accountant says. At other deltas a stated one claims what runs with as much noise
            as it takes would.
        confidence: with which the result holds.
        seed: of what the audit draws.

    Raises:
        SpecError: as the run's own training and accountant; or a setting that an audit does not
            accept.

    """
    (found,) = audits(
        [spec],
        [observer],
        [canaries],
        helpers=helpers,
        runs=runs,
        per_run=per_run,
        adjacency=adjacency,
        claimed=claimed,
        confidence=confidence,
        seed=seed,
    )
    return found


def audits(
    specs: Sequence[RunSpec],
    observers: Sequence[Observer] = OBSERVERS,
    canaries: Sequence[str] = ("coordinate",),
    *,
    helpers: int = 0,
    runs: int = RUNS,
    per_run: int = 1,
    adjacency: Adjacency | None = None,
    claimed: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    on_step: Callable[[float], object] = lambda runs: None,
) -> list[AuditResult]:
    """Audit runs for several observers and canaries; all results hold together at `confidence`.

    Arguments and errors are as of `audit`.

    Args:
        specs: the runs.
        observers: who looks.
        canaries: of which kinds.
        helpers: as of `audit`.
        runs: as of `audit`.
        per_run: as of `audit`.
        adjacency: as of `audit`.
        claimed: as of `audit`, of every run.
        confidence: with which all results hold together.
        seed: as of `audit`.
        on_step: called after every step with how many runs that is, such as 0.5 where one of two
            steps of one run was taken. The last model's observer has runs of its own, and
            tails count as as many.

    Returns:
        A result for each run, kind of canary and observer, in that order; tails come last of a run.

    """
    for each in specs:
        if not isinstance(each, RunSpec):
            raise SpecError(f"spec: {shown(each)} is not a RunSpec")
    for name, values in (("observer", observers), ("canaries", canaries)):
        if isinstance(values, str) or not values:
            raise SpecError(f"{name}: {shown(values)} is not a list of at least one name")
    for observer in observers:
        if observer not in OBSERVERS:
            raise SpecError(f"observer: {shown(observer)} is not one of {', '.join(OBSERVERS)}")
    if adjacency not in (None, "replace-one"):
        raise SpecError(f"adjacency: {shown(adjacency)} is not accepted: None or 'replace-one'")
    if claimed is not None:
        claimed = as_float("claimed", claimed, "a finite number from 0 up", least=0)
    asked = Asked(
        helpers=as_whole("helpers", helpers, "a whole number from 0 up", least=0),
        runs=as_whole("runs", runs, "a whole number from 1 up", least=1),
        per_run=as_whole("per_run", per_run, "a whole number from 1 up", least=1),
        opposed=adjacency == "replace-one",
        seed=as_whole("seed", seed, "a whole number from 0 up", least=0),
        on_step=on_step,
    )
    if asked.runs * asked.per_run < LEAST_TRIALS:
        raise SpecError(
            f"runs, per_run: {asked.runs} x {asked.per_run} canaries; accepted: at least "
            f"{LEAST_TRIALS} in all"
        )
    kinds = {name: canary(name) for name in canaries if name != TAILS}
    if TAILS in canaries and ("messages" not in observers or asked.opposed):
        raise SpecError(
            f"canaries: {TAILS}: noise is looked at in messages, of the run's own neighbours; "
            "accepted: with observer messages, and no adjacency"
        )
    confidence = check_confidence(confidence)
    cells = len(specs) * (len(kinds) * len(observers) + (TAILS in canaries))
    audited = [[AuditedRuns(spec, kind, asked) for kind in kinds.values()] for spec in specs]
    # first, as what cannot be drawn is to be refused before hours of training
    tails = [
        [_tails(spec, claimed, confidence, cells, asked)] if TAILS in canaries else []
        for spec in specs
    ]
    found: list[AuditResult] = []
    for of_spec, of_tails in zip(audited, tails, strict=True):
        for of_kind in of_spec:
            for observer, trials in of_kind.trials(observers):
                found.append(_result(of_kind, observer, trials, claimed, confidence, cells))
        found += of_tails
    return found


def _tails(
    spec: RunSpec, claimed: float | None, confidence: float, cells: int, asked: Asked
) -> AuditResult:
    """Return what the tails of a run's noise say, with the confidence of a table of cells."""
    found = audit_tails(
        spec,
        confidence=confidence_of_each(confidence, cells),
        claimed=claimed,
        on_draws=lambda share: asked.on_step(share * asked.runs),
    )
    p_value = corrected(found.p_value, cells)
    return replace(found, confidence=confidence, p_value=p_value, rows=cells)


def _result(
    runs: AuditedRuns,
    observer: Observer,
    trials: Trials,
    stated: float | None,
    confidence: float,
    cells: int,
) -> AuditResult:
    """Return what one observer's trials say, with the confidence of a table of cells."""
    spec, asked, release = runs.given, runs.asked, runs.release
    if asked.opposed:
        release = replace(release, adjacency="replace-one")
    curve: TradeOff | None = None
    is_estimate = False
    if stated is not None:
        claimed, accountant = stated, "stated"
        curve = _curve_through(stated, release, spec)
    else:
        spent = spend(release, spec.delta, spec.accountant)
        claimed, accountant = spent.epsilon, spent.accountant
        is_estimate = not spent.is_upper_bound
        if np.isfinite(claimed):
            curve = claim(release, spec.delta, spec.accountant)
    each = confidence_of_each(confidence, cells)
    verdict = judge(trials, spec.delta, each, curve, runs.drawn(observer))
    return AuditResult(
        epsilon_lower_bound=verdict.proven.epsilon_lower_bound,
        epsilon_if_gaussian=verdict.if_gaussian.epsilon_lower_bound,
        claimed=claimed,
        delta=spec.delta,
        p_value=corrected(verdict.p_value, cells),
        confidence=confidence,
        attack=verdict.attack,
        observer=observer,
        canaries=runs.kind.name,
        helpers=asked.helpers,
        rule=spec.aggregator,
        spec=spec,
        accountant=accountant,
        adjacency=str(release.adjacency),
        runs=asked.runs,
        per_run=asked.per_run,
        assumed=tuple(_assumed(runs, observer)),
        bound=verdict.proven,
        rows=cells,
        is_estimate=is_estimate,
        counterexample=runs.counterexample,
    )


def _curve_through(stated: float, release: Release, spec: RunSpec) -> TradeOff:
    """Return what runs of this kind would claim at every delta, if they had that epsilon."""
    try:
        # by the tightest accountant: the noise of a looser one would claim too much elsewhere
        scale = noise_scale(release, stated, spec.delta)
        return claim(replace(release, noise_scale=scale), spec.delta)
    except SpecError:  # no noise of that law has it
        return Claim([(stated, spec.delta)])


def _assumed(runs: AuditedRuns, observer: Observer) -> Iterator[str]:
    """Say what the result rests on."""
    kind, asked, spec = runs.kind, runs.asked, runs.given
    many = "" if asked.per_run == 1 else f", {asked.per_run} in each run"
    yield f"canaries: {kind.says}{many}"
    yield "the observer knows parameters, all other examples and which of them joined"
    if observer == "model" and not isinstance(kind, Coordinate | Orthogonal):
        yield "who sees the last model is told along which directions canaries moved it"
    if not isinstance(kind, ExampleCanary):
        yield "a worker that holds a canary holds nothing else; other workers hold their data"
    if asked.helpers and observer != "messages":
        yield f"{asked.helpers} Byzantine workers see every message and repeat the canary's"
    if spec.partition != "similarity" or spec.heterogeneity:
        yield "examples are dealt anew in each run; the claim is that of the smallest share"
    if asked.per_run == 1:
        yield "runs are independent: noise, batches, starts and coins are drawn anew"
    else:
        yield "each canary joined by a coin of its own"
