"""Audits side by side: what observers got out of runs, against what is claimed of them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import pandas as pd

from privrobust.audit import AuditResult
from privrobust.audit.tails import TAILS
from privrobust.core.formatting import number, rounded_down, rounded_up
from privrobust.errors import SpecError, shown
from privrobust.reporting.neighbours import in_short
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.spec import RunSpec
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import heading, named, symbol
from privrobust.training.privacy_plan import PrivacyPlan

_TELLING = named(lambda field: field.role not in (Role.SEED, Role.PLACE))
_MARKS = "¹²³"
ROUNDING = "Rounded so that nothing is overstated: found and share down, claimed and p up."
MEANING = (
    "A small epsilon found proves nothing: another attack may find more. No attack proves privacy."
)


def audit_frame(results: Sequence[AuditResult]) -> pd.DataFrame:
    """Make a row a result, with all digits: fields in which the runs differ, then what was found.

    Args:
        results: as from `privrobust.audit.audits`, of runs.

    """
    rows = []
    for setting, result in zip(_settings(results), results, strict=True):
        record = result.as_record() | {"claimed": result.claimed}
        for nested in ("assumed", "counts", "spec", "rule"):
            del record[nested]
        rows.append(setting | record)
    return pd.DataFrame(rows)


def _settings(results: Sequence[AuditResult]) -> list[dict[str, str]]:
    """Return of every result its rule, and each other field in which the runs differ."""
    fields = [
        field
        for field in _TELLING
        if field == "aggregator" or len({_text(result, field) for result in results}) > 1
    ]
    fields.sort(key=lambda field: field != "aggregator")
    return [{field: _text(result, field) for field in fields} for result in results]


def _spec(result: AuditResult) -> RunSpec:
    if result.spec is None:
        raise SpecError(f"results: {shown(result.rule)} is no run; accepted: audits of runs")
    return result.spec


def _text(result: AuditResult, field: str) -> str:
    value = getattr(_spec(result), field)
    return "none" if value is None else number(value)


def labels(results: Sequence[AuditResult]) -> list[str]:
    """Name of every result the run and, where there are several kinds, the canaries."""
    several = len({result.canaries for result in results}) > 1
    found = []
    for setting, result in zip(_settings(results), results, strict=True):
        rule, *others = setting.items()
        parts = [rule[1], *(f"{symbol(name)} = {text}" for name, text in others)]
        found.append(", ".join([*parts, *([result.canaries] if several else [])]))
    return found


def laid_out(results: Sequence[AuditResult]) -> Layout:
    """Make the table that people read: a row a run, kind of canaries and observer."""
    settings, reasons = _settings(results), _reasons(results)
    heads = [Column((heading(name),), is_text=True) for name in settings[0]]
    heads += [Column((name,), is_text=True) for name in ("canaries", "observer")]
    measured = ("helpers", "claimed", "found", "if Gaussian", "share", "p", "verdict", "attack")
    heads += [Column((name,)) for name in measured]
    rows = [
        [
            *setting.values(),
            result.canaries,
            result.observer,
            str(result.helpers),
            f"{rounded_up(result.claimed, 4)}{_mark(result, reasons)}",
            rounded_down(result.epsilon_lower_bound, 4),
            rounded_down(result.epsilon_if_gaussian, 4),
            share(result),
            rounded_up(result.p_value, 2),
            verdict(result),
            result.attack,
        ]
        for setting, result in zip(settings, results, strict=True)
    ]
    runs = groupby(zip(labels(results), rows, strict=True), key=lambda labelled: labelled[0])
    blocks = [[[Entry(text) for text in row] for _, row in block] for _, block in runs]
    return Layout(heads, blocks, list(_notes(results, reasons)))


def share(result: AuditResult) -> str:
    """Write how much of the claim was found, rounded down; nothing where nothing is claimed."""
    if math.isinf(result.claimed):
        return "-"
    if math.isinf(result.ratio):
        return "∞"
    return f"{math.floor(100 * result.ratio)} %"


def verdict(result: AuditResult) -> str:
    """Say whether the claim stands."""
    if math.isinf(result.claimed):
        return "no claim"
    if not result.is_refuted:
        return "stands"
    return "refuted" if result.counterexample or not result.is_estimate else "estimate too low"


def together(results: Sequence[AuditResult]) -> str:
    """Say with which confidence results hold, once for all."""
    # each row has its part of its audit's risk, and risks add up
    risk = sum((1 - result.confidence) / result.rows for result in results)
    count, confidence = len(results), f"{max(0.0, 100 * (1 - risk)):.6g} %"
    if {result.rows for result in results} != {count}:
        return (
            "Rows are of several audits, or some of those of one: with what each leaves to chance, "
            f"bounds and verdicts of all {count} hold together with confidence {confidence}."
        )
    if count == 1:
        return f"The bounds and the verdict hold together with confidence {confidence}."
    return f"Bounds and verdicts of all {count} rows hold together with confidence {confidence}."


def claims(results: Sequence[AuditResult]) -> str:
    """Say of the claims at which delta they are, whose, and of which neighbours."""
    deltas = _listed(number(result.delta) for result in results)
    whose = _listed(_vouchers(results))
    kinds = _listed(in_short(_spec(result).unit, result.adjacency) for result in results)
    return f"epsilon at delta = {deltas}, by {whose}; {kinds}"


def _vouchers(results: Sequence[AuditResult]) -> Iterator[str]:
    """Yield accountants, each with its rules where it is not that of all."""
    rules: dict[str, dict[str, None]] = {}
    for result in results:
        rules.setdefault(result.accountant, {})[result.rule] = None
    every = {result.rule for result in results}
    for name, of in rules.items():
        yield name if len(of) == len(every) else f"{name} for {' and '.join(of)}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _notes(results: Sequence[AuditResult], reasons: dict[str, str]) -> Iterator[str]:
    """Say what has to be read with the numbers."""
    yield f"claimed: {claims(results)}."
    papers = _listed(result.bound.paper for result in results)
    yield f"found: epsilon is no less, whatever the mechanism; {papers}."
    yield "if Gaussian: no less, if what was attacked hides as Gaussian noise does."
    refuted = _listed(f"{100 * (1 - result.confidence):.6g} %" for result in results)
    yield (
        "p: the chance of such an attack if the claim held, corrected for all tests; a claim is "
        f"refuted below {refuted}, or where more is found than claimed."
    )
    examples = dict.fromkeys(each.counterexample for each in results if each.counterexample)
    yield from (f"Seen, without any chance: {example}." for example in examples)
    if any(result.is_estimate for result in results):
        yield "The claim of an accountant that bounds nothing is an estimate; one may be too low."
    yield together(results)
    yield MEANING
    yield ROUNDING
    counts = _listed(_counts(result) for result in results)
    assumed = "; ".join(dict.fromkeys(each for result in results for each in result.assumed))
    yield f"Tried: {counts}. Assumed: {assumed}."
    yield from (f"{mark} not private: {reason}." for reason, mark in reasons.items())


def _counts(result: AuditResult) -> str:
    if result.canaries == TAILS:
        return f"{result.runs} draws of noise"
    canaries = "one canary" if result.per_run == 1 else f"{result.per_run} canaries"
    return f"{result.runs} run{'s' * (result.runs > 1)} with {canaries} each"


def _reasons(results: Sequence[AuditResult]) -> dict[str, str]:
    """Return why nothing is claimed of runs, and the mark of each reason."""
    found = dict.fromkeys(_reason(result) for result in results if math.isinf(result.claimed))
    return {reason: _MARKS[min(place, 2)] for place, reason in enumerate(found)}


def _reason(result: AuditResult) -> str:
    return str(PrivacyPlan(_spec(result)).spent.reason)


def _mark(result: AuditResult, reasons: dict[str, str]) -> str:
    return reasons[_reason(result)] if math.isinf(result.claimed) else ""
