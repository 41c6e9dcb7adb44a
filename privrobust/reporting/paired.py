"""Values seed by seed: runs of equal seed share batches and noise, so that they pair."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from privrobust.reporting.intervals import CONFIDENCE, half_width
from privrobust.reporting.learning import RESOLUTION
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.summary import Row, row_fields, without_gaps

Named = TypeVar("Named")
Values = Mapping[int, float]
"""By seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half of its Student interval, NaN for a single seed."""

    mean: float
    half: float
    seeds: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half


def estimate(
    values: Iterable[float], level: float = CONFIDENCE, resolution: float = 0.0
) -> Estimate:
    """Average values of independent seeds; of none, the mean is NaN.

    Args:
        values: one a seed.
        level: the chance that the interval covers the true mean of a normal law.
        resolution: the least standard deviation that is believed.

    """
    sample = np.array(list(values), dtype=float)
    count = len(sample)
    if count < 2:
        return Estimate(float(sample[0]) if count else math.nan, math.nan, count)
    is_one = sample.min() == sample.max()  # of which rounding would make a spread
    deviation = max(0.0 if is_one else float(sample.std(ddof=1)), resolution)
    mean = float(sample[0] if is_one else sample.mean())
    return Estimate(mean, float(half_width(deviation, count, level)), count)


def difference(
    one: Values,
    other: Values,
    share: float = 1.0,
    level: float = CONFIDENCE,
    resolution: float = 0.0,
) -> Estimate:
    """Average `one - share * other` over the seeds that both have, as `estimate` does.

    Differences are rounded to 12 decimals: what is in a double's last bits is none.
    """
    common = (seed for seed in one if seed in other)
    found = (round(one[seed] - share * other[seed], 12) for seed in common)
    return estimate(found, level, resolution)


def by_seed(runs: pd.DataFrame, metric: str = "accuracy") -> dict[Row, dict[int, float]]:
    """Return the values of every seed, by setting, f and attack, empty where there is none.

    Args:
        runs: a row a run, as from `Store.runs`.
        metric: of `METRICS`.

    Returns:
        Keys as the index of `privrobust.reporting.summary.summarise`, without the worst. Those of
        which a run failed, or lacks the metric, are left out: what is missing may be the worst.

    """
    values = np.asarray(METRICS[metric].of(runs), dtype=float)
    is_whole = ~np.isnan(values) & runs["failure"].isna().to_numpy()
    runs = runs.assign(attack=runs["attack"].astype(object).fillna(""))
    fields = [*row_fields(runs), "byzantine", "attack"]
    filled = without_gaps(runs)
    cells = list(zip(*(filled[name] for name in fields), strict=True))
    lacking = {at for at, whole in zip(cells, is_whole, strict=True) if not whole}
    found: dict[Row, dict[int, float]] = {}
    for at, seed, value in zip(cells, runs["seed"], values, strict=True):
        if at not in lacking:
            found.setdefault(at, {})[int(seed)] = float(value)
    return found


def leaders(values: Mapping[Named, Values]) -> list[Named]:
    """Return which may be the best of several, that with the largest mean first.

    The others are those of which seeds do not tell that it is better: the Student interval of
    their paired difference from it, of level `1 - 0.05 / (m - 1)` for m in all (Bonferroni), has
    something at or below 0, with a deviation of at least `RESOLUTION`. A single seed tells nothing.
    The truly best is left out with a probability of at most 2.5 % where differences follow a normal
    law, though the leader is chosen by the same seeds: it would have to lose one of its own m - 1
    comparisons, each at a tail of `0.025 / (m - 1)`.

    Args:
        values: by name, of every seed; what more is better of.

    References:
        Gupta, On some multiple decision (selection and ranking) rules (1965); Hsu, Constrained
        simultaneous confidence intervals for multiple comparisons with the best (1984).

    """
    ordered = sorted(values, key=lambda name: -estimate(values[name].values()).mean)
    if len(ordered) < 2:
        return ordered
    level = 1 - (1 - CONFIDENCE) / (len(ordered) - 1)
    best = values[ordered[0]]
    return [
        name
        for name in ordered
        if name == ordered[0]
        or not difference(best, values[name], level=level, resolution=RESOLUTION).low > 0
    ]
