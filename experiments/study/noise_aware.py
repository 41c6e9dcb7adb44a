"""A rule that knows the noise: who it withstands, what a wrong belief costs it, who breaks it.

Claims and margins were set before the seeds that judge them were run.
"""

import math
from collections.abc import Iterable
from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure

from privrobust.aggregators import NoiseAware, get_aggregator
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, cell, outcomes, seeds_at
from study.verdicts import Verdict, all_of, any_of, judge

_FIELDS = ["rule", "target_epsilon", "attack"]
_KNOWN = "noise_aware"
TRUTH, ALL, HALF = (f"{_KNOWN}, told {what}" for what in ("the truth", "all", "half"))
_KNOWING = "camouflage"
_SEARCHING = "line_search"
_HELP = 1  # points that knowing the noise has to be worth
_MISTOLD = 5  # points that a wrong belief may cost
_BETTER = 10  # points by which another rule has to be better
_ROOM = 10  # percent of the clean accuracy


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies in %, a column a seed, by rule, epsilon, attack without parameters and f.

    Of `noise_aware` the rule says what it is told of the share of honest workers: that all are,
    that half are, or the truth, which without Byzantine workers is that all are.
    """
    named = runs.assign(
        rule=list(map(_rule, runs["aggregator"])),
        attack=[str(attack).partition("(")[0] for attack in runs["attack"].fillna(NONE)],
    )
    is_true = (named["rule"] == ALL) & (named["byzantine"] == 0)
    return outcomes(pd.concat([named, named[is_true].assign(rule=TRUTH)]), _FIELDS)


def _rule(aggregator: str) -> str:
    rule = get_aggregator(aggregator)
    if isinstance(rule, NoiseAware):
        return {1.0: ALL, 0.5: HALF}.get(rule.selected, TRUTH)
    return aggregator.partition("(")[0]


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that knowing the noise helps, that a wrong belief is cheap, that who knows it wins."""
    accuracy = accuracies(runs)
    epsilons = sorted(accuracy.index.unique("target_epsilon"))
    many = sorted(f for f in accuracy.index.unique("byzantine") if f)
    found = []
    for epsilon in epsilons:
        for f in many:
            at = _At(accuracy, epsilon, f)
            found += [at.it_helps(), *at.beliefs(), at.is_broken(), at.others_are_better()]
    for f in many:
        lost = [_At(accuracy, epsilon, f).lost for epsilon in epsilons]
        found += [
            judge(
                f"f = {f}: at epsilon {less:g} {_KNOWING} takes over {_ROOM} % more of the clean "
                f"accuracy than at epsilon {more:g}",
                first - second,
                (_ROOM, math.inf),
                unit="%",
            )
            for (less, first), (more, second) in pairwise(zip(epsilons, lost, strict=True))
        ]
    return found


class _At:
    """One epsilon and f."""

    def __init__(self, accuracy: pd.DataFrame, epsilon: float, f: int) -> None:
        self._clean = accuracy.xs((epsilon, NONE, 0), level=[*_FIELDS[1:], "byzantine"])
        self._attacked = accuracy.xs((epsilon, f), level=("target_epsilon", "byzantine"))
        self._where = f"epsilon {epsilon:g}, f = {f}"
        rules = self._attacked.index.unique("rule")
        self._others = [rule for rule in rules if not rule.startswith(_KNOWN)]
        self._mistold = [rule for rule in (ALL, HALF) if rule in rules]

    @property
    def lost(self) -> pd.Series:
        """What the attack that knows the test takes of the clean accuracy, in %."""
        clean = seeds_at(self._clean, TRUTH)
        return 100 * (clean - seeds_at(self._attacked, TRUTH, _KNOWING)) / clean

    def left(self, rule: str, knowing: bool) -> pd.Series:
        """Return what the worst attack of each seed leaves of a rule.

        Args:
            rule: by its name.
            knowing: with the attacks that know this rule or `noise_aware`, where there are such.

        """
        of_attacks = self._attacked.xs(rule, level="rule")
        if not knowing:
            of_attacks = of_attacks.drop([_KNOWING, _SEARCHING], errors="ignore")
        return of_attacks.min(skipna=False)

    def it_helps(self) -> Verdict:
        return all_of(
            f"{self._where}: under the worst attack that knows no rule, {TRUTH}, keeps over "
            f"{_HELP} point more than any rule that does not know the noise",
            [
                judge(
                    rule,
                    self.left(TRUTH, knowing=False) - self.left(rule, knowing=False),
                    (_HELP, math.inf),
                    comparisons=len(self._others),
                )
                for rule in self._others
            ],
        )

    def beliefs(self) -> list[Verdict]:
        return [
            judge(
                f"{self._where}: under the worst attack that knows no rule, {rule}, loses at most "
                f"{_MISTOLD} points to {TRUTH}",
                self.left(TRUTH, knowing=False) - self.left(rule, knowing=False),
                (-math.inf, _MISTOLD),
            )
            for rule in self._mistold
        ]

    def is_broken(self) -> Verdict:
        return judge(
            f"{self._where}: {_KNOWING} leaves {TRUTH}, less than half of its clean accuracy",
            seeds_at(self._clean, TRUTH) / 2 - seeds_at(self._attacked, TRUTH, _KNOWING),
            (0, math.inf),
        )

    def others_are_better(self) -> Verdict:
        return any_of(
            f"{self._where}: each under the worst of all attacks, another rule keeps over "
            f"{_BETTER} points more than {TRUTH}",
            [
                judge(
                    rule,
                    self.left(rule, knowing=True) - self.left(TRUTH, knowing=True),
                    (_BETTER, math.inf),
                    comparisons=len(self._others),
                )
                for rule in self._others
            ],
        )


def table(runs: pd.DataFrame) -> str:
    """Lay out what each attack leaves, a row an f of a rule."""
    accuracy = accuracies(runs)
    by_attack = accuracy.apply(cell, axis=1).unstack("attack").fillna("")
    attacks = [each for each in by_attack.columns if each not in (NONE, _SEARCHING, _KNOWING)]
    attacks += [_SEARCHING, _KNOWING]
    rows = [
        f"| epsilon | rule | f | clean | {' | '.join(attacks)} |",
        f"| --- | --- | ---: |{' ---: |' * (1 + len(attacks))}",
    ]
    for epsilon, rule, f in sorted((epsilon, rule, f) for rule, epsilon, f in by_attack.index if f):
        left = [by_attack.at[(rule, epsilon, f), each] for each in attacks]
        told = [f"{epsilon:g}", rule, str(f), by_attack.at[(rule, epsilon, 0), NONE], *left]
        rows.append(f"| {' | '.join(told)} |")
    return "\n".join(
        [
            *rows,
            "",
            f"Accuracy in % on test data: mean over {accuracy.shape[1]} seeds, ± half of its 95 % "
            f"interval. f Byzantine workers are beside ten honest ones. `{_SEARCHING}` searches "
            f"against the rule of its row, `{_KNOWING}` knows the tests of `{_KNOWN}`; the others "
            "know no rule.",
        ]
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw what the worst attack leaves against f: those that know no rule above, all below."""
    accuracy = accuracies(runs)
    epsilons = sorted(accuracy.index.unique("target_epsilon"))
    rules = list(dict.fromkeys([TRUTH, ALL, HALF, *accuracy.index.unique("rule")]))
    drawn = {
        (f"epsilon {epsilon:g}, {attacks}", rule, f): values
        for attacks, knowing in (("attacks that know no rule", False), ("all attacks", True))
        for epsilon in epsilons
        for rule in rules
        for f, values in _worst(accuracy, epsilon, rule, knowing)
    }
    values = pd.DataFrame(list(drawn.values()), index=pd.MultiIndex.from_tuples(drawn))
    return lines_figure(
        values,
        "f beside 10 honest workers",
        "accuracy in %",
        ["Under the worst attack of each seed."],
        grey="without attackers",
        are_shares=True,
    )


def _worst(
    accuracy: pd.DataFrame, epsilon: float, rule: str, knowing: bool
) -> Iterable[tuple[int, pd.Series]]:
    """Yield f and what is left of a rule."""
    of_rule = accuracy.xs((rule, epsilon), level=("rule", "target_epsilon"))
    yield 0, seeds_at(of_rule, NONE, 0)
    for f in sorted(f for f in of_rule.index.unique("byzantine") if f):
        yield f, _At(accuracy, epsilon, f).left(rule, knowing)


EXPERIMENT = Experiment(claims, table, figure)
