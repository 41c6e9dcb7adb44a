"""Which radius centred clipping needs under noise, and what it withstands with it."""

import math
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from privrobust import RunSpec
from privrobust.aggregators import CentredClipping, get_aggregator
from privrobust.data import get_dataset
from privrobust.models.validation import initial_parameters
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.training.noise import known_noise
from study.experiment import Experiment
from study.outcomes import ALL_BROKEN, NONE, at_budget, broken, cell, outcomes, seeds_at, situation
from study.verdicts import Verdict, judge, untested

TUNED, THUMB, BOUND = "tuned radius", "radius of the noise", "radius C"
RIVAL = "nnm + trimmed_mean"
_RADII = {(1.0, "noise"): THUMB, (1.0, "message"): BOUND}
_FIELDS = ["rule", "target_epsilon"]
_MARGIN, _AS_GOOD = 1, 2  # points


def by_rule(runs: pd.DataFrame) -> pd.DataFrame:
    """Name the rule of every run, and repeat runs whose radius is of the noise and tuned as well.

    A radius that was tuned is one that no row of the sweep has, unless it is that of the noise.
    """
    named = runs.assign(rule=[_rule(text) for text in runs["aggregator"]])
    budget = named["target_epsilon"].astype(object).where(named["target_epsilon"].notna(), NONE)
    has_own = budget.isin(budget[named["rule"] == TUNED])
    shared = named[(named["rule"] == THUMB) & ~has_own]
    return pd.concat([shared.assign(rule=TUNED), named], ignore_index=True)


def _rule(aggregator: str) -> str:
    rule = get_aggregator(aggregator)
    if not isinstance(rule, CentredClipping):
        return aggregator
    return _RADII.get((rule.radius, rule.unit), TUNED)


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in %, a column a seed, by rule, epsilon and f."""
    return outcomes(by_rule(runs), _FIELDS)


def budgets(accuracy: pd.DataFrame) -> list[Any]:
    """Return every epsilon, none last."""
    found = accuracy.index.unique("target_epsilon")
    return [*sorted(at for at in found if at != NONE), *(at for at in found if at == NONE)]


def withstands(accuracy: pd.DataFrame, rule: str, epsilon: Any, f: int) -> Verdict:
    """Claim that a rule keeps half of its clean accuracy."""
    clean, worst = (seeds_at(accuracy, rule, epsilon, many) for many in (0, f))
    claim = f"{at_budget(epsilon)}, f = {f}: {rule} keeps half of its clean accuracy"
    return judge(claim, worst - clean / 2, (0, math.inf))


def better(
    accuracy: pd.DataFrame, rules: tuple[str, str], epsilon: Any, f: int, margin: float
) -> Verdict:
    """Claim that one rule is better than another by over a margin, or if that is below 0 not worse.

    Not tested where both are broken.
    """
    rule, other = rules
    than = f"worse than {other} by at most" if margin < 0 else f"better than {other} by over"
    unit = "point" if abs(margin) == 1 else "points"
    claim = f"{at_budget(epsilon)}, {situation(f)}: {rule} is {than} {abs(margin)} {unit}"
    if f and all(broken(accuracy).loc[(each, epsilon, f)] for each in rules):
        return untested(claim, ALL_BROKEN)
    one, another = (seeds_at(accuracy, each, epsilon, f) for each in rules)
    return judge(claim, one - another, (margin, math.inf))


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim of both radii what they gain over C, what they withstand, and that NNM is no better."""
    accuracy = accuracies(runs)
    found = []
    for rule in (TUNED, THUMB):
        for epsilon in budgets(accuracy):
            found += [better(accuracy, (rule, BOUND), epsilon, f, _MARGIN) for f in (0, 2, 4)]
            found += [withstands(accuracy, rule, epsilon, f) for f in (2, 4)]
            found += [better(accuracy, (rule, RIVAL), epsilon, f, -_AS_GOOD) for f in (0, 2, 4)]
    return found


def table(runs: pd.DataFrame) -> str:
    """Lay out accuracies, the radius of each rule, and what it is a multiple of."""
    named = by_rule(runs)
    accuracy = outcomes(named, _FIELDS)
    fs = sorted(accuracy.index.unique("byzantine"))
    heads = ["epsilon", "rule", "radius", *map(situation, fs)]
    rows = [f"| {' | '.join(heads)} |", f"| --- | --- | ---: |{' ---: |' * len(fs)}"]
    for epsilon in budgets(accuracy):
        for rule in accuracy.index.unique("rule"):
            at = "∞" if epsilon == NONE else f"{epsilon:g}"
            cells = [cell(seeds_at(accuracy, rule, epsilon, f)) for f in fs]
            rows.append(f"| {' | '.join([at, rule, _radius(named, rule, epsilon), *cells])} |")
    return "\n".join(
        [
            *rows,
            "",
            "Accuracy in % on test data under the attack that is worst for each seed: mean over "
            f"{accuracy.shape[1]} seeds, ± half of its 95 % interval. Radii are in units of C = 1 "
            "or of L, `sqrt(d) b` and the bound of a clipped gradient. b, and L beside it:",
            "",
            f"| epsilon | {' | '.join(f'f = {f}' for f in fs)} |",
            f"| --- |{' ---: |' * len(fs)}",
            *_lengths(runs, fs),
        ]
    )


def _radius(named: pd.DataFrame, rule: str, epsilon: Any) -> str:
    of_rule = named[named["rule"] == rule]
    budget = of_rule["target_epsilon"]
    is_there = budget.isna() if epsilon == NONE else budget == epsilon
    (text,) = of_rule.loc[is_there, "aggregator"].unique()
    made = get_aggregator(text)
    if not isinstance(made, CentredClipping):
        return ""
    return f"{made.radius:g} {'L' if made.unit == 'noise' else 'C'}"


def _lengths(runs: pd.DataFrame, fs: list[int]) -> list[str]:
    """Write b and L of each f, a row an epsilon."""
    task = runs[["dataset", "model", "clip_norm", "batch_size"]].drop_duplicates()
    assert len(task) == 1
    dataset, model, clip_norm, batch_size = task.iloc[0]
    dim = initial_parameters(model, get_dataset(dataset), (0,))[1].shape[-1]
    rows = []
    at: Any  # pandas knows nothing of what an index holds
    for at, of_budget in runs.groupby("target_epsilon", dropna=False):
        cells = []
        for f in fs:
            b = float(of_budget.loc[of_budget["byzantine"] == f, "noise_scale"].iloc[0])
            spec = RunSpec(noise_scale=b, clip_norm=clip_norm, batch_size=int(batch_size))
            length = float(known_noise([spec], torch.device("cpu")).longest(dim))
            cells.append(f"{b:.3g}, {length:.3g}")
        rows.append(f"| {'∞' if pd.isna(at) else f'{at:g}'} | {' | '.join(cells)} |")
    return rows


def figure(runs: pd.DataFrame) -> Figure:
    """Draw accuracy against epsilon, clean and attacked, a line a rule."""
    named = by_rule(runs)
    return epsilon_figure(named.assign(aggregator=named["rule"]))


EXPERIMENT = Experiment(claims, table, figure)
