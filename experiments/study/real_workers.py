"""Robust rules where workers are airlines, university departments and school districts."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privrobust import RunSpec
from privrobust.core.formatting import number, rounded_up
from privrobust.data import get_dataset
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.summary import summarise
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import sizes
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, at_budget, cell, outcomes, seeds_at
from study.verdicts import Verdict, judge, untested

_MARGIN = 1  # point
_FIELDS = ["dataset", "who", "target_epsilon", "aggregator"]
_IID, _REAL, _OWN_RATES = "iid", "real", "real, q = B / n"
_LOWEST = -100.0  # % of what the mean learns, in the figure


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in %, a column a seed, clean and in the worst case."""
    who = runs["partition"].map({"similarity": _IID}).fillna(_REAL)
    rated = runs.loc[runs["sampling_rate"].notna(), "dataset"]
    has_both = (who == _REAL) & runs["dataset"].isin(rated)
    return outcomes(
        runs.assign(who=who.mask(has_both & runs["sampling_rate"].isna(), _OWN_RATES)), _FIELDS
    )


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that real workers cost accuracy, that rules survive attacks, and that noise helps."""
    found = []
    for dataset, accuracy in accuracies(runs).groupby(level="dataset", sort=False):
        of_data = accuracy.droplevel("dataset")
        epsilons = list(dict.fromkeys(of_data.index.get_level_values("target_epsilon")))
        rules = [rule for rule in of_data.index.unique("aggregator") if rule != "mean"]
        for epsilon in epsilons:
            found += [_costs(str(dataset), of_data, epsilon, rule) for rule in rules]
            found += [
                _survives(str(dataset), of_data, workers, epsilon, rule)
                for workers in (_IID, _REAL)
                for rule in rules
            ]
        for epsilon in epsilons:
            if epsilon != NONE:
                found += [_helps(str(dataset), of_data, epsilon, rule) for rule in rules]
                found += _rates(str(dataset), of_data, epsilon)
    return found


def _costs(dataset: str, accuracy: pd.DataFrame, epsilon: Any, rule: str) -> Verdict:
    return judge(
        f"{dataset}, {at_budget(epsilon)}, clean: real workers cost {rule} over {_MARGIN} point",
        seeds_at(accuracy, _IID, epsilon, rule, 0) - seeds_at(accuracy, _REAL, epsilon, rule, 0),
        (_MARGIN, math.inf),
    )


def _survives(
    dataset: str, accuracy: pd.DataFrame, workers: str, epsilon: Any, rule: str
) -> Verdict:
    f = max(accuracy.index.unique("byzantine"))
    claim = (
        f"{dataset}, {at_budget(epsilon)}, {workers} workers, f = {f}: {rule} keeps over half of "
        "what the mean learns without attackers"
    )
    learnt = seeds_at(accuracy, workers, epsilon, "mean", 0) - constant(dataset)
    if learnt.mean() < _MARGIN:
        return untested(claim, f"the mean learns {learnt.mean():.1f} points")
    kept = seeds_at(accuracy, workers, epsilon, rule, f) - constant(dataset)
    return judge(f"{claim}, by points beyond that half", kept - learnt / 2, (0, math.inf))


def _helps(dataset: str, accuracy: pd.DataFrame, epsilon: Any, rule: str) -> Verdict:
    return judge(
        f"{dataset}, real workers, clean: {at_budget(epsilon)} is better for {rule} than no noise, "
        f"by over {_MARGIN} point",
        seeds_at(accuracy, _REAL, epsilon, rule, 0) - seeds_at(accuracy, _REAL, NONE, rule, 0),
        (_MARGIN, math.inf),
    )


def _rates(dataset: str, accuracy: pd.DataFrame, epsilon: Any) -> list[Verdict]:
    """Compare one rate for all with batches of what each has, where there are both."""
    if _OWN_RATES not in accuracy.index.unique("who"):
        return []
    return [
        judge(
            f"{dataset}, {at_budget(epsilon)}, clean: {rule} is better with one sampling rate than "
            f"with q = B / n, by over {_MARGIN} point",
            seeds_at(accuracy, _REAL, epsilon, rule, 0)
            - seeds_at(accuracy, _OWN_RATES, epsilon, rule, 0),
            (_MARGIN, math.inf),
        )
        for rule in accuracy.index.unique("aggregator")
    ]


def constant(dataset: str) -> float:
    """Return the share of the most frequent class of the test split, in %."""
    labels = get_dataset(dataset).test.labels
    return 100 * float(labels.bincount().max()) / len(labels)


def table(runs: pd.DataFrame) -> str:
    """Tell what each rule gets clean and in the worst case; then epsilon by worker."""
    accuracy = accuracies(runs)
    rules = list(accuracy.index.unique("aggregator"))
    f = max(accuracy.index.unique("byzantine"))
    rows = [
        f"| data | workers | epsilon | {' | '.join(rules)} |",
        f"| --- | --- | --- |{' ---: |' * len(rules)}",
    ]
    for place in dict.fromkeys(index[:3] for index in accuracy.index):
        dataset, workers, epsilon = place
        of_place = accuracy.loc[place]
        cells = [" / ".join(cell(of_place.loc[(rule, many)]) for many in (0, f)) for rule in rules]
        told = "∞" if epsilon == NONE else f"{epsilon:g}"
        rows.append(f"| {' | '.join([str(dataset), workers, told, *cells])} |")
    known = ", ".join(
        f"{name} {constant(name):.1f}" for name in accuracy.index.unique("dataset").astype(str)
    )
    notes = [
        f"Accuracy in % on test data, without attackers / with {f} of them in the worst case: mean "
        f"over {accuracy.shape[1]} seeds, ± half of its 95 % interval. Who names the most frequent "
        f"class has {known}.",
        "Epsilon at delta = 1e-05, an upper bound for one example's contribution (zero-out, or "
        "add-or-remove where the sampling rate is fixed in advance), the largest over honest "
        "workers. Tuning is not counted.",
    ]
    return "\n".join([*rows, "", *notes, "", *_by_worker(runs)])


def _by_worker(runs: pd.DataFrame) -> list[str]:
    """Tabulate what each airline holds and spends where each samples by what it has."""
    own = (runs["partition"] == "natural") & runs["sampling_rate"].isna()
    private = runs[own & runs["target_epsilon"].notna() & (runs["dataset"] == "flights")]
    fields = [
        "dataset", "partition", "honest", "model", "batch_size", "clip_norm", "steps",
        "target_epsilon", "delta",
    ]  # fmt: skip
    settings = {field: private[field].iloc[0] for field in fields}
    plan = PrivacyPlan(RunSpec(**settings, aggregator="mean"))
    workers = zip(
        get_dataset("flights").group_names, sizes(plan.spec), plan.spent_by_worker, strict=True
    )
    held = sorted(workers, key=lambda worker: worker[1])
    return [
        f"With q = B / n the airlines of one run spend, by what they have to train on (b = "
        f"{number(plan.spec.noise_scale)}):",
        "",
        f"| airline | {' | '.join(name for name, _, _ in held)} |",
        f"| --- |{' ---: |' * len(held)}",
        f"| n | {' | '.join(f'{size:,}' for _, size, _ in held)} |",
        f"| epsilon | {' | '.join(rounded_up(spent.epsilon, 2) for _, _, spent in held)} |",
    ]


def figure(runs: pd.DataFrame) -> Figure:
    """Draw what is kept of what the mean learns, against f: a panel a data set and privacy."""
    accuracy = accuracies(runs)
    at = dict(zip(accuracy.index.to_list(), accuracy.to_numpy(), strict=True))
    drawn = {}
    for (dataset, workers, epsilon, rule, f), seeds in at.items():
        if workers != _OWN_RATES:
            base = constant(dataset)
            learnt = at[dataset, _IID, NONE, "mean", 0].mean() - base
            panel = f"{dataset}, {workers}, {at_budget(epsilon)}"
            drawn[panel, rule, f] = np.maximum(100 * (seeds - base) / learnt, _LOWEST)
    values = pd.DataFrame(list(drawn.values()), index=pd.MultiIndex.from_tuples(drawn))
    notes = [
        "100: what the mean learns beyond the most frequent class of iid workers, without noise "
        "and attackers; 0: that class.",
        f"Below {_LOWEST:g} at the edge.",
    ]
    return lines_figure(
        values, "f, beside the honest", "kept in %", notes, grey="without attackers"
    )


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with intervals, of all metrics."""
    return summarise(runs, list(METRICS)).reset_index()


EXPERIMENT = Experiment(claims, table, figure, cells)
