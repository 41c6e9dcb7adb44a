"""What a sweep found, in a few sentences that are computed from its runs.

Rules are compared at one budget, on one data, under the worst attack of each, seed by seed, as
`privrobust.reporting.paired.leaders` says; what withstands and what breaks is told by
`privrobust.reporting.robustness.withstands`. What seeds do not decide is called undecided.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from textwrap import shorten
from typing import TypeVar

import pandas as pd

from privrobust.core.formatting import in_percent, percent
from privrobust.reporting.contests import Budget, Data, Setting, Standing, contests
from privrobust.reporting.intervals import TOLD
from privrobust.reporting.legend import FEW_SEEDS, deltas
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.paired import Estimate, Values, difference
from privrobust.reporting.robustness import Verdict
from privrobust.reporting.tables.choice import tested

_MOST = 4
"""Names, epsilons, or groups of them, that a sentence lists."""
_MOST_ATTACKS = 8
_LONGEST_NAME = 60  # characters, of data and models
_LONGEST_REASON = 80
_PROTECTED = {"example": "each example of an honest worker", "worker": "each honest worker"}
Found = TypeVar("Found")
_SPACE = "\N{NO-BREAK SPACE}"


def findings(runs: pd.DataFrame) -> list[str]:
    """Say what a sweep found: which rule is best, what noise costs, what breaks, and how surely.

    Args:
        runs: a row a run, as from `Store.runs`; those on validation data are left out where there
            are others.

    Returns:
        A few sentences: what was run, and what failed; which rules may be the best at each epsilon,
        against the most Byzantine workers that some rule withstands there, on the data where rules
        keep least, and what attacks and noise take from them; what breaks; what these words mean,
        and how sure all of it is; what is promised to whom.

    """
    if runs.empty:
        return ["No run has finished."]
    runs = tested(runs)
    failures = runs["failure"].dropna()
    if len(failures) == len(runs):
        return [f"All {len(runs):,} runs failed: {_reason(failures)}."]
    data = contests(runs)
    return [
        _ran(runs, data),
        *_best(data),
        *_cost(data),
        *_breaks(data),
        _meaning(runs, data),
        _promise(runs),
    ]


# --- what was run ----------------------------------------------------------------------------


def _ran(runs: pd.DataFrame, data: Sequence[Data]) -> str:
    """Say what was run, what failed, and what is lacking for an answer."""
    attacks = sorted(map(str, runs["attack"].dropna().unique()))
    seeds, failures = runs["seed"].nunique(), runs["failure"].dropna()
    told = [
        ", ".join(
            _cut([_named(each) for each in runs[of].unique()]) for of in ("dataset", "model")
        ),
        _workers(runs),
        f"under {_cut(attacks, most=_MOST_ATTACKS)}" if attacks else "no attack",
        f"{seeds} seeds" if seeds > 1 else "a single seed",
    ]
    if len(failures):
        told.append(f"{len(failures):,} of {len(runs):,} runs failed ({_reason(failures)})")
    else:
        told.append(f"all of {len(runs):,} runs finished")
    if (runs["byzantine"] > 0).all():
        told.append("no clean run, without which nothing tells what withstands")
    if fewer := sum(of.faced_fewer for of in data):
        told.append(f"{fewer:,} worst cases are of fewer attacks than others, and not compared")
    if (runs["evaluate_on"] == "validation").all():
        told.append("all on validation data")
    return f"Run: {'; '.join(told)}."


def _named(thing: object) -> str:
    return shorten(str(thing), _LONGEST_NAME, placeholder=" ...")


def _workers(runs: pd.DataFrame) -> str:
    """Say how many workers there were, and of which kind."""
    f = _cut([str(f) for f in sorted(runs["byzantine"].unique()) if f], "or", most=_MOST_ATTACKS)
    workers, honest = sorted((runs["honest"] + runs["byzantine"]).unique()), runs["honest"].unique()
    if not f:
        return f"{_cut(list(map(str, workers)), 'or')} workers, all honest"
    if len(workers) == 1:
        return f"{workers[0]} workers, f = {f} of them Byzantine"
    beside = f"{honest[0]} honest ones" if len(honest) == 1 else "honest ones"
    return f"f = {f} Byzantine workers beside {beside}"


# --- what withstands, and what it costs ------------------------------------------------------


def _best(data: Sequence[Data]) -> Iterator[str]:
    """Say which rules to use, on the data where the best keep least."""
    of, attacked = data[0], data[0].tried[0] > 0
    if not of.standings:
        yield "No rule has all of its runs: those that failed may be those that were hit hardest."
        return
    groups = groupby(of.standings.items(), key=lambda each: _outcome(each[1]))
    told = [_standing([*alike], of) for _, alike in groups]
    on = f"on {of.name}, the hardest of {len(data)} kinds of data, " if of.name else ""
    under = "under the worst attacks" if attacked else "best"
    yield f"{_capital(on + under)}: {_cut(told, '; ')}."


def _outcome(standing: Standing) -> Hashable:
    """Tell standings apart that are not said in one breath."""
    if standing.verdict is Verdict.HOLDS:
        return standing.f, *(each.rule for each in standing.leaders)
    return standing.verdict, standing.f, standing.all_break


def _standing(alike: Sequence[tuple[Budget, Standing]], of: Data) -> str:
    """Say who leads at neighbouring budgets of the same outcome."""
    at = _at([budget for budget, _ in alike])
    one = alike[0][1]
    f = f"f = {one.f} of {one.first.workers[one.f]}"
    if one.verdict is not Verdict.HOLDS:
        kept = [_joined(standing.kept) for _, standing in alike]
        left = f"{kept[0] if len(kept) == 1 else f'{kept[0]} to {kept[-1]}'}{_SPACE}%"
        if one.all_break:
            return f"no rule withstands {f} {at} (the best keeps {left})"
        if one.verdict is Verdict.BREAKS:
            return f"the best rule breaks at {f} {at} (it keeps {left})"
        return f"undecided whether the best rule withstands {f} {at} (it keeps {left})"
    rule, *others = (each.rule for each in one.leaders)
    is_alone = all(len(budget.settings) == 1 for budget, _ in alike)
    who = f"{rule}, the only rule," if is_alone else rule
    who = f"{rule} (undecided against {_cut(others)})" if others else who
    does = f"{who} withstands {f} {at}, where it keeps" if one.f else f"{who} {at}, with"
    told = [
        _kept(standing, of, "" if len(alike) == 1 else f" at {budget.name}", in_full=not place)
        for place, (budget, standing) in enumerate(_spread(alike))
    ]
    return f"{does} {_cut(told)}"


def _kept(standing: Standing, of: Data, at: str, in_full: bool) -> str:
    """Say what the rule to use keeps, and what attacks and noise change, named where in full."""
    rule, f = standing.first, standing.f
    largest = _everywhere(rule, of)[-1][1]
    changes = []
    if f:
        by = f"{_SPACE}points by attacks" if in_full else ""
        changes.append(f"{_change(rule.left(f), rule.left(0))}{by}")
    if f and largest is not rule:
        by = " by noise" if in_full else ""
        changes.append(f"{_change(rule.left(f), largest.left(f))}{by}")
    told = f" ({', '.join(changes)})" if changes else ""
    return f"{_joined(standing.kept)}{_SPACE}%{at}{told}"


def _everywhere(rule: Setting, of: Data) -> list[tuple[Budget, Setting]]:
    """Find the same rule at every budget at which it has accuracies, by epsilon."""
    return [
        (budget, each)
        for budget in of.budgets
        for each in budget.settings
        if (each.rule, each.clipped) == (rule.rule, rule.clipped)
        and any(map(each.left, (0, *of.tried)))
    ]


def _headline(of: Data) -> Standing | None:
    """Return who withstands most at the least epsilon at which any does, or else who leads."""
    standings = list(of.standings.values())
    holds = (each for each in standings if each.verdict is Verdict.HOLDS)
    return next(holds, standings[0] if standings else None)


def _cost(data: Sequence[Data]) -> Iterator[str]:
    """Say how the rule to use differs without attackers, seed by seed, from the largest epsilon."""
    of = data[0]
    if (use := _headline(of)) is None:
        return
    rule = use.first.rule
    *others, (largest, base) = _everywhere(use.first, of)
    told = [
        f"{_change(each.left(0), base.left(0))}{'' if place else f'{_SPACE}points'} at "
        f"{'' if place else 'epsilon '}{budget.name}"
        for place, (budget, each) in enumerate(_spread(others))
    ]
    if told:
        yield (
            f"Without attackers noise{_there(of)} changes {rule} by {_cut(told)}, compared with "
            f"{largest.name}."
        )
    else:
        yield f"What noise costs is not known: {rule} was run at a single epsilon."


def _spread(found: Sequence[Found]) -> Sequence[Found]:
    """Keep the ends of many, and some between."""
    if len(found) <= _MOST:
        return found
    return [found[round(place * (len(found) - 1) / (_MOST - 1))] for place in range(_MOST)]


# --- what breaks -----------------------------------------------------------------------------


def _breaks(data: Sequence[Data]) -> Iterator[str]:
    """Say which rules break at which budgets, at the f of the rule to use and at the largest."""
    of, most = data[0], data[0].tried[0]
    use = _headline(of)
    fs = [f for f in dict.fromkeys((use.f if use else most, most)) if f]
    told = [f"f = {f}{_there(of)} breaks {_broken_at(of, f)}" for f in fs]
    if told:
        yield f"{'; '.join(told)}."


def _broken_at(of: Data, f: int) -> str:
    broken = {budget: _broken(budget, f) for budget in of.budgets}
    told = [
        f"{rules} {_at(list(alike))}"
        for rules, alike in groupby(of.budgets, key=broken.__getitem__)
        if rules
    ]
    return _cut(told, ", and ") or "nothing for sure"


def _broken(budget: Budget, f: int) -> str:
    """Name the rules that so many surely break."""
    tried = [each for each in budget.settings if f in each.attacked]
    broken = [each.rule for each in tried if each.verdict(f) is Verdict.BREAKS]
    others = [each.rule for each in tried if each.rule not in broken]
    if len(tried) > 1 and len(others) < min(2, len(broken)):
        return " but ".join(["every rule", *others])
    return _cut(broken)


def _at(budgets: Sequence[Budget]) -> str:
    """Name neighbouring budgets."""
    names = [budget.name for budget in budgets]
    return f"at epsilon {f'{names[0]} to {names[-1]}' if len(names) > 2 else _cut(names)}"


# --- what that means -------------------------------------------------------------------------


def _meaning(runs: pd.DataFrame, data: Sequence[Data]) -> str:
    """Say what the words mean, and how sure they are."""
    told = []
    if data[0].tried[0]:
        chances = sorted({percent(each.clean.chance) for each in data[0].settings} - {""})
        chance = f" ({' or '.join(chances)}{_SPACE}%)" if chances else ""
        told.append(
            "a rule withstands where it surely keeps half of its clean accuracy and more than "
            f"chance{chance}, and breaks where it surely does not"
        )
    seeds = runs["seed"].nunique()
    if seeds == 1:
        told.append("a single seed decides nothing")
    else:
        few = " (few)" if seeds < FEW_SEEDS else ""
        told.append(
            f"±: half of a {TOLD} interval over {seeds} seeds{few}; undecided: differences seed by "
            "seed leave it open"
        )
    return f"{_capital('; '.join(told))}."


def _promise(runs: pd.DataFrame) -> str:
    """Say what epsilon promises to whom, or why there is none."""
    finite = runs[runs["epsilon"] < math.inf]
    if finite.empty:
        reasons = runs["not_private"].dropna().unique()
        return f"Nothing is private: {' or '.join(reasons) or 'no run has an epsilon'}."
    whom = _cut([_PROTECTED.get(unit, unit) for unit in finite["unit"].unique()])
    delta = deltas(finite).replace(", ", " or ")
    estimates = "" if finite["is_upper_bound"].all() else "; after ~ an ESTIMATE alone"
    return (
        f"Promised to {whom}, against whoever sees every message of one run, the server too: "
        f"(epsilon, {delta})-differential privacy{estimates}; neighbours: {all_in_short(finite)}."
    )


# --- in words --------------------------------------------------------------------------------


def _there(data: Data) -> str:
    return " there" if data.name else ""


def _joined(found: Estimate) -> str:
    mean, half = in_percent(found.mean, found.half)
    return f"{mean}{_SPACE}±{_SPACE}{half}" if half else mean


def _change(new: Values, old: Values) -> str:
    """Write by how much accuracies differ seed by seed, with a sign; `?` where no seed has both."""
    found = difference(new, old)
    return f"{'' if found.mean < 0 else '+'}{_joined(found)}" if found.seeds else "?"


def _cut(names: Sequence[str], between: str = "and", most: int = _MOST) -> str:
    """List names, at most so many; the last after a word, or all with what is no word between."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    if not between.isalpha() or len(names) < 2:
        return between.join(names)
    return f"{', '.join(names[:-1])} {between} {names[-1]}"


def _reason(failures: pd.Series) -> str:
    reasons = list(map(str, failures.unique()))
    more = f", and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
    return shorten(reasons[0], _LONGEST_REASON, placeholder=" ...") + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
