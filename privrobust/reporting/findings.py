"""What a sweep found, in a few sentences that are computed from its runs.

Rules are compared at one budget, on one data, under the worst attack of each, seed by seed, as
`privrobust.reporting.paired.leaders` says; what withstands and what breaks is told by
`privrobust.reporting.robustness.withstands`. What seeds do not decide is called undecided.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from textwrap import shorten

import pandas as pd

from privrobust.core.formatting import in_percent
from privrobust.reporting.contests import Budget, Data, Standing, contests
from privrobust.reporting.intervals import CONFIDENCE
from privrobust.reporting.legend import FEW_SEEDS, deltas
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.paired import Estimate, difference
from privrobust.reporting.robustness import Verdict
from privrobust.reporting.tables.choice import tested

_MOST = 4
"""Names, or groups of them, that a sentence lists."""
_LONGEST_REASON = 80  # characters
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
    if not data:
        return
    of, attacked = data[0], data[0].tried[0] > 0
    groups = groupby(of.standings.items(), key=lambda each: _outcome(each[1]))
    told = [_standing([*alike], attacked) for _, alike in groups]
    on = f"on {of.name}, the hardest of {len(data)} data, " if of.name else ""
    under = "under the worst attacks " if attacked else "without attackers "
    yield f"{_capital(f'{on}{under}')}{_cut(told, '; ')}."


def _outcome(standing: Standing) -> Hashable:
    """Tell standings apart that are not said in one breath."""
    if standing.verdict is Verdict.HOLDS:
        return standing.f, *(each.rule for each in standing.leaders)
    return standing.verdict, standing.f


def _standing(alike: Sequence[tuple[Budget, Standing]], attacked: bool) -> str:
    """Say who leads at neighbouring budgets of the same outcome."""
    at = _at([budget for budget, _ in alike])
    one = alike[0][1]
    kept = [_accuracy(standing.kept) for _, standing in alike]
    left = kept[0] if len(kept) == 1 else f"{kept[0]} to {kept[-1]}"
    rule, *others = (each.rule for each in one.leaders)
    f = f" f = {one.f} of {one.first.workers[one.f]}"
    if one.verdict is Verdict.BREAKS:
        return f"no rule withstands{f} {at} (the best keeps {left})"
    if one.verdict is Verdict.UNDECIDED:
        return f"it is undecided whether a rule withstands{f} {at} (the best keeps {left})"
    who = f"{rule} (undecided: or {_cut(others, 'or')})" if others else rule
    return f"{who} {f'withstands{f}' if attacked else 'is best'} {at} ({left})"


def _cost(data: Sequence[Data]) -> Iterator[str]:
    """Say how a leader at the least epsilon differs from itself at the largest, seed by seed."""
    if not data:
        return
    of = data[0]
    standings = list(of.standings.values())
    noisy = next((each for each in standings if each.verdict is Verdict.HOLDS), standings[0])
    names = {each: budget.name for budget in of.budgets for each in budget.settings}
    rule, f = noisy.first.rule, noisy.f
    same = [each for each in names if each.rule == rule and each.clean.values]
    base = max(same, key=lambda each: each.epsilon, default=noisy.first)
    if base.epsilon <= noisy.first.epsilon:
        yield f"What noise costs is not known: {rule} was run at a single epsilon."
        return
    changes = {"clean": difference(noisy.first.left(0), base.left(0))}
    if f:
        changes[f"against f = {f}"] = difference(noisy.first.left(f), base.left(f))
    told = [f"{_points(each)} {name}" for name, each in changes.items() if each.seeds]
    yield (
        f"Noise: epsilon {names[noisy.first]} in place of {names[base]} changes {rule} by "
        f"{' and '.join(told)}."
    )


def _breaks(data: Sequence[Data]) -> Iterator[str]:
    """Say which rules break at which budgets, on the hardest data."""
    if not data or not data[0].tried[0]:
        return
    of, f = data[0], data[0].tried[0]
    broken: dict[str, list[Budget]] = {}
    for budget in of.budgets:
        for each in budget.settings:
            if f in each.attacked and each.verdict(f) is Verdict.BREAKS:
                broken.setdefault(each.rule, []).append(budget)
    groups: dict[tuple[Budget, ...], list[str]] = {}
    for rule, budgets in broken.items():
        groups.setdefault(tuple(budgets), []).append(rule)
    told = [
        f"{_cut(rules)} {_everywhere(of, budgets)}"
        for budgets, rules in sorted(groups.items(), key=lambda each: -len(each[0]))
    ]
    what = "less than half of clean accuracy is left, or no more than chance"
    yield f"f = {f} breaks {_cut(told, '; ') or 'none for sure'} ({what})."


def _everywhere(data: Data, budgets: Sequence[Budget]) -> str:
    if len(budgets) == len(data.budgets):
        return "at every epsilon" if len(budgets) > 1 else _at(budgets)
    return _at(budgets, data.budgets)


def _at(budgets: Sequence[Budget], every: Sequence[Budget] = ()) -> str:
    """List budgets: `at epsilon 1.00 to 8.00` where they are neighbours in every one."""
    names = [budget.name for budget in budgets]
    places = [list(every).index(budget) for budget in budgets] if every else range(len(names))
    is_run = list(places) == list(range(places[0], places[0] + len(places)))
    if is_run and len(names) > 2:
        return f"at epsilon {names[0]} to {names[-1]}"
    return f"at epsilon {_cut(names)}"


def _sureness(runs: pd.DataFrame, data: Sequence[Data]) -> Iterator[str]:
    """Say how many seeds there are, what is undecided means, what failed and was not run."""
    seeds = runs["seed"].nunique()
    if seeds == 1:
        sure = "A single seed: no difference is decided"
    else:
        few = " (few)" if seeds < FEW_SEEDS else ""
        sure = (
            f"± is half of a {CONFIDENCE:.0%} interval over {seeds} seeds{few}; undecided is what "
            "those of paired differences do not tell"
        )
    failures = runs["failure"].dropna()
    more = []
    if len(failures):
        more.append(f"{len(failures):,} of {len(runs):,} runs failed ({_reason(failures)})")
    if not any(of.tried[0] for of in data):
        more.append("no attack was run")
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
    kind = "bounds" if finite["is_upper_bound"].all() else "partly ESTIMATES (~)"
    yield (
        f"epsilon {kind} what whoever sees every message of one run learns, at delta = "
        f"{deltas(finite)}; neighbours: {all_in_short(finite)}."
    )


def _accuracy(found: Estimate) -> str:
    mean, half = in_percent(found.mean, found.half)
    return f"{_joined(mean, half)}{_SPACE}%"


def _points(found: Estimate) -> str:
    mean, half = in_percent(found.mean, found.half)
    mean = mean if mean.startswith("-") else f"+{mean}"
    undecided = "" if found.low > 0 or found.high < 0 else " (undecided)"
    return f"{_joined(mean, half)}{_SPACE}points{undecided}"


def _joined(mean: str, half: str) -> str:
    return f"{mean}{_SPACE}±{_SPACE}{half}" if half else mean


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
