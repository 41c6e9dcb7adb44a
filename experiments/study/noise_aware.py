"""A rule that knows the noise, against attackers who know the rule."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.core.parameters import parse
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import cell, outcomes
from study.verdicts import Verdict, all_of, judge

_FIELDS = ["rule", "target_epsilon", "attack"]
_RULE, _RIVAL = "noise_aware", "fltrust"
_KNOWING = "camouflage"
_CLEAN = "none"
_MARGIN = 10  # points


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies in %, a column a seed, by rule without its parameters, epsilon, attack, f.

    What the rule is told of the share of honest workers goes with f.
    """
    rules = [parse("aggregator", text)[0] for text in runs["aggregator"]]
    return outcomes(runs.assign(rule=rules), _FIELDS)


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that the rule withstands who does not know it, not who does, and who does better."""
    accuracy = accuracies(runs)
    found = []
    for epsilon in sorted(accuracy.index.unique("target_epsilon")):
        for f in sorted(f for f in accuracy.index.unique("byzantine") if f):
            found += _at(accuracy, epsilon, f)
    return found


def _at(accuracy: pd.DataFrame, epsilon: float, f: int) -> list[Verdict]:
    def seeds(rule: str, attack: str, many: int = f) -> pd.Series:
        setting: Any = (rule, epsilon, attack, many)
        of_seeds: pd.Series = accuracy.loc[setting]
        return of_seeds

    where = f"epsilon {epsilon:g}, f = {f}"
    clean = seeds(_RULE, _CLEAN, 0)
    others = [each for each in accuracy.index.unique("attack") if each not in (_CLEAN, _KNOWING)]
    found = [
        all_of(
            f"{where}: {_RULE} loses at most {_MARGIN} points to attacks that do not know it",
            [
                judge(
                    attack,
                    clean - seeds(_RULE, attack),
                    (-math.inf, _MARGIN),
                    comparisons=len(others),
                )
                for attack in others
            ],
        ),
        judge(
            f"{where}: {_KNOWING} leaves {_RULE} less than half of its clean accuracy",
            clean / 2 - seeds(_RULE, _KNOWING),
            (0, math.inf),
        ),
    ]
    rivals = [_RIVAL, *(["median"] if ("median", epsilon, _KNOWING, f) in accuracy.index else [])]
    return found + [
        judge(
            f"{where}: under {_KNOWING}, {rival} is better than {_RULE} by over {_MARGIN} points",
            seeds(rival, _KNOWING) - seeds(_RULE, _KNOWING),
            (_MARGIN, math.inf),
        )
        for rival in rivals
    ]


def table(runs: pd.DataFrame) -> str:
    """Lay out what each attack leaves, a row an f of a rule."""
    accuracy = accuracies(runs)
    by_attack = accuracy.apply(cell, axis=1).unstack("attack")
    attacks = [each for each in by_attack.columns if each != _CLEAN]
    rows = [
        f"| epsilon | rule | f | clean | {' | '.join(attacks)} |",
        f"| --- | --- | ---: |{' ---: |' * (1 + len(attacks))}",
    ]
    for place in by_attack.index.to_list():
        rule, epsilon, f = place
        if f:
            clean = by_attack.at[(rule, epsilon, 0), _CLEAN]
            left = [by_attack.at[place, each] for each in attacks]
            told = [f"{epsilon:g}", rule, str(f), str(clean), *map(str, left)]
            rows.append(f"| {' | '.join(told)} |")
    return "\n".join(
        [
            *rows,
            "",
            f"Accuracy in % on test data: mean over {accuracy.shape[1]} seeds, ± half of its 95 % "
            "interval. f Byzantine workers are beside ten honest ones.",
        ]
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw accuracy against f: a panel an attack and epsilon, a line a rule."""
    accuracy = accuracies(runs)
    attacks = [each for each in accuracy.index.unique("attack") if each != _CLEAN]
    seeds_at = dict(zip(accuracy.index.to_list(), accuracy.to_numpy(), strict=True))
    drawn = {
        (f"{attack}, epsilon {epsilon:g}", rule, f): seeds
        for epsilon in sorted(accuracy.index.unique("target_epsilon"))
        for attack in attacks
        for (rule, at, of, f), seeds in seeds_at.items()
        if at == epsilon and of in (_CLEAN, attack)
    }
    values = pd.DataFrame(list(drawn.values()), index=pd.MultiIndex.from_tuples(drawn))
    return lines_figure(values, "f beside 10 honest workers", "accuracy in %")


EXPERIMENT = Experiment(claims, table, figure)
