"""Which rules compete: within one epsilon, on one data, each under its own worst attack."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import pandas as pd

from privrobust.core.formatting import number, rounded_up
from privrobust.reporting.paired import Estimate, Values, by_seed, estimate, leaders
from privrobust.reporting.robustness import Clean, Verdict, cleans, withstands
from privrobust.reporting.summary import WORST, Row, setting_levels, summarise
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import SETTINGS, symbol

_RULE = {Role.METHOD, Role.DESCENT}


class Outcome(Enum):
    """What is known of a rule against so many, in words."""

    HOLDS = "withstands"
    BREAKS = "breaks"
    UNDECIDED = "undecided"
    FAILED = "failed"
    FEWER = "under fewer attacks"
    NOTHING = "near chance when clean"
    NO_CLEAN = "without a clean run"
    NOT_RUN = "not run"


_OF_VERDICT = {
    Verdict.HOLDS: Outcome.HOLDS,
    Verdict.BREAKS: Outcome.BREAKS,
    Verdict.UNDECIDED: Outcome.UNDECIDED,
}


@dataclass(frozen=True, eq=False)
class Setting:
    """What was run of a rule, with a noise, on some data."""

    at: Row
    """The values that tell it apart, as in a summary's index."""
    data: str
    """What tells the data and the task from others."""
    noise: Any
    """b, or the target that chose several."""
    clipped: str
    """What but b tells the budget from others."""
    rule: str
    epsilon: float
    is_bound: bool
    clean: Clean
    attacked: Mapping[int, Mapping[str, Values]]
    """By f and attack; no values where a run failed."""
    workers: Mapping[int, int]
    """n, by f."""

    @property
    def spent(self) -> str:
        """Its epsilon, rounded up, after ~ where it is an estimate."""
        estimated = math.isfinite(self.epsilon) and not self.is_bound
        return f"{'~' if estimated else ''}{rounded_up(self.epsilon, 3)}"

    def left(self, f: int) -> Values:
        """Return what the worst attack leaves, or none at f = 0, by seed; nothing if one failed."""
        if not f:
            return self.clean.values
        under = self.attacked.get(f, {}).values()
        return min(under, key=_mean, default={})

    def faced(self, f: int) -> set[str]:
        """Name the attacks that it was run under, of so many."""
        return set(self.attacked.get(f, ()))

    def failed(self, f: int) -> list[str]:
        """Name the attacks of which a run failed, of at most so many; empty of clean ones."""
        under = self._until(f)
        lost = [attack for attacks in under for attack, values in attacks.items() if not values]
        return list(dict.fromkeys(lost))

    def outcome(self, f: int, attacks: set[str], among: int) -> Outcome:
        """Tell what is known of it against at most so many.

        What breaks against fewer, breaks; what withstands, does so against fewer, too.

        Args:
            f: how many.
            attacks: that it must have been run under to withstand.
            among: how many rules are asked.

        """
        if f and f not in self.attacked:
            return Outcome.NOT_RUN
        if not self.clean.values:
            return Outcome.FAILED if 0 in self.workers else Outcome.NO_CLEAN
        if self.clean.near_chance:
            return Outcome.NOTHING
        if not f:
            return Outcome.HOLDS
        under = self._until(f)
        left = [(values, values) for attacks in under for values in attacks.values()]
        verdict = withstands(self.clean, left, among=among)
        if verdict is not Verdict.BREAKS and self.failed(f):
            return Outcome.FAILED
        if verdict is not Verdict.BREAKS and any(set(each) != attacks for each in under):
            return Outcome.FEWER
        return _OF_VERDICT[verdict]

    def _until(self, f: int) -> list[Mapping[str, Values]]:
        return [attacks for fewer, attacks in self.attacked.items() if fewer <= f]


def _mean(values: Values) -> float:
    return estimate(values.values()).mean if values else -math.inf


@dataclass(frozen=True, eq=False)
class Budget:
    """What each rule does within an epsilon: its setting of the largest, with the least noise."""

    name: str
    """That epsilon, rounded up, and what else but b tells it from others."""
    epsilon: float
    settings: Sequence[Setting]
    """One a rule."""
    tried: Sequence[int]
    """Every f on these data."""
    attacks: set[str]
    """Every attack on these data."""

    def is_spent_by(self, setting: Setting) -> bool:
        """Tell whether a setting spends all of it, as far as it is printed."""
        return rounded_up(setting.epsilon, 3) == rounded_up(self.epsilon, 3)

    @cached_property
    def outcomes(self) -> dict[int, dict[Setting, Outcome]]:
        """What is known of each rule, by f; both kinds of verdicts are seldom wrong of any rule."""
        rules = len(self.settings)
        return {
            f: {each: each.outcome(f, self.attacks, rules) for each in self.settings}
            for f in {0, *self.tried}
        }

    def contest(self, f: int) -> list[Setting]:
        """Return those that may be the best against so many, the first by its mean first.

        They are those that can be judged: that are clearly above chance without attackers, and
        faced every attack, no run of which failed. Where there are none, they are those that would
        be with clean runs, which lack.
        """
        whole = {
            each: each.left(f)
            for each in self.settings
            if each.left(f) and (not f or each.faced(f) == self.attacks)
        }
        judged = (Outcome.HOLDS, Outcome.BREAKS, Outcome.UNDECIDED)
        for outcomes in (judged, (Outcome.NO_CLEAN,)):
            found = {each: whole[each] for each in whole if self.outcomes[f][each] in outcomes}
            if found:
                return leaders(found)
        return []

    def ranked(self, f: int) -> list[Setting]:
        """Return the same, what withstands first."""
        outcomes = self.outcomes[f]
        return sorted(self.contest(f), key=lambda each: outcomes[each] is not Outcome.HOLDS)

    @cached_property
    def standing(self) -> "Standing | None":
        """Who leads: at the largest f that a leader withstands, else at the smallest."""
        led = {f: found for f in self.tried if (found := self.ranked(f))}
        for f, ranked in led.items():
            outcomes = self.outcomes[f]
            outcome = outcomes[ranked[0]]
            if outcome is Outcome.HOLDS or f == min(led):
                none = all(each is Outcome.BREAKS for each in outcomes.values())
                return Standing(f, ranked, outcome, none)
        return None


@dataclass(frozen=True)
class Standing:
    """Who leads within an epsilon, against so many."""

    f: int
    leaders: Sequence[Setting]
    """Those that may be the best, first what withstands, then by their means."""
    outcome: Outcome
    """Of the first, at that f."""
    all_break: bool
    """Whether every rule breaks, of those that lead and of others."""

    @property
    def first(self) -> Setting:
        """The one to use."""
        return self.leaders[0]

    @property
    def kept(self) -> Estimate:
        """What that keeps."""
        return estimate(self.first.left(self.f).values())


@dataclass(frozen=True, eq=False)
class Data:
    """The settings on the same data."""

    name: str
    """Empty where all are on the same."""
    settings: Sequence[Setting]

    @cached_property
    def rules(self) -> list[str]:
        """Every rule that was run, in order."""
        return list(dict.fromkeys(each.rule for each in self.settings))

    @cached_property
    def tried(self) -> list[int]:
        """Every f that was tried, the largest first; 0 alone where no attack was run."""
        found = {f for each in self.settings for f in each.attacked}
        return sorted(found, reverse=True) or [0]

    @cached_property
    def attacks(self) -> set[str]:
        """Every attack that was run, with any rule, noise and f."""
        return {name for each in self.settings for f in each.attacked for name in each.attacked[f]}

    @cached_property
    def budgets(self) -> list[Budget]:
        """By epsilon, the least first: of each b the largest finite one, and infinity."""
        apart = dict.fromkeys(each.clipped for each in self.settings)
        found = [
            budget
            for clipped in apart
            for budget in self._budgets([each for each in self.settings if each.clipped == clipped])
        ]
        return sorted(found, key=lambda budget: budget.epsilon)

    def _budgets(self, settings: Sequence[Setting]) -> Iterator[Budget]:
        """Make those of settings that are clipped alike."""
        largest: dict[Any, float] = {}
        for each in settings:
            finite = math.isfinite(each.epsilon)
            at = each.noise if finite else math.inf
            largest[at] = max(largest.get(at, 0), each.epsilon)
        levels = {rounded_up(epsilon, 3): epsilon for epsilon in sorted(largest.values())}
        before: list[Setting] = []
        for name, epsilon in levels.items():
            within: dict[str, Setting] = {}
            for each in sorted(settings, key=_least_private):
                if each.epsilon <= epsilon:
                    within[each.rule] = each
            alike = [within[rule] for rule in self.rules if rule in within]
            if alike != before:
                estimated = any(each.spent.startswith("~") for each in alike)
                parts = (f"{'~' if estimated else ''}{name}", settings[0].clipped)
                told = ", ".join(part for part in parts if part)
                yield Budget(told, epsilon, alike, self.tried, self.attacks)
            before = alike

    @cached_property
    def to_use(self) -> Standing | None:
        """Who withstands at the least epsilon at which any rule does, or else who leads at it."""
        standings = [budget.standing for budget in self.budgets if budget.standing]
        holds = (each for each in standings if each.outcome is Outcome.HOLDS)
        return next(holds, standings[0] if standings else None)

    def everywhere(self, setting: Setting) -> list[Setting]:
        """Find the same rule at every epsilon at which it has accuracies, the least first."""
        found = [
            each
            for budget in self.budgets
            for each in budget.settings
            if (each.rule, each.clipped) == (setting.rule, setting.clipped)
            and any(map(each.left, (0, *self.tried)))
        ]
        return list(dict.fromkeys(found))

    @property
    def faced_fewer(self) -> int:
        """How many settings faced fewer attacks than others, at each f at which they faced any."""
        every = [each.faced(f) for each in self.settings for f in each.attacked]
        return sum(its != self.attacks for its in every)

    def ease(self, f: int) -> float:
        """Return what leaders keep against so many, on average; NaN if there are none."""
        if f not in self.tried:
            return math.nan
        left = [budget.contest(f)[:1] for budget in self.budgets]
        return estimate(_mean(each.left(f)) for led in left for each in led).mean

    @cached_property
    def has(self) -> set[tuple[Any, ...]]:
        """What to compare with other data: cells of which no run failed, by all but the data."""
        found = {
            (each.rule, each.spent, each.clipped, f, attack)
            for each in self.settings
            for f, attacks in each.attacked.items()
            for attack, values in attacks.items()
            if values
        }
        clean = {(each.rule, each.spent, each.clipped) for each in self.settings if each.left(0)}
        return found | clean


def _least_private(setting: Setting) -> tuple[float, float]:
    return setting.epsilon, -setting.noise if isinstance(setting.noise, float) else 0.0


def contests(runs: pd.DataFrame) -> list[Data]:
    """Put together what competes, the data first on which the best rules keep least.

    That is against the largest f at which some rule can be judged on all data.

    Args:
        runs: a row a run, as from `Store.runs`, at least one of which has not failed.

    """
    found: dict[str, list[Setting]] = {}
    for setting in _settings(runs):
        found.setdefault(setting.data, []).append(setting)
    every = [Data(name, settings) for name, settings in found.items()]
    if (f := _compared_at(every)) is not None:
        return sorted(every, key=lambda data: data.ease(f))
    return sorted(every, key=lambda data: not any(budget.standing for budget in data.budgets))


def _compared_at(data: Sequence[Data]) -> int | None:
    """Return the largest f at which some rule can be judged on all data, if there is any."""
    fs = sorted({f for of in data for f in of.tried}, reverse=True)
    return next((f for f in fs if not any(math.isnan(of.ease(f)) for of in data)), None)


def is_hardest_first(data: Sequence[Data]) -> bool:
    """Tell whether the same was run on all data, so that their order says which is the hardest."""
    return _compared_at(data) is not None and all(of.has == data[0].has for of in data)


def _settings(runs: pd.DataFrame) -> Iterator[Setting]:
    """Return what was run of each setting."""
    summary, found = summarise(runs), by_seed(runs)
    fields = setting_levels(summary)
    # what finished without an epsilon promises nothing; what did not finish says nothing
    is_lost = summary["failed"] >= summary["seeds"]
    summary["epsilon"] = (
        summary["epsilon"].fillna(math.inf).mask(is_lost & summary["epsilon"].isna())
    )
    of_setting = summary.groupby(level=fields, sort=False)
    spent, is_bound = (
        of_setting["epsilon"].max().fillna(math.inf),
        of_setting["is_upper_bound"].min(),
    )
    attacked: dict[Row, dict[int, dict[str, Values]]] = {}
    workers: dict[Row, dict[int, int]] = {}
    for at, n in zip(summary.index, summary["workers"], strict=True):
        *setting, f, attack = at
        workers.setdefault(tuple(setting), {})[int(f)] = int(n)
        if attack not in ("", WORST):
            of_f = attacked.setdefault(tuple(setting), {}).setdefault(int(f), {})
            of_f[attack] = found.get(at, {})
    varied = [name for name in fields if summary.index.get_level_values(name).nunique() > 1]
    budget = [name for name in fields if SETTINGS[name].role is Role.BUDGET]
    rule = [name for name in fields if SETTINGS[name].role in _RULE]
    for setting, clean in cleans(summary, found, found).items():
        values = dict(zip(fields, setting, strict=True))

        def named(names: Iterable[str], values: dict[str, Any] = values) -> str:
            return ", ".join(f"{symbol(n)} {number(values[n])}" for n in names if n in varied)

        others = named(name for name in rule if name != "aggregator")
        yield Setting(
            at=setting,
            data=named(name for name in fields if name not in {*budget, *rule}),
            noise=values["noise_scale"],
            clipped=named(name for name in budget if name != "noise_scale"),
            rule=", ".join(part for part in (str(values["aggregator"]), others) if part),
            epsilon=float(spent[setting]),
            is_bound=bool(is_bound[setting]),
            clean=clean,
            attacked=attacked.get(setting, {}),
            workers=workers[setting],
        )
