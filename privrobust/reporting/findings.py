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
from privrobust.reporting.contests import Budget, Data, Standing, contests
from privrobust.reporting.intervals import TOLD
from privrobust.reporting.legend import FEW_SEEDS, deltas
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.paired import Estimate, Values, difference
from privrobust.reporting.robustness import Verdict
from privrobust.reporting.tables.choice import tested

_MOST = 4
"""Names, or groups of them, that a sentence lists."""
_MOST_PRICES = 3
"""Epsilons at which a sentence says what they cost."""
_LONGEST_REASON = 80  # characters
Found = TypeVar("Found")
_SPACE = "\N{NO-BREAK SPACE}"


def findings(runs: pd.DataFrame) -> list[str]:
    """Say what a sweep found: which rule is best, what noise costs, what breaks, and how surely.

    Args:
        runs: a row a run, as from `Store.runs`; those on validation data are left out where there
            are others.

    Returns:
        A few sentences: which rules may be the best at each epsilon, against the most Byzantine
        workers that were tried, on the data where rules keep least and on those where they keep
        most; what noise costs; what breaks; how sure that is, and what failed; what epsilon
        promises, and to whom.

    """
    if runs.empty:
        return ["No run has finished."]
    runs = tested(runs)
    failures = runs["failure"].dropna()
    if len(failures) == len(runs):
        return [f"All {len(runs):,} runs failed: {_reason(failures)}."]
    data = contests(runs)
    return [*_best(data), *_cost(data), *_breaks(data), *_sureness(runs, data), *_promise(runs)]


def _best(data: Sequence[Data]) -> Iterator[str]:
    """Say which rules to use, on the data where the best keep least."""
    of, attacked = data[0], data[0].tried[0] > 0
    if not of.standings:
        yield "No rule has all of its runs: those that failed may be those that were hit hardest."
        return
    groups = groupby(of.standings.items(), key=lambda each: _outcome(each[1]))
    told = [_standing([*alike], attacked) for _, alike in groups]
    on = f"on {of.name}, the hardest of {len(data)} kinds of data, " if of.name else ""
    under = "best under the worst attacks" if attacked else "best without attackers"
    yield f"{_capital(f'{on}{under}')}: {_cut(told, '; ')}."


def _outcome(standing: Standing) -> Hashable:
    """Tell standings apart that are not said in one breath."""
    if standing.verdict is Verdict.HOLDS:
        return standing.f, *(each.rule for each in standing.leaders)
    return standing.verdict, standing.f, standing.all_break


def _standing(alike: Sequence[tuple[Budget, Standing]], attacked: bool) -> str:
    """Say who leads at neighbouring budgets of the same outcome."""
    at = _at([budget for budget, _ in alike])
    one = alike[0][1]
    kept = [_joined(standing.kept) for _, standing in alike]
    left = f"{kept[0] if len(kept) == 1 else f'{kept[0]} to {kept[-1]}'}{_SPACE}%"
    rule, *others = (each.rule for each in one.leaders)
    f = f" f = {one.f} of {one.first.workers[one.f]}"
    if one.all_break:
        return f"no rule withstands{f} {at} (the best keeps {left})"
    if one.verdict is Verdict.BREAKS:
        return f"the best rule breaks at{f} {at} (it keeps {left})"
    if one.verdict is Verdict.UNDECIDED:
        return f"undecided whether the best rule withstands{f} {at} (it keeps {left})"
    is_alone = all(len(budget.settings) == 1 for budget, _ in alike)
    who = f"{rule}, the only rule," if is_alone else rule
    who = f"{rule} (undecided: or {_cut(others, 'or')})" if others else who
    return f"{who}{f' withstands{f}' if attacked else ''} {at} ({left})"


def _cost(data: Sequence[Data]) -> Iterator[str]:
    """Say how a rule to use differs, seed by seed, from itself at the largest epsilon.

    That is the one that withstands most at the least epsilon at which any withstands.
    """
    of = data[0]
    standings = list(of.standings.values())
    if not standings:
        return
    noisy = next((each for each in standings if each.verdict is Verdict.HOLDS), standings[0])
    rule, f = noisy.first.rule, noisy.f
    same = [
        (budget, each)
        for budget in of.budgets
        for each in budget.settings
        if (each.rule, each.clipped) == (rule, noisy.first.clipped)
        and (each.left(0) or each.left(f))
    ]
    *others, (largest, base) = same
    told: list[str] = []
    for budget, each in _spread(others):
        points = [_change(each.left(at), base.left(at)) for at in dict.fromkeys((0, f))]
        if not told:  # the others are in the same order
            points[0] += f"{_SPACE}points clean"
            points[1:] = [f"{each} against f = {f}" for each in points[1:]]
        told.append(f"{' and '.join(points)} at {'' if told else 'epsilon '}{budget.name}")
    if not told:
        yield f"What noise costs is not known: {rule} was run at a single epsilon."
        return
    changes = _cut(told, "; ")
    yield f"Noise{_there(of)} changes {rule}, compared with epsilon {largest.name}, by {changes}."


def _spread(found: Sequence[Found]) -> Sequence[Found]:
    """Keep the ends of many, and some between."""
    if len(found) <= _MOST_PRICES:
        return found
    last = _MOST_PRICES - 1
    return [found[round(place * (len(found) - 1) / last)] for place in range(_MOST_PRICES)]


def _breaks(data: Sequence[Data]) -> Iterator[str]:
    """Say which rules the largest f breaks at which budgets, on the hardest data."""
    of, f = data[0], data[0].tried[0]
    if not f:
        return
    broken = {budget: _broken(budget, f) for budget in of.budgets}
    told = [
        f"{rules} {_at(list(alike))}"
        for rules, alike in groupby(of.budgets, key=broken.__getitem__)
        if rules
    ]
    chances = sorted({percent(each.clean.chance) for each in of.settings} - {""})
    chance = f"chance, {' or '.join(chances)}{_SPACE}%" if chances else "chance"
    yield (
        f"f = {f}{_there(of)} breaks {_cut(told, '; ') or 'nothing for sure'} (leaves under half "
        f"of clean accuracy, or {chance})."
    )


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


def _sureness(runs: pd.DataFrame, data: Sequence[Data]) -> Iterator[str]:
    """Say how many seeds there are, what is undecided means, what failed and was not run."""
    seeds = runs["seed"].nunique()
    if seeds == 1:
        sure = "A single seed: no difference is decided"
    else:
        few = " (few)" if seeds < FEW_SEEDS else ""
        sure = (
            f"± is half of a {TOLD} interval over {seeds} seeds{few}; undecided: those of "
            "paired differences do not tell"
        )
    failures = runs["failure"].dropna()
    more = []
    if failures.empty:
        more.append(f"all of {len(runs):,} runs finished")
    else:
        more.append(f"{len(failures):,} of {len(runs):,} runs failed ({_reason(failures)})")
    if not (runs["byzantine"] > 0).any():
        more.append("no attack was run")
    if (runs["byzantine"] > 0).all():
        more.append("no clean run, without which nothing tells what withstands")
    if fewer := sum(of.faced_fewer for of in data):
        more.append(f"{fewer:,} worst cases are of fewer attacks than others, and not compared")
    if (runs["evaluate_on"] == "validation").all():
        more.append("all on validation data")
    yield "; ".join([sure, *more]) + "."


def _promise(runs: pd.DataFrame) -> Iterator[str]:
    """Say what epsilon promises to whom, or why there is none."""
    finite = runs[runs["epsilon"] < math.inf]
    if finite.empty:
        reasons = runs["not_private"].dropna().unique()
        yield f"Nothing is private: {' or '.join(reasons) or 'no run has an epsilon'}."
        return
    estimates = "" if finite["is_upper_bound"].all() else "; after ~ an ESTIMATE alone"
    yield (
        f"epsilon (delta {deltas(finite)}{estimates}) limits how well whoever sees every message "
        f"of one run can tell its data from neighbours: {all_in_short(finite)}."
    )


def _there(data: Data) -> str:
    return " there" if data.name else ""


def _joined(found: Estimate) -> str:
    mean, half = in_percent(found.mean, found.half)
    return f"{mean}{_SPACE}±{_SPACE}{half}" if half else mean


def _change(new: Values, old: Values) -> str:
    """Write by how much accuracies differ seed by seed, with a sign; `?` where no seed has both."""
    found = difference(new, old)
    return f"{'' if found.mean < 0 else '+'}{_joined(found)}" if found.seeds else "?"


def _cut(names: Sequence[str], between: str = "and") -> str:
    """List names, at most so many; the last after a word, or all with semicolons between."""
    if len(names) > _MOST:
        names = [*names[:_MOST], f"{len(names) - _MOST} more"]
    if between == "; " or len(names) < 2:
        return between.join(names)
    return f"{', '.join(names[:-1])} {between} {names[-1]}"


def _reason(failures: pd.Series) -> str:
    reasons = list(map(str, failures.unique()))
    more = f", and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
    return shorten(reasons[0], _LONGEST_REASON, placeholder=" ...") + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
