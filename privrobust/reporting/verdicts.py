"""What is said of contests: who withstands what, what that costs, and what breaks."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby

from privrobust.core.formatting import NBSP
from privrobust.reporting.contests import (
    Budget,
    Data,
    Outcome,
    Setting,
    Standing,
    is_hardest_first,
)
from privrobust.reporting.legend import chances
from privrobust.reporting.paired import estimate
from privrobust.reporting.phrases import MOST, capital, change, ends, listed, share, spread

# --- what withstands -------------------------------------------------------------------------


def best(data: Sequence[Data]) -> str:
    """Say which rules to use at each epsilon, on the data where the best keep least."""
    of, attacked = data[0], data[0].tried[0] > 0
    groups = groupby(of.budgets, key=_alike)
    told = [_told([*alike], of) for _, alike in groups]
    under = "under the worst attacks" if attacked else "best"
    return f"{capital(_on(data) + under)}: {listed(told, '; ', most=2 * MOST)}."


def _on(data: Sequence[Data]) -> str:
    """Say of which data the sentences are, and why of these."""
    if not data[0].name:
        return ""
    others = f"{len(data)} such settings"
    if is_hardest_first(data):
        return f"on {data[0].name}, where the best rules keep least of {others}, "
    return f"on {data[0].name}, one of {others} (of other runs: which is harder is open), "


def _alike(budget: Budget) -> Hashable:
    """Tell budgets apart of which not the same is said."""
    standing = budget.standing
    if standing is None:
        return frozenset(_out(budget))
    if standing.outcome is Outcome.HOLDS:
        return standing.f, *(each.rule for each in standing.leaders)
    return standing.outcome, standing.f, standing.all_break


def _out(budget: Budget) -> set[Outcome]:
    """Tell why no rule can be judged, at the f at which most can."""
    return set(budget.outcomes[budget.tried[-1]].values())


def _told(alike: Sequence[Budget], of: Data) -> str:
    """Say who leads at neighbouring epsilons of the same outcome."""
    at = _at(alike)
    standings = [budget.standing for budget in alike if budget.standing]
    if not standings:
        why = sorted(each.value for each in _out(alike[0]))
        return f"no rule can be judged {at} ({' or '.join(why)})"
    one = standings[0]
    if one.outcome is not Outcome.HOLDS:
        return f"{_unsure(one)} {at} ({_range(standings)})"
    f = f"f = {one.f} of {one.first.workers[one.f]}"
    rule, *others = (each.rule for each in one.leaders)
    who = f"{rule}, the only rule," if len(of.rules) == 1 else rule
    who = f"{rule} (undecided against {listed(others)})" if others else who
    does = f"{who} withstands {f} {at}, where it keeps" if one.f else f"{who} {at}, with"
    kept = [
        _kept(
            budget,
            of,
            at=f" at {budget.name}" if len(alike) > 1 else "",
            points="" if place else f"{NBSP}points",
        )
        for place, budget in enumerate(spread(alike))
    ]
    return f"{does} {listed(kept)}"


def _unsure(standing: Standing) -> str:
    f = f"f = {standing.f} of {standing.first.workers[standing.f]}"
    if standing.all_break:
        return f"no rule withstands {f}"
    if standing.outcome is Outcome.BREAKS:
        return f"{standing.first.rule}, which keeps most, breaks at {f}"
    return f"undecided whether the best rule withstands {f}"


def _range(standings: Sequence[Standing]) -> str:
    """Say what the best keep, from least to most."""
    kept = sorted((standing.kept for standing in standings), key=lambda each: each.mean)
    ends_of = dict.fromkeys(map(share, (kept[0], kept[-1])))
    return f"the best keeps {' to '.join(ends_of)}{NBSP}%"


def _kept(budget: Budget, of: Data, at: str, points: str) -> str:
    """Say what the rule to use keeps, what it spends, and what attacks and noise change."""
    standing = budget.standing
    assert standing
    rule, f = standing.first, standing.f
    told = [] if budget.is_spent_by(rule) else [f"spending {rule.spent}"]
    if f and (by := change(rule.left(f), rule.left(0))):
        told.append(f"{by}{points} against no attackers")
    base = of.everywhere(rule)[-1]
    is_fair = rule.faced(f) == base.faced(f) and not base.clean.near_chance
    if f and base is not rule and is_fair and (by := change(rule.left(f), base.left(f))):
        told.append(f"{by} against epsilon {base.spent}")
    extra = f" ({', '.join(told)})" if told else ""
    return f"{share(standing.kept)}{NBSP}%{at}{extra}"


# --- what noise costs ------------------------------------------------------------------------


def cost(data: Sequence[Data]) -> Iterator[str]:
    """Say how the rule to use differs without attackers, seed by seed, from the largest epsilon."""
    of = data[0]
    if (standing := of.to_use) is None:
        return
    rule = standing.first.rule
    if not (found := [each for each in of.everywhere(standing.first) if each.left(0)]):
        return
    *others, base = found
    changes = [(each, by) for each in others if (by := change(each.left(0), base.left(0)))]
    told = [
        f"{by}{'' if place else f'{NBSP}points'} at {'' if place else 'epsilon '}{each.spent}"
        for place, (each, by) in enumerate(spread(changes))
    ]
    clean = share(estimate(base.left(0).values()))
    nothing = f", where it is not clearly above chance ({clean}{NBSP}%)"
    if told:
        yield (
            f"Without attackers noise{_there(of)} changes {rule} by {listed(told)}, compared with "
            f"{base.spent}{nothing if base.clean.near_chance else ''}."
        )
    else:
        yield f"What noise costs is not known: {rule} was run at a single epsilon."


# --- what breaks -----------------------------------------------------------------------------


def breaks(data: Sequence[Data]) -> Iterator[str]:
    """Say what is known of every rule, at the f of the rule to use and at the largest."""
    of, most = data[0], data[0].tried[0]
    standing = of.to_use
    fs = [f for f in dict.fromkeys((standing.f if standing else most, most)) if f]
    told = [f"f = {f}{_there(of)} breaks {_broken_at(of, f)}" for f in fs]
    if told:
        yield f"{'; '.join(told)}."


def _broken_at(of: Data, f: int) -> str:
    broken = {budget: _broken(budget, f, of.rules) for budget in of.budgets}
    told = [
        f"{names} {_at(list(alike))}{f' ({others})' if others else ''}"
        for (names, others), alike in groupby(of.budgets, key=broken.__getitem__)
    ]
    return listed(told, ", ", most=2 * MOST)


def _broken(budget: Budget, f: int, rules: Sequence[str]) -> tuple[str, str]:
    """Name the rules that so many surely break, and of others what is not known, and why."""
    found = {each.rule: each for each in budget.settings}
    why = {rule: _why(found.get(rule), budget, f) for rule in rules}
    broken = [rule for rule in rules if why[rule] == Outcome.BREAKS.value]
    others = [rule for rule in rules if rule not in broken]
    if len(others) == 1 < len(broken):
        reason = f" ({why[others[0]]})" if why[others[0]] else ""
        return f"every rule but {others[0]}{reason}", ""
    if len(rules) > 1 and not others:
        return "every rule", ""
    reasons = [reason for reason in dict.fromkeys(why[rule] for rule in others) if reason]
    told = [f"{each}: {listed([rule for rule in others if why[rule] == each])}" for each in reasons]
    return listed(broken) or "no rule", "; ".join(told)


def _why(rule: Setting | None, budget: Budget, f: int) -> str:
    """Say why a rule is not among those that withstand; nothing of these."""
    outcome = budget.outcomes[f][rule] if rule else Outcome.NOT_RUN
    if rule and outcome is Outcome.FAILED:
        return f"failed {f'under {listed(lost)}' if (lost := rule.failed(f)) else 'when clean'}"
    return "" if outcome is Outcome.HOLDS else outcome.value


def _at(budgets: Sequence[Budget]) -> str:
    """Name neighbouring budgets."""
    return f"at epsilon {ends([budget.name for budget in budgets])}"


def _there(data: Data) -> str:
    return " there" if data.name else ""


# --- what that means -------------------------------------------------------------------------


def meaning(data: Sequence[Data]) -> Iterator[str]:
    """Say what the words mean of rules under attack."""
    if not data[0].tried[0]:
        return
    cleans = (each.clean for each in data[0].settings)
    known = chances((clean.chance, clean.chance_at_most) for clean in cleans)
    known = known.replace(" %", f"{NBSP}%")
    chance = f"and more than chance ({known})" if known else "(what chance is, runs do not tell)"
    yield (
        f"a rule withstands where it surely keeps half of its clean accuracy {chance}, "
        "and breaks where it surely does not"
    )
