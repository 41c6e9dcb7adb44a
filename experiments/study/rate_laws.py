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


class Part(NamedTuple):
    """What one law is to hold for: runs of one method and kind of model and data."""

    name: str
    method: str
    accuracy: pd.DataFrame
    """In %, indexed by `AXES` and the learning rate, a column a seed."""
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
        _part(str(name), str(method), each.droplevel(["part", "method"]))
        for (name, method), each in accuracy.groupby(level=["part", "method"])
    ]


def _part(name: str, method: str, accuracy: pd.DataFrame) -> Part:
    best = accuracy.mean(axis=1).groupby(level=AXES).max()
    learnt = best.index[best >= LEARNT]
    rates = pd.DataFrame(
        [[best_rate(curve) for _, curve in accuracy.loc[at].items()] for at in learnt],
        index=learnt,
        columns=accuracy.columns,
        dtype=float,
    )
    return Part(name, method, accuracy, rates, _varying(learnt))


def _varying(settings: pd.Index) -> list[str]:
    return [axis for axis in AXES if settings.get_level_values(axis).nunique() > 1]


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
    tuned = best_rate(part.accuracy.loc[at[0]].mean(axis=1))
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
    return pd.DataFrame(
        [
            _best(part.accuracy.loc[setting]) - accuracy_at(part.accuracy.loc[setting], log_rate)
            for setting, log_rate in log_rates.items()
        ],
        index=log_rates.index,
        columns=part.accuracy.columns,
    )


def _best(accuracy: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return every seed's accuracy at the row with the highest mean."""
    return accuracy.loc[accuracy.mean(axis=1).idxmax()].to_numpy(dtype=float)


class Prescription(NamedTuple):
    """What a theorem prescribes for a T, its constants being tuned at another."""

    steps: int
    noise_scale: float
    log_rate: float
    accuracy: npt.NDArray[np.float64]
    """In %, one a seed."""
    best: tuple[float, float]
    """b and the rate that are best there."""
    best_accuracy: npt.NDArray[np.float64]


def prescriptions(part: Part) -> Iterator[Prescription]:
    """Carry b = 0.1 and its best rate at T = 300 to every T at which that b was run."""
    of_workers = part.accuracy.xs(_prescribed_for(part), level="n").droplevel("d")
    tried = set(of_workers.index.droplevel("learning_rate"))
    if (TUNED, FROM) not in tried:
        return
    tuned = best_rate(of_workers.loc[(TUNED, FROM)].mean(axis=1))
    powers = PRESCRIBED[part.method]
    for steps in sorted({at[1] for at in tried}):
        b = TUNED * (steps / FROM) ** powers["b"]
        run = next(
            (at for at in tried if at[1] == steps and math.isclose(at[0], b, rel_tol=0.01)), None
        )
        if run is None:
            continue
        log_rate = tuned + powers["rate"] * math.log10(steps / FROM)
        here = of_workers.xs(steps, level="T")
        best = here.mean(axis=1).idxmax()
        yield Prescription(
            steps, run[0], log_rate, accuracy_at(of_workers.loc[run], log_rate), best, _best(here)
        )


def _prescribed_for(part: Part) -> int:
    """Return the n with most b, for which prescriptions were run."""
    tried = part.accuracy.index.droplevel("learning_rate").unique()
    return int(tried.to_frame(index=False).groupby("n")["b"].nunique().idxmax())
