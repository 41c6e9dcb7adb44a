"""What a table says: means over seeds with 95 % Student intervals, by setting, f and attack."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from privrobust.core.formatting import number
from privrobust.reporting.intervals import half_width
from privrobust.reporting.learning import clearly_above
from privrobust.reporting.metrics import ACCURACY, METRICS, checked, interval_of
from privrobust.reporting.scaling import is_scaled
from privrobust.spec.run_fields import FIELDS, named

Row = tuple[Any, ...]
WORST = "worst"
ALWAYS_ROWS = named(lambda field: field.rows == "always")
_TOLD_ROWS = named(lambda field: field.rows == "told")
_NEVER_ROWS = set(named(lambda field: field.rows == "never"))


def row_fields(runs: pd.DataFrame) -> list[str]:
    """Name the fields that tell rows apart: the usual three, and each that varies by itself.

    A field that those already decide (the learning rate of a method) makes no column, unless it is
    one that epsilon is not to be read without (how examples are sampled); nor does one
    that was chosen for each seed, f and attack apart, as with `repeats`. Where a sweep fixed
    `workers`, that stands for `honest`, which only makes room for `byzantine`.
    """
    return _telling(without_gaps(runs))


def _telling(runs: pd.DataFrame) -> list[str]:
    """Name the fields that tell rows apart, of runs without gaps."""
    rows = [*ALWAYS_ROWS, *(name for name in _TOLD_ROWS if runs[name].nunique() > 1)]
    apart = _chosen_apart(runs)
    groups = runs.groupby([*rows, apart])
    for field in FIELDS:
        if field in _NEVER_ROWS or field in rows or runs[field].nunique() == 1:
            continue
        if field == "honest" and fixes_workers(runs):
            field = "workers"
        if groups[field].nunique().max() > 1:
            rows.append(field)
            groups = runs.groupby([*rows, apart])
    return rows


def _chosen_apart(runs: pd.DataFrame) -> pd.Series:
    """Tell by a number what one choice was for: with `repeats` a seed, f and attack, else all."""
    places = runs.groupby(["seed", "byzantine", "attack"], dropna=False).ngroup()
    return places.where(runs["repeats"] != "none", -1)


def fixes_workers(runs: pd.DataFrame) -> bool:
    """Tell whether n was held while f varied, and not h."""
    return bool((runs["honest"] + runs["byzantine"]).nunique() < runs["honest"].nunique())


def summarise(runs: pd.DataFrame, metrics: Sequence[str] = ACCURACY) -> pd.DataFrame:
    """Average accuracy, or other metrics, over seeds.

    Args:
        runs: a row a run, as from `Store.runs`.
        metrics: of `METRICS`; the first decides which attack is the worst.

    Returns:
        Indexed by the fields that tell rows apart, `byzantine` and `attack`: empty where there is
        none, and "worst" for the attack that leaves the worst mean. Columns: of each metric, under
        its name, the mean over seeds, NaN where a run that did not fail has no value, and the
        half-width of its 95 % Student interval, NaN for a single seed, as `interval` of accuracy
        and, say, `train_loss_interval` of others; `attack_success_rate` and
        `attack_success_interval`, the same of attacks with a goal of their own, NaN of others;
        `epsilon`, the largest, whether it `is_upper_bound` and no estimate, and `not_private`, why
        it is infinite; `scaled_by_data`, whether it leaves out what scaling measured; `seeds`,
        `diverged` and `failed`, counts of runs; `kappa`, the largest empirical robustness
        coefficient; `workers`, n; `chance` and `chance_at_most`, between which the accuracy lies of
        what has learnt nothing, NaN where runs do not say; `learnt`, whether that of these runs is
        clearly above both.

    """
    metrics = checked(metrics)
    values = {name: METRICS[name].of(runs) for name in metrics}
    chance = runs.get("chance", math.nan)  # a frame of one's own may lack it
    added = {
        "scaled_by_data": is_scaled(runs["dataset"]),
        "chance": chance,
        "chance_at_most": runs.get("chance_at_most", chance),
        **values,
    }
    attack = runs["attack"].astype(object).fillna("")  # all are missing where none was run
    runs = without_gaps(runs.assign(attack=attack, **added))
    groups = runs.groupby([*_telling(runs), "byzantine", "attack"], sort=False)
    finished = groups.size() - groups["failure"].count()
    means = {}
    for name in metrics:
        of_seeds = groups[name]
        is_whole = of_seeds.count() >= finished
        means[name] = of_seeds.mean().where(is_whole)
        half = pd.Series(half_width(of_seeds.std(), of_seeds.count()), finished.index)
        means[interval_of(name)] = half.where(is_whole)
    success, accuracy = groups["attack_success_rate"], groups["accuracy"]
    most = groups["chance_at_most"].max()
    spread = half_width(accuracy.std(), accuracy.count())
    learnt = clearly_above(accuracy.mean(), spread, accuracy.count(), most)
    summary = pd.DataFrame(
        {
            **means,
            "attack_success_rate": success.mean(),
            "attack_success_interval": half_width(success.std(), success.count()),
            "epsilon": groups["epsilon"].max(),
            "is_upper_bound": groups["is_upper_bound"].min().astype(bool),
            "not_private": groups["not_private"].first(),
            "scaled_by_data": groups["scaled_by_data"].max().astype(bool),
            "seeds": groups.size(),
            "diverged": groups["diverged"].sum(),
            "failed": groups["failure"].count(),
            "kappa": groups["kappa"].max(),
            "workers": groups["workers"].first(),
            "chance": groups["chance"].max(),
            "chance_at_most": most,
            "learnt": learnt,
        }
    )
    worst = summary.loc[_worst_attacks(summary, metrics[0])].rename(lambda _: WORST, level="attack")
    return pd.concat([summary, worst])


def setting_levels(summary: pd.DataFrame) -> list[str]:
    """Name the levels of a summary's index that tell settings apart."""
    return [str(name) for name in summary.index.names if name not in ("byzantine", "attack")]


def without_gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """Write "none" for the fields that a spec left out: pandas groups no missing values.

    A partition other than by similarity is named as the heterogeneity that it makes, and b as its
    target where one target took several b, as shares that differ in size do.
    """
    similar = runs["partition"] == "similarity"
    fields = {name: runs[name] for name in FIELDS} | {
        "heterogeneity": _boxed(runs["heterogeneity"]).where(similar, runs["partition"]),
        "noise_scale": _noise(runs),
    }
    filled = {name: _boxed(values) for name, values in fields.items()}
    return runs.assign(**filled, workers=runs["honest"] + runs["byzantine"])


def _boxed(values: pd.Series) -> pd.Series:
    """Turn into objects, equal numbers into one, with "none" in the place of gaps."""
    if values.dtype == object:
        gaps = values.isna()
        return values.mask(gaps, "none") if gaps.any() else values
    places, different = pd.factorize(values)
    boxes = np.array([*different.tolist(), "none"], object)  # gaps have the place -1
    return pd.Series(boxes[places], index=values.index, name=values.name)


def _noise(runs: pd.DataFrame) -> pd.Series:
    """Return b, or the target that chose several for one setting."""
    target = pd.to_numeric(runs["target_epsilon"], errors="coerce")
    b = _boxed(runs["noise_scale"])
    if target.isna().all():
        return b
    alike = [field for field in FIELDS if field not in _NEVER_ROWS | {"noise_scale", "honest"}]
    several = b.groupby([runs[field] for field in alike], dropna=False).transform("nunique") > 1
    return b.mask(several & target.notna(), target.map(lambda epsilon: f"for {number(epsilon)}"))


def _worst_attacks(summary: pd.DataFrame, metric: str) -> list[Row]:
    """Find the attack that leaves the worst mean, or whose runs failed.

    One for every row and f of a summary. No value is worse than any: a loss that was not finite.
    """
    attacked = summary[~summary.index.get_level_values("attack").isin(["", WORST])]
    score = METRICS[metric].score(attacked[metric]).fillna(-sys.float_info.max)
    score = score.where(attacked["failed"] == 0, -math.inf)
    levels = [level for level in summary.index.names if level != "attack"]
    return list(score.groupby(level=levels, sort=False).idxmin())
