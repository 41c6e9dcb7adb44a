"""What attacks cost: the worst case, the gap to clean accuracy, and where a setting breaks down."""

import numpy as np
import pandas as pd

from privrobust.core.numbers import as_float
from privrobust.errors import SpecError
from privrobust.reporting.metrics import METRICS, checked
from privrobust.reporting.summary import WORST, setting_levels, summarise


def robustness(runs: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Put every setting under its worst attack, at every number of Byzantine workers.

    Args:
        runs: a row a run, as from `Store.runs`.
        metric: of `METRICS`, by which that attack is the worst.

    Returns:
        Indexed by the fields that tell settings apart and `byzantine`, the attacked ones. Columns:
        `workers`, n; `clean` and `worst`, mean values over seeds without and under the worst
        attack, of those of which no run failed (NaN where that leaves none); `attack`, which that
        is; `gap`, what it costs, `clean - worst` where more is better; `kappa`, the empirical
        robustness coefficient, its largest over attacks and seeds; `failed`, how many attacked runs
        did: where any did, `worst` may be less.

    """
    summary = summarise(runs, [metric])
    score = METRICS[metric].score
    levels = [*setting_levels(summary), "byzantine"]
    attack = summary.index.get_level_values("attack")
    # where a run failed, the mean of those that survived says nothing of it
    means = summary[metric].where(summary["failed"] == 0)
    clean = dict(means[attack == ""].droplevel(["byzantine", "attack"]).items())
    is_attacked = ~attack.isin(["", WORST])
    settings = summary[is_attacked].groupby(level=levels, sort=False)
    measured = means[is_attacked].dropna()
    least = score(measured).groupby(level=levels, sort=False).idxmin()
    worst = measured.loc[list(least)].reset_index("attack").reindex(settings.size().index)
    table = pd.DataFrame(
        {
            "workers": settings["workers"].first(),
            "clean": [clean.get(at[:-1], float("nan")) for at in worst.index],
            "worst": worst[metric],
            "attack": worst["attack"],
            "kappa": settings["kappa"].max(),
            "failed": settings["failed"].sum(),
        }
    )
    table.insert(4, "gap", score(table["clean"] - table["worst"]))
    return table


def breakdown_point(
    runs: pd.DataFrame, fraction: float = 0.5, metric: str = "accuracy"
) -> pd.Series:
    """Return the largest f / n up to which every attack leaves this share of the clean accuracy.

    Args:
        runs: a row a run, as from `Store.runs`, clean ones among them.
        fraction: of the clean accuracy, in (0, 1].
        metric: of `METRICS`, an accuracy.

    Returns:
        By setting: 0 where the fewest Byzantine workers that were tried break it already, NaN
        where it was not run without attackers. A failed run under attack has left nothing.

    Raises:
        SpecError: `fraction` is none, or the metric is no accuracy.

    """
    accepted = "accepted: above 0 and at most 1"
    fraction = as_float("fraction", fraction, accepted, above=0, most=1)
    if not METRICS[checked([metric])[0]].is_accuracy:
        raise SpecError(
            f"metric: a breakdown point by {metric} is not accepted: by an accuracy, of which "
            "attacks leave a share"
        )

    table = robustness(runs, metric)
    levels = [level for level in table.index.names if level != "byzantine"]
    settings = table.groupby(level=levels, sort=False)
    unknown = settings["clean"].count() < settings.size()
    by_f = table.iloc[np.argsort(table.index.get_level_values("byzantine"), kind="stable")]
    left = by_f["worst"].where(by_f["failed"] == 0)
    holds = (left >= fraction * by_f["clean"]).astype(int)
    held = holds.groupby(level=levels, sort=False).cummin() == 1
    shares = by_f.index.get_level_values("byzantine") / by_f["workers"]
    points = shares.where(held, 0.0).groupby(level=levels, sort=False).max()
    return points.reindex(unknown.index).mask(unknown).rename("breakdown_point")
