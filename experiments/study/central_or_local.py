"""What it costs that nobody needs to trust the server.

Central DP-SGD is one worker that holds all examples and draws what 15 workers draw in a step: the
same rate q, and so the same noise multiplier at the same epsilon. What differs is where the noise
is added, once or 15 times, and so its share of the average, which is sqrt(15) times as large.
"""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.core.formatting import in_percent
from privrobust.reporting.intervals import half_width
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, outcomes, seeds_at
from study.verdicts import Verdict, judge

_MARGIN = 1  # point
_FIELDS = ["model", "trainer", "target_epsilon"]
_CENTRAL = "central"
_ON_TOP = {"median": "the median", "majority_vote": "the sign vote"}


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in %, a column a seed, by model, trainer and epsilon."""
    trainer = runs["aggregator"].where(runs["honest"] > 1, _CENTRAL)
    return outcomes(runs.assign(trainer=trainer), _FIELDS).droplevel("byzantine")


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim what 15 workers cost without privacy, with it, by rules, and by models."""
    accuracy = accuracies(runs)
    models = list(accuracy.index.unique("model"))
    epsilons = [at for at in accuracy.index.unique("target_epsilon") if at != NONE]
    found = [_is_as_good(accuracy, model) for model in models]
    found += [_costs(accuracy, model, at) for model in models for at in epsilons]
    found += [
        _costs_on_top(accuracy, model, at, rule)
        for rule in _ON_TOP
        for model in models
        for at in epsilons
    ]
    found += [_costs_more(accuracy, models, at) for at in epsilons]
    return found


def _behind(accuracy: pd.DataFrame, model: str, epsilon: Any, rule: str, other: str) -> pd.Series:
    """Return by how much a trainer is behind another, seed by seed."""
    return seeds_at(accuracy, model, other, epsilon) - seeds_at(accuracy, model, rule, epsilon)


def _is_as_good(accuracy: pd.DataFrame, model: str) -> Verdict:
    claim = f"{model}, no privacy: the mean of workers is within {_MARGIN} point of central"
    behind = _behind(accuracy, model, NONE, "mean", _CENTRAL)
    return judge(claim, -behind, (-_MARGIN, _MARGIN), level=0.9)


def _costs(accuracy: pd.DataFrame, model: str, epsilon: float) -> Verdict:
    claim = f"{model}, epsilon {epsilon:g}: noise of workers costs the mean over {_MARGIN} point"
    behind = _behind(accuracy, model, epsilon, "mean", _CENTRAL)
    return judge(f"{claim} against central", behind, (_MARGIN, math.inf))


def _costs_on_top(accuracy: pd.DataFrame, model: str, epsilon: float, rule: str) -> Verdict:
    claim = f"{model}, epsilon {epsilon:g}: {_ON_TOP[rule]} costs over {_MARGIN} point on top"
    return judge(claim, _behind(accuracy, model, epsilon, rule, "mean"), (_MARGIN, math.inf))


def _costs_more(accuracy: pd.DataFrame, models: list[str], epsilon: float) -> Verdict:
    small, large = models
    few, many = (_behind(accuracy, model, epsilon, "mean", _CENTRAL) for model in models)
    claim = f"epsilon {epsilon:g}: noise of workers costs {large} over {_MARGIN} point more than"
    return judge(f"{claim} {small}", many - few, (_MARGIN, math.inf))


def table(runs: pd.DataFrame) -> str:
    """Accuracy of every trainer with its learning rate; then the noise that each budget takes."""
    accuracy = accuracies(runs)
    rates = accuracies(runs.assign(accuracy=runs["learning_rate"])) / 100
    trainers = list(accuracy.index.unique("trainer"))
    rows = [
        f"| model | epsilon | {' | '.join(trainers)} |",
        f"| --- | --- |{' ---: |' * len(trainers)}",
    ]
    for model in accuracy.index.unique("model"):
        for epsilon in accuracy.index.unique("target_epsilon"):
            cells = [
                _cell(accuracy, rates, (model, trainer, epsilon))
                if (model, trainer, epsilon) in accuracy.index
                else ""
                for trainer in trainers
            ]
            told = "∞" if epsilon == NONE else f"{epsilon:g}"
            rows.append(f"| {model} | {told} | {' | '.join(cells)} |")
    notes = [
        f"Accuracy in % on test data, mean over {accuracy.shape[1]} seeds, ± half of its 95 % "
        "interval; in brackets the learning rate. Epsilon at delta = 1e-05, an upper bound for one "
        "example's contribution (zero-out, n public), against whoever sees every message; of "
        "central against whoever sees the noisy averages, as one who is trusted sees all data. "
        "Tuning is not counted.",
        "The noise that a budget takes, by standard deviations: sigma b / C as a multiple of what "
        "an example can add to a message, and of a coordinate of the average of messages.",
    ]
    return "\n".join([*rows, "", notes[0], "", notes[1], "", *noise_rows(runs)])


def _cell(accuracy: pd.DataFrame, rates: pd.DataFrame, setting: Any) -> str:
    seeds = accuracy.loc[setting]
    shown = in_percent(seeds.mean() / 100, float(half_width(seeds.std(ddof=1), seeds.size)) / 100)
    return f"{'±'.join(shown)} ({rates.loc[setting].iloc[0]:g})"


def noise_rows(runs: pd.DataFrame) -> list[str]:
    """Write the noise of each budget and kind of message, a row each."""
    signs = runs["aggregator"] == "majority_vote"
    messages = signs.map({True: "sign", False: "vector"})
    fields = ["target_epsilon", "honest", "messages", "batch_size", "clip_norm", "noise_scale"]
    each = runs.assign(messages=messages).dropna(subset="target_epsilon")[fields].drop_duplicates()
    rows = [
        "| epsilon | workers | message | sigma = b B / C | b | of the average |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for epsilon, workers, message, batch, clip, b in each.sort_values(fields[:3]).to_numpy():
        average = f"{b / math.sqrt(workers):.3g}" if message == "vector" else ""
        noise = f"{b * batch / clip:.3f} | {b:.3g} | {average}"
        rows.append(f"| {epsilon:g} | {workers} | {message} | {noise} |")
    return rows


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against 1 / epsilon: a panel a model, a line a trainer."""
    accuracy = accuracies(runs)
    accuracy.index = pd.MultiIndex.from_tuples(
        (model, trainer, 0.0 if at == NONE else 1 / at) for model, trainer, at in accuracy.index
    )
    return lines_figure(
        accuracy, "1 / epsilon", "accuracy in %", ["0: without noise and clipping."]
    )


EXPERIMENT = Experiment(claims, table, figure)
