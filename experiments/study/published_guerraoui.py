"""Guerraoui et al. 2021: noise and a robust rule together, with batches clipped or examples."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privrobust import RunSpec
from privrobust.accountants import Release, epsilon
from privrobust.accountants.gaussian import epsilon as of_one_release
from privrobust.accountants.release import Adjacency
from privrobust.core.formatting import number, rounded_up
from privrobust.training.shares import sizes
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, cell, outcomes, seeds_at
from study.verdicts import FAILS, HOLDS, UNDECIDED, Verdict, all_of, any_of, judge

CONSTANT = 100 * 6157 / 11055
"""Accuracy in % of who calls every site a phishing site, as the most are."""
GRADIENT_BOUND = 8 * math.sqrt(2) / 27
"""G, the longest gradient of an example.

That of `(p - y)^2`, p = sigmoid(w x + c), is `2 (p - y) p (1 - p) (x, 1)`. Its first factors are
largest for a p of 1/3 or 2/3, where they are 8/27; examples have norm 1, and (x, 1) root 2.
"""
_MARGIN = 5  # points
_CLIPPED = {"worker": "batches clipped", "example": "examples clipped"}
_MEAN, _MDA, _OURS = "mean", "mda", "nnm + trimmed_mean"
_SHOWN = {_MEAN: "mean, nobody attacks", _MDA: f"{_MDA}, worst attack", _OURS: f"{_OURS}, the same"}
_ADJACENCIES: tuple[Adjacency, ...] = ("zero-out", "replace-one")


def their_epsilon(noise_scale: float, batch_size: float, clip_norm: float, delta: float) -> float:
    """Return the epsilon a step that they count: a batch's mean would move by 2 C / B."""
    sigma = noise_scale * batch_size / (2 * clip_norm)
    return math.sqrt(2 * math.log(1.25 / delta)) / sigma


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in %, a column a seed: of the mean clean, of rules in the worst case."""
    theirs = [
        round(their_epsilon(*of_run), 3) if of_run[0] else NONE
        for of_run in runs[["noise_scale", "batch_size", "clip_norm", "delta"]].itertuples(
            index=False, name=None
        )
    ]
    told = runs.assign(theirs=pd.Series(theirs, runs.index, dtype=object))
    found = outcomes(told, ["unit", "theirs", "batch_size", "aggregator"])
    return found.droplevel("byzantine")


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that noise alone and attacks alone do little, and that a large batch survives both."""
    accuracy = accuracies(runs)
    found = []
    for unit, clipped in _CLIPPED.items():
        of_unit = _of(accuracy, unit)
        epsilons = _epsilons(of_unit)
        found += [
            all_of(
                f"{clipped}, no noise: {rule} keeps over half at every B",
                _kept(of_unit, NONE, rule),
            )
            for rule in (_MDA, _OURS)
        ]
        for at in epsilons:
            told = f"{clipped}, epsilon {at:g} a step"
            found.append(
                all_of(
                    f"{told}, nobody attacks: mean keeps over half at every B",
                    _kept(of_unit, at, _MEAN),
                )
            )
            found += [
                any_of(f"{told}: {rule} keeps over half at some B", _kept(of_unit, at, rule))
                for rule in (_MDA, _OURS)
            ]
            found.append(any_of(f"{told}: {_OURS} beats {_MDA} at some B", _gains(of_unit, at)))
    return found


def _of(accuracy: pd.DataFrame, unit: str) -> pd.DataFrame:
    return accuracy.loc[[unit]].droplevel("unit")


def _epsilons(of_unit: pd.DataFrame) -> list[float]:
    return sorted((at for at in of_unit.index.unique("theirs") if at != NONE), reverse=True)


def _sizes(of_unit: pd.DataFrame) -> list[float]:
    return sorted(of_unit.index.unique("batch_size"))


def _kept(of_unit: pd.DataFrame, at: Any, rule: str) -> list[Verdict]:
    """Judge at each B, from the smallest, if over half is left of what the mean learns alone."""
    batch_sizes = _sizes(of_unit)
    return [
        judge(
            f"B = {size:g}, points beyond that half",
            seeds_at(of_unit, at, size, rule)
            - CONSTANT
            - (seeds_at(of_unit, NONE, size, _MEAN) - CONSTANT) / 2,
            (0, math.inf),
            comparisons=len(batch_sizes),
        )
        for size in batch_sizes
    ]


def _gains(of_unit: pd.DataFrame, at: Any) -> list[Verdict]:
    batch_sizes = _sizes(of_unit)
    return [
        judge(
            f"B = {size:g}, by over {_MARGIN} points",
            seeds_at(of_unit, at, size, _OURS) - seeds_at(of_unit, at, size, _MDA),
            (_MARGIN, math.inf),
            comparisons=len(batch_sizes),
        )
        for size in batch_sizes
    ]


def kept_from(of_unit: pd.DataFrame, at: Any, rule: str) -> str:
    """Name the B from which on over half is kept, or say that none up to the last is shown to."""
    batch_sizes = _sizes(of_unit)
    outcome = [verdict.outcome for verdict in _kept(of_unit, at, rule)]
    lost = [place for place, each in enumerate(outcome) if each != HOLDS]
    if not lost:
        return f"{batch_sizes[0]:g}"
    if lost[-1] < len(outcome) - 1:
        return f"{batch_sizes[lost[-1] + 1]:g}"
    return {FAILS: "none", UNDECIDED: "undecided"}[outcome[-1]]


def table(runs: pd.DataFrame) -> str:
    """Tell what mean, MDA and NNM have by B, then what the noise hides."""
    accuracy = accuracies(runs)
    batch_sizes = _sizes(accuracy)
    rows = [
        "| what is clipped | epsilon a step, as they count | "
        + " | ".join(f"B = {size:g}" for size in batch_sizes)
        + f" | {_MDA} keeps half from B | {_OURS} from B |",
        f"| --- | --- |{' ---: |' * (len(batch_sizes) + 2)}",
    ]
    for unit in _CLIPPED:
        of_unit = _of(accuracy, unit)
        for at in (NONE, *_epsilons(of_unit)):
            cells = [
                " / ".join(cell(seeds_at(of_unit, at, size, rule)) for rule in _SHOWN)
                if size in _sizes(of_unit)
                else ""
                for size in batch_sizes
            ]
            cells += [kept_from(of_unit, at, rule) for rule in (_MDA, _OURS)]
            what = _CLIPPED[unit].split()[0]
            rows.append(f"| {what} | {'none' if at == NONE else f'{at:g}'} | {' | '.join(cells)} |")
    notes = [
        f"Accuracy in % on test data: {_MEAN} where nobody attacks / {_MDA} / {_OURS}, both with "
        f"five of eleven attacking by the worse of two attacks: mean over {accuracy.shape[1]} "
        "seeds, ± half of its 95 % interval. Who calls every site a phishing site has "
        f"{CONSTANT:.1f}. Half: of what {_MEAN} learns beyond that at the same B without attackers "
        "or noise; from the named B on the verdict at every B is that more is kept.",
    ]
    return "\n".join([*rows, "", *notes, "", *_privacy(runs)])


def _privacy(runs: pd.DataFrame) -> list[str]:
    """Tabulate what the messages spend, a row an epsilon of theirs and a B."""
    noisy = runs[runs["noise_scale"] > 0]
    settings = {
        name: runs[name].iloc[0]
        for name in ("dataset", "model", "loss", "steps", "clip_norm", "delta")
    }
    spec = RunSpec(
        **settings, workers=11, byzantine=5, attack="alie(z=1)", aggregator=_MDA, batch_size=10
    )
    held = min(sizes(spec))
    rows = []
    scales = noisy[["batch_size", "noise_scale"]].drop_duplicates()
    for size, b in sorted(scales.itertuples(index=False, name=None)):
        theirs = their_epsilon(b, size, spec.clip_norm or 0, spec.delta)
        cells = [
            " / ".join(rounded_up(each, 2) for each in cell) for cell in spent(b, size, held, spec)
        ]
        rows.append(f"| {size:g} | {theirs:.2g} | {number(b)} | {' | '.join(cells)} |")
    return [
        "What that noise hides, at delta = "
        f"{spec.delta:g}, of a worker with {held:,} examples (five of eleven attack):",
        "",
        "| B | epsilon a step, as they count | b | batches clipped, a step | examples clipped, a "
        f"step | batches clipped, {spec.steps:,} steps | examples clipped, {spec.steps:,} steps |",
        f"|{' ---: |' * 7}",
        *rows,
        "",
        "A step: one example exchanged for another (replace-one), as they count, without sampling; "
        "exact for that sensitivity. All steps: zero-out, n public / replace-one, batches drawn by "
        "coins; upper bounds.",
    ]


def spent(b: float, batch_size: float, held: int, spec: RunSpec) -> list[list[float]]:
    """Return the epsilons of a row: of a step, then of all; with batches clipped, then examples.

    A mean of B gradients of norm up to G moves by 2 G / B if one is exchanged, by G / B if one is
    zeroed. Clipping it to C makes no distance longer (it projects on a ball), and none is longer
    than 2 C.

    Args:
        b: the noise.
        batch_size: B.
        held: the examples of a worker.
        spec: C, T and delta.

    Returns:
        One number a step, by replace-one; of all steps two, by zero-out and replace-one.

    """
    clip_norm = spec.clip_norm or math.inf
    moves = min(2 * GRADIENT_BOUND / batch_size, 2 * clip_norm), 2 * clip_norm / batch_size
    bounds = min(GRADIENT_BOUND, 2 * clip_norm * batch_size), clip_norm
    of_all = [
        [
            epsilon(
                Release(
                    noise_scale=b,
                    grad_norm_bound=bound,
                    batch_size=batch_size,
                    dataset_size=held,
                    steps=spec.steps,
                    adjacency=adjacency,
                ),
                spec.delta,
            )
            for adjacency in _ADJACENCIES
        ]
        for bound in bounds
    ]
    return [*([of_one_release(b / move, spec.delta)] for move in moves), *of_all]


def figure(runs: pd.DataFrame) -> Figure:
    """Draw accuracy against B: a panel an epsilon and what is clipped."""
    accuracy = accuracies(runs)
    drawn = {}
    for (unit, at, size, rule), seeds in zip(
        accuracy.index.to_list(), accuracy.to_numpy(), strict=True
    ):
        told = "no noise" if at == NONE else f"epsilon {at:g} a step"
        drawn[f"{_CLIPPED[unit]}, {told}", _SHOWN[rule], size] = np.asarray(seeds)
    order = [
        f"{clipped}, {told}"
        for unit, clipped in _CLIPPED.items()
        for told in (
            "no noise",
            *(f"epsilon {at:g} a step" for at in _epsilons(_of(accuracy, unit))),
        )
    ]
    values = pd.DataFrame(list(drawn.values()), index=pd.MultiIndex.from_tuples(drawn))
    notes = [
        "Epsilon as the paper counts it, for means of batches that move by 2 C / B.",
        f"Who calls every site a phishing site has {CONSTANT:.1f} %.",
    ]
    return lines_figure(values.loc[order], "batch size B", "accuracy in %", notes, are_shares=True)


EXPERIMENT = Experiment(claims, table, figure)
