"""What a sign vote gains from an accountant that knows that signs are sent."""

import math
from collections.abc import Hashable

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.figures.epsilon import epsilon_figure
from study.experiment import Experiment
from study.outcomes import ALL_BROKEN, broken, cell, outcomes, seeds_at, situation
from study.verdicts import Verdict, all_of, any_of, judge, untested

_SIGNS, _VECTORS, _MEDIAN = "sign vote, as signs", "sign vote, as vectors", "median"
_CHARGED = {("majority_vote", "sign"): _SIGNS, ("majority_vote", "pld"): _VECTORS}
_FIELDS = ["rule", "target_epsilon"]
_MARGIN = 1  # point


def by_rule(runs: pd.DataFrame) -> pd.DataFrame:
    """Name the rule of every run by what it is charged for."""
    pairs = zip(runs["aggregator"], runs["accountant"], strict=True)
    return runs.assign(rule=[_CHARGED.get(pair, pair[0]) for pair in pairs])


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that the charge for signs gains accuracy, beats the median, and breaks later."""
    accuracy = outcomes(by_rule(runs), _FIELDS)
    epsilons = sorted(accuracy.index.unique("target_epsilon"))
    fs = sorted(accuracy.index.unique("byzantine"))
    found = [_gains(accuracy, epsilon, f) for epsilon in epsilons for f in fs]
    found += [_leads(accuracy, epsilon, f) for epsilon in epsilons for f in fs]
    return found + [_breaks_later(accuracy, epsilons, f) for f in fs if f]


def _gains(accuracy: pd.DataFrame, epsilon: float, f: int) -> Verdict:
    claim = f"epsilon {epsilon:g}, {situation(f)}: charged for signs, the sign vote gains"
    return _ahead(claim, accuracy, (_SIGNS, _VECTORS), epsilon, f, 0)


def _leads(accuracy: pd.DataFrame, epsilon: float, f: int) -> Verdict:
    claim = (
        f"epsilon {epsilon:g}, {situation(f)}: charged for signs, the sign vote is better than the "
        f"median by over {_MARGIN} point"
    )
    return _ahead(claim, accuracy, (_SIGNS, _MEDIAN), epsilon, f, _MARGIN)


def _ahead(
    claim: str, accuracy: pd.DataFrame, rules: tuple[str, str], epsilon: float, f: int, margin: int
) -> Verdict:
    if all(broken(accuracy).loc[(rule, epsilon, f)] for rule in rules):
        return untested(claim, ALL_BROKEN)
    one, other = (seeds_at(accuracy, rule, epsilon, f) for rule in rules)
    return judge(claim, one - other, (margin, math.inf))


def _breaks_later(accuracy: pd.DataFrame, epsilons: list[float], f: int) -> Verdict:
    def left(rule: str, epsilon: float) -> pd.Series:
        return seeds_at(accuracy, rule, epsilon, f) - seeds_at(accuracy, rule, epsilon, 0) / 2

    many = 2 * len(epsilons)
    return any_of(
        f"f = {f}: at some epsilon the sign vote keeps half of its clean accuracy when charged for "
        "signs, and does not when charged for vectors",
        [
            all_of(
                f"epsilon {epsilon:g}",
                [
                    judge("signs", left(_SIGNS, epsilon), (0, math.inf), comparisons=many),
                    judge("vectors", -left(_VECTORS, epsilon), (0, math.inf), comparisons=many),
                ],
            )
            for epsilon in epsilons
        ],
    )


def table(runs: pd.DataFrame) -> str:
    """Lay out accuracies, and what b and sigma each charge leaves."""
    accuracy = outcomes(by_rule(runs), _FIELDS)
    fs = sorted(accuracy.index.unique("byzantine"))
    rows = [
        f"| epsilon | rule | {' | '.join(map(situation, fs))} |",
        f"| --- | --- |{' ---: |' * len(fs)}",
    ]
    for epsilon in sorted(accuracy.index.unique("target_epsilon")):
        for rule in accuracy.index.unique("rule"):
            cells = [cell(seeds_at(accuracy, rule, epsilon, f)) for f in fs]
            rows.append(f"| {epsilon:g} | {rule} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *rows,
            "",
            "Accuracy in % on test data under the attack that is worst for each seed: mean over "
            f"{accuracy.shape[1]} seeds, ± half of its 95 % interval.",
            "",
            "What each charge takes:",
            "",
            "| epsilon | f | b, signs | b, vectors | sigma, signs | sigma, vectors | less by |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *noise_rows(runs),
        ]
    )


def noise_rows(runs: pd.DataFrame) -> list[str]:
    """Write b and sigma = b B / C of both charges, a row an epsilon and f."""
    named = by_rule(runs)
    sigma = named["noise_scale"] * named["batch_size"] / named["clip_norm"]
    places: list[Hashable] = ["target_epsilon", "byzantine"]
    found = named.assign(sigma=sigma).groupby([*places, "rule"])[["noise_scale", "sigma"]].first()
    rows = []
    for (epsilon, f), of_rules in found.groupby(level=places):
        b, s = (of_rules.droplevel(places)[column] for column in ("noise_scale", "sigma"))
        told = [f"{values[rule]:.3g}" for values in (b, s) for rule in (_SIGNS, _VECTORS)]
        less = 1 - b[_SIGNS] / b[_VECTORS]
        rows.append(f"| {epsilon:g} | {f} | {' | '.join(told)} | {less:.1%} |")
    return rows


def figure(runs: pd.DataFrame) -> Figure:
    """Draw accuracy against epsilon, clean and attacked, a line a rule."""
    named = by_rule(runs)
    return epsilon_figure(named.assign(aggregator=named["rule"]))


EXPERIMENT = Experiment(claims, table, figure)
