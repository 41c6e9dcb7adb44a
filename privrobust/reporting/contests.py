"""Which rules compete: at one budget, on one data, each under the attack that is worst for it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Setting:
    """What was run of a rule, at a budget, on some data."""

    data: str
    """What tells the data and the task from others."""
    budget: Row
    noise: float
    """b; 0 where a target chose several."""
    clipped: str
    """What but b tells the budget from others."""
    rule: str
    epsilon: float
    is_bound: bool
    clean: Clean
    attacked: dict[int, dict[str, Values]]
    """By f and attack; no values where a run failed."""
    workers: dict[int, int]
    """n, by f."""

    def left(self, f: int) -> Values:
        """Return what the worst attack leaves, or none at f = 0, by seed; nothing if one failed."""
        if not f:
            return self.clean.values
        under = self.attacked.get(f, {}).values()
        return min(under, key=_mean, default={})

    def verdict(self, f: int) -> Verdict:
        """Tell whether it withstands so many; none at all it does."""
        if not f:
            return Verdict.HOLDS
        if self.clean.near_chance or not self.clean.values or f not in self.attacked:
            return Verdict.UNDECIDED
        return withstands(self.clean, [(values, values) for values in self.attacked[f].values()])


def _mean(values: Values) -> float:
    return estimate(values.values()).mean if values else -math.inf


@dataclass(frozen=True, eq=False)
class Budget:
    """The settings that spend alike on the same data."""

    name: str
    """Its epsilon, the largest of them, rounded up, and what else tells it from others."""
    epsilon: float
    settings: Sequence[Setting]

    def contest(self, f: int) -> list[Setting]:
        """Return those that may be the best against so many, the first by its mean first.

        They are those that faced every attack that any of them did, and of which no run failed.
        """
        whole = {
            each: each.left(f)
            for each in self.settings
            if set(each.attacked.get(f, {})) == self.faced(f) and each.left(f)
        }
        return leaders(whole)

    def faced(self, f: int) -> set[str]:
        """Name the attacks that any of them was run under."""
        return {attack for each in self.settings for attack in each.attacked.get(f, {})}


@dataclass(frozen=True, eq=False)
class Data:
    """The settings on the same data."""

    name: str
    """Empty where all are on the same."""
    settings: Sequence[Setting]

    @cached_property
    def budgets(self) -> list[Budget]:
        """By epsilon, the least first."""
        found: dict[Row, list[Setting]] = {}
        for setting in self.settings:
            found.setdefault(setting.budget, []).append(setting)
        named = [(_budget_name(alike), alike) for alike in found.values()]
        names = [name for name, _ in named]
        budgets = [
            Budget(
                name if names.count(name) == 1 else f"{name} (b {number(alike[0].noise)})",
                max(each.epsilon for each in alike),
                alike,
            )
            for name, alike in named
        ]
        return sorted(budgets, key=lambda budget: (budget.epsilon, -budget.settings[0].noise))

    @cached_property
    def tried(self) -> list[int]:
        """Every f that was tried, the largest first; 0 alone where no attack was run."""
        found = {f for each in self.settings for f in each.attacked}
        return sorted(found, reverse=True) or [0]

    @cached_property
    def standings(self) -> dict[Budget, "Standing"]:
        """Who leads at every budget that has a rule of which no run failed."""
        found = {budget: self._standing(budget) for budget in self.budgets}
        return {budget: standing for budget, standing in found.items() if standing}

    def _standing(self, budget: Budget) -> "Standing | None":
        led = {f: found for f in self.tried if (found := budget.contest(f))}
        for f, found in led.items():
            verdicts = {each: each.verdict(f) for each in budget.settings}
            leaders = sorted(found, key=lambda each: verdicts[each] is not Verdict.HOLDS)
            verdict = verdicts[leaders[0]]
            if verdict is Verdict.HOLDS or f == min(led):
                none = all(each is Verdict.BREAKS for each in verdicts.values())
                return Standing(f, leaders, verdict, none)
        return None

    @property
    def faced_fewer(self) -> int:
        """How many settings faced fewer attacks than others that spend alike, over every f."""
        return sum(
            set(each.attacked.get(f, {})) != budget.faced(f)
            for budget in self.budgets
            for each in budget.settings
            for f in self.tried
        )

    @cached_property
    def ease(self) -> float:
        """What leaders keep against the largest f, on average; NaN if there are none."""
        left = [budget.contest(self.tried[0])[:1] for budget in self.budgets]
        return estimate(_mean(each.left(self.tried[0])) for led in left for each in led).mean


@dataclass(frozen=True)
class Standing:
    """Who leads at a budget: at the largest f that a leader withstands, else at the smallest."""

    f: int
    leaders: Sequence[Setting]
    """Those that may be the best, first what withstands, then by their means."""
    verdict: Verdict
    """Of the first, at that f."""
    all_break: bool
    """Whether no rule withstands, of those that lead and of others."""

    @property
    def first(self) -> Setting:
        """The one to use."""
        return self.leaders[0]

    @property
    def kept(self) -> Estimate:
        """What that keeps."""
        return estimate(self.first.left(self.f).values())


def _budget_name(settings: Sequence[Setting]) -> str:
    most = max(each.epsilon for each in settings)
    estimated = math.isfinite(most) and not all(each.is_bound for each in settings)
    parts = (f"{'~' if estimated else ''}{rounded_up(most, 3)}", settings[0].clipped)
    return ", ".join(part for part in parts if part)


def contests(runs: pd.DataFrame) -> list[Data]:
    """Put together what competes, the data first on which the best rules keep least.

    Args:
        runs: a row a run, as from `Store.runs`, at least one of which has not failed.

    """
    found: dict[str, list[Setting]] = {}
    for setting in _settings(runs):
        found.setdefault(setting.data, []).append(setting)
    every = [Data(name, settings) for name, settings in found.items()]
    return sorted(every, key=lambda data: math.inf if math.isnan(data.ease) else data.ease)


def _settings(runs: pd.DataFrame) -> Iterator[Setting]:
    """Return what was run of each setting."""
    summary, found = summarise(runs), by_seed(runs)
    fields = setting_levels(summary)
    summary["epsilon"] = summary["epsilon"].fillna(math.inf)  # what promises nothing
    of_setting = summary.groupby(level=fields, sort=False)
    spent, is_bound = of_setting["epsilon"].max(), of_setting["is_upper_bound"].min()
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
            data=named(name for name in fields if name not in {*budget, *rule}),
            budget=tuple(values[name] for name in budget),
            noise=b if isinstance(b := values["noise_scale"], float) else 0.0,
            clipped=named(name for name in budget if name != "noise_scale"),
            rule=", ".join(part for part in (str(values["aggregator"]), others) if part),
            epsilon=float(spent[setting]),
            is_bound=bool(is_bound[setting]),
            clean=clean,
            attacked=attacked.get(setting, {}),
            workers=workers[setting],
        )
