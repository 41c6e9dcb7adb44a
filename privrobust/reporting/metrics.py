"""What runs are judged by: where a store has it, what is better, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from privrobust.core.formatting import in_percent, with_digits
from privrobust.errors import SpecError, unknown_name


@dataclass(frozen=True)
class Metric:
    """A number of a run."""

    heading: str
    """In a table that shows several."""
    told: str
    """What it is, in words; `{data}` is the held-out split."""
    of: Callable[[pd.DataFrame], Any]
    """Reads it off runs, as from `Store.runs`; NaN where a run has none."""
    is_share: bool = True
    """Whether it is printed in percent."""
    more_is_better: bool = True
    is_compared: bool = True
    """Whether the best of a column is marked: the least gap is that of what learnt nothing."""
    sees_training_data: bool = False
    """Whether epsilon does not cover it."""

    @property
    def is_accuracy(self) -> bool:
        """Whether it makes sense to ask which share of it attacks leave."""
        return self.is_share and self.more_is_better

    def score(self, mean: Any) -> Any:
        """Turn means around where less is better."""
        return mean if self.more_is_better else -mean

    def text(self, mean: float, half: float) -> tuple[str, str]:
        """Write a mean, and half of its interval, empty where that is NaN."""
        return in_percent(mean, half) if self.is_share else with_digits(mean, half, 3, 4)


def _stored(column: str) -> Callable[[pd.DataFrame], Any]:
    return lambda runs: pd.to_numeric(runs[column])


def _less(one: str, other: str) -> Callable[[pd.DataFrame], Any]:
    return lambda runs: pd.to_numeric(runs[one]) - pd.to_numeric(runs[other])


METRICS = {
    "accuracy": Metric("accuracy", "accuracy in % on {data} data", _stored("accuracy")),
    "final_loss": Metric(
        "loss", "loss on {data} data", _stored("final_loss"), is_share=False, more_is_better=False
    ),
    "calibration_error": Metric(
        "calibration",
        "expected calibration error in % on {data} data",
        _stored("calibration_error"),
        more_is_better=False,
    ),
    "error": Metric(
        "error",
        "squared error of a step, against honest gradients without noise",
        _stored("error"),
        is_share=False,
        more_is_better=False,
    ),
    "worst_class_accuracy": Metric(
        "worst class",
        "accuracy in % on the worst class of {data} data",
        _stored("worst_class_accuracy"),
    ),
    "worst_worker_accuracy": Metric(
        "worst worker",
        "accuracy in % on {data} data such as the worst honest worker's",
        _stored("worst_worker_accuracy"),
    ),
    "train_accuracy": Metric(
        "train acc.",
        "accuracy in % on training examples",
        _stored("train_accuracy"),
        sees_training_data=True,
    ),
    "train_loss": Metric(
        "train loss",
        "loss on training examples",
        _stored("train_loss"),
        is_share=False,
        more_is_better=False,
        sees_training_data=True,
    ),
    "generalisation_gap": Metric(
        "gen. gap",
        "generalisation gap in points, training less {data} accuracy",
        _less("train_accuracy", "accuracy"),
        more_is_better=False,
        is_compared=False,
        sees_training_data=True,
    ),
    "loss_gap": Metric(
        "loss gap",
        "{data} less training loss",
        _less("final_loss", "train_loss"),
        is_share=False,
        more_is_better=False,
        is_compared=False,
        sees_training_data=True,
    ),
}
"""By name; all but the gaps are columns of a store."""

ACCURACY = ("accuracy",)


def checked(metrics: Sequence[str]) -> Sequence[str]:
    """Return the names of metrics, which there are.

    Raises:
        SpecError: there is no metric of a name, or none at all is named.

    """
    if not metrics:
        raise SpecError(f"metric: none is named; accepted: some of {', '.join(METRICS)}")
    for name in metrics:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
    return list(dict.fromkeys(metrics))


def interval_of(metric: str) -> str:
    """Name the column of a summary that has the interval of a metric."""
    return "interval" if metric == "accuracy" else f"{metric}_interval"


def lacking(runs: pd.DataFrame, metric: str) -> int:
    """Count the runs that finished and lack a metric, as an earlier version did not measure it.

    A run may also have none as a loss was not finite; every accuracy is there then.
    """
    lacks = (
        METRICS[metric].of(runs).isna() & runs["failure"].isna() & ~runs["diverged"].astype(bool)
    )
    return int((lacks & runs["train_accuracy"].isna()).sum()) if lacks.any() else 0
