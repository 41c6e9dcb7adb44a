"""Best rates of many settings, laws of them, and what a law's predictions would have cost."""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from privrobust.data import get_dataset
from privrobust.models.validation import build_model
from study.outcomes import parts
from study.power_law import fitted, predicted, through
from study.rates import accuracy_at, best_rate

AXES = ["b", "T", "n", "d"]
THEORY = {
    "mean": {"b": -1.0, "T": -0.5, "n": 0.5, "d": -0.5},
    "median": {"b": -1.0, "T": -0.5, "n": 0.5, "d": -0.5},
    "majority_vote": {"b": 0.0, "T": -0.5, "n": 0.0, "d": -0.5},
}
LEARNT = 30.0  # % at the best rate: below, the curve is noise
TUNED = 0.1  # the b at which one tunes once
FROM = 300  # the T from which prescriptions are carried to others
PRESCRIBED = {"median": {"b": 1 / 6, "rate": -2 / 3}, "majority_vote": {"b": 1 / 4, "rate": -0.5}}
"""Exponents in T of what Theorems 6 and 5 prescribe: powers of T d, d being the same."""


class Setting(NamedTuple):
    """What a best rate may be a power of, by the symbols of `AXES`."""

    b: float
    T: int
    n: int
    d: int


class Part(NamedTuple):
    """What one law is to hold for: runs of one method and kind of model and data."""

    name: str
    method: str
    curves: dict[Setting, pd.DataFrame]
    """Accuracies in %, indexed by the learning rate, a column a seed."""
    rates: pd.DataFrame
    """log10 of the best, indexed by `AXES`, a column a seed; of settings in which any learns."""
    axes: list[str]
    """Those that vary."""

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.name}, {self.method}"


def parts_of(runs: pd.DataFrame) -> list[Part]:
    """Sort runs by what one law is to hold for."""
    family = runs["model"].str.partition("(")[0]
    known = pd.DataFrame(
        {
            "part": [
                f"{name}, heterogeneity {value:g}"
                for name, value in zip(family, runs["heterogeneity"], strict=True)
            ],
            "method": runs["aggregator"],
            "b": runs["noise_scale"].astype(float),
            "T": runs["steps"],
            "n": runs["honest"],
            "d": [_size(*each) for each in zip(runs["model"], runs["dataset"], strict=True)],
            "learning_rate": runs["learning_rate"].astype(float),
            "seed": runs["seed"],
            "accuracy": 100 * pd.to_numeric(runs["accuracy"], errors="coerce").astype(float),
        }
    )
    levels = ["part", "method", *AXES, "learning_rate"]
    accuracy = known.set_index([*levels, "seed"])["accuracy"].unstack("seed").sort_index()
    return [
        _part(name, method, {Setting(*at): curve for at, curve in parts(each, AXES)})
        for (name, method), each in parts(accuracy, ["part", "method"])
    ]


def _part(name: str, method: str, curves: dict[Setting, pd.DataFrame]) -> Part:
    learnt = [at for at, curve in curves.items() if curve.mean(axis=1).max() >= LEARNT]
    seeds = next(iter(curves.values())).columns
    rates = pd.DataFrame(
        [[best_rate(curves[at][seed]) for seed in seeds] for at in learnt],
        index=pd.MultiIndex.from_tuples(learnt, names=AXES),
        columns=seeds,
        dtype=float,
    )
    varying = [axis for axis in AXES if rates.index.get_level_values(axis).nunique() > 1]
    return Part(name, method, curves, rates, varying)


@lru_cache
def _size(model: str, dataset: str) -> int:
    """Count a model's parameters."""
    made = build_model(model, get_dataset(dataset), 0)
    return sum(each.numel() for each in made.parameters())


def held_out(part: Part) -> dict[str, float]:
    """Return the largest value of each axis of three or more but b: what is to be predicted."""
    values = {axis: part.rates.index.unique(axis) for axis in AXES if axis != "b"}
    return {axis: max(each) for axis, each in values.items() if len(each) > 2}


def _small(part: Part) -> pd.DataFrame:
    """Return the best rates of settings that are not to be predicted."""
    index = part.rates.index
    is_large = [index.get_level_values(axis) == value for axis, value in held_out(part).items()]
    return part.rates[~np.any(is_large, axis=0)] if is_large else part.rates


def fitted_law(part: Part) -> pd.Series:
    """Predict the best rates of held-out settings by a law that is fitted to the others."""
    small = _small(part)
    law = fitted(small, part.axes).mean(axis=1, skipna=False)
    return predicted(law, part.rates.index.difference(small.index))


def theory_law(part: Part) -> pd.Series:
    """Predict them by theory's exponents, from one setting that is tuned: a small one.

    It has the fewest workers and parameters, a middle T, and b = 0.1.

    Returns:
        NaN where that setting was not run, or taught nothing.

    """
    small = _small(part)
    large = part.rates.index.difference(small.index)
    settings = small.index.to_frame()
    steps = sorted(settings["T"].unique())
    at = settings[
        (settings["b"] == TUNED)
        & (settings["T"] == (steps[len(steps) // 2] if steps else math.nan))
        & (settings["n"] == settings["n"].min())
        & (settings["d"] == settings["d"].min())
    ].index
    if at.empty:
        return pd.Series(math.nan, large)
    tuned = best_rate(part.curves[Setting(*at[0])].mean(axis=1))
    return predicted(through(tuned, at, pd.Series(THEORY[part.method])), large)


def lost(part: Part, log_rates: pd.Series) -> pd.DataFrame:
    """Subtract the accuracy at given rates from that at the rate with the highest mean.

    So tuning has the advantage of looking at the very runs that it is judged by.

    Args:
        part: of which.
        log_rates: log10 of a rate for each setting.

    Returns:
        Points, indexed as the rates are, a column a seed; NaN for rates beyond those tried.

    """
    curves = [part.curves[Setting(*at)] for at in log_rates.index]
    return pd.DataFrame(
        [_best(each) - accuracy_at(each, at) for each, at in zip(curves, log_rates, strict=True)],
        index=log_rates.index,
        columns=part.rates.columns,
    )


def _best(curve: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return every seed's accuracy at the rate with the highest mean."""
    return np.asarray(curve.to_numpy(dtype=float)[_best_row(curve)])


def _best_row(curve: pd.DataFrame) -> int:
    return int(curve.mean(axis=1).fillna(-math.inf).to_numpy().argmax())


class Prescription(NamedTuple):
    """What a theorem prescribes for a T, its constants being tuned at another."""

    steps: int
    noise_scale: float
    log_rate: float
    accuracy: npt.NDArray[np.float64]
    """In %, one a seed."""
    best_noise_scale: float
    best_rate: float
    best_accuracy: npt.NDArray[np.float64]


def prescriptions(part: Part) -> Iterator[Prescription]:
    """Carry b = 0.1 and its best rate at T = 300 to every T at which the b that follows was run."""
    workers = _prescribed_for(part)
    curves = {(at.b, at.T): curve for at, curve in part.curves.items() if at.n == workers}
    if (TUNED, FROM) not in curves:
        return
    tuned = best_rate(curves[TUNED, FROM].mean(axis=1))
    powers = PRESCRIBED[part.method]
    for steps in sorted({steps for _, steps in curves}):
        here = {b: curve for (b, of), curve in curves.items() if of == steps}
        noise_scale = TUNED * (steps / FROM) ** powers["b"]
        run = [b for b in here if math.isclose(b, noise_scale, rel_tol=0.01)]
        if not run:
            continue
        log_rate = tuned + powers["rate"] * math.log10(steps / FROM)
        best = max(here, key=lambda b: here[b].mean(axis=1).max())
        yield Prescription(
            steps,
            run[0],
            log_rate,
            accuracy_at(here[run[0]], log_rate),
            best,
            float(here[best].index.to_numpy()[_best_row(here[best])]),
            _best(here[best]),
        )


def _prescribed_for(part: Part) -> int:
    """Return the n with most b, for which prescriptions were run."""
    noise_scales: dict[int, set[float]] = {}
    for at in part.curves:
        noise_scales.setdefault(at.n, set()).add(at.b)
    return max(noise_scales, key=lambda n: len(noise_scales[n]))
