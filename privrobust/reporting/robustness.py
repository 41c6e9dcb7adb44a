"""What attacks cost: the worst case, the gap to clean accuracy, and where a setting breaks down."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from privrobust.core.numbers import as_float
from privrobust.errors import SpecError
from privrobust.reporting.intervals import CONFIDENCE
from privrobust.reporting.learning import RESOLUTION, clearly_above
from privrobust.reporting.metrics import METRICS, checked
from privrobust.reporting.paired import Values, by_seed, difference, estimate
from privrobust.reporting.summary import WORST, Row, setting_levels, summarise

HALF = 0.5
"""The share of the clean accuracy that a setting keeps under attack as long as it withstands."""


def robustness(runs: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Put every setting under its worst attack, at every number of Byzantine workers.

    Args:
        runs: a row a run, as from `Store.runs`.
        metric: of `METRICS`, by which that attack is the worst.

    Returns:
        Indexed by the fields that tell settings apart and `byzantine`, the attacked ones. Columns:
        `workers`, n; `clean` and `worst`, mean values over seeds without and under the worst
        attack, of those of which no run failed (NaN where that leaves none); `attack`, which that
        is; `gap`, what it costs, `clean - worst` where more is better, seed by seed, over the
        `gap_seeds` that both have, and `gap_interval`, half of its 95 % Student interval, NaN for a
        single one; `near_chance`, whether the clean accuracy is not clearly above chance, so
        that a small gap is no merit; `kappa`, the empirical robustness coefficient, its largest
        over attacks and seeds; `failed`, how many attacked runs did: where any did, `worst` may be
        less.

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
    found = by_seed(runs, metric)
    gaps = [
        difference(found.get((*at[:-1], 0, ""), {}), found.get((*at, name), {}))
        for at, name in zip(worst.index, worst["attack"], strict=True)
    ]
    without = cleans(summary, found, found if metric == "accuracy" else by_seed(runs))
    return pd.DataFrame(
        {
            "workers": settings["workers"].first(),
            "clean": [clean.get(at[:-1], float("nan")) for at in worst.index],
            "worst": worst[metric],
            "attack": worst["attack"],
            "gap": [score(gap.mean) for gap in gaps],
            "gap_interval": [gap.half for gap in gaps],
            "gap_seeds": [gap.seeds for gap in gaps],
            "near_chance": [without[at[:-1]].near_chance for at in worst.index],
            "kappa": settings["kappa"].max(),
            "failed": settings["failed"].sum(),
        }
    )


class Verdict(Enum):
    """Whether a setting withstands attacks, as far as its seeds tell."""

    HOLDS = "holds"
    BREAKS = "breaks"
    UNDECIDED = "undecided"


Attacked = tuple[Values, Values]
"""What an attack leaves, by seed: of the metric, and of accuracy; nothing where a run failed."""


@dataclass(frozen=True)
class Clean:
    """A setting without attackers, seed by seed, and what a model gets that learnt nothing."""

    values: Values
    """Of the metric."""
    accuracies: Values
    chance: float
    """At least; NaN where that is not known: nothing is compared with it then."""
    chance_at_most: float

    @property
    def near_chance(self) -> bool:
        """Whether there is an accuracy, and it is not clearly above chance."""
        return bool(self.accuracies) and not is_above(self.accuracies, self.chance_at_most)


def is_above(accuracies: Values, chance: float, level: float = CONFIDENCE) -> bool:
    """Tell whether a mean over seeds is clearly above chance."""
    found = estimate(accuracies.values(), level)
    return bool(clearly_above(found.mean, found.half, found.seeds, chance, level))


def withstands(
    clean: Clean,
    attacked: Sequence[Attacked],
    fraction: float = HALF,
    among: int = 1,
) -> Verdict:
    """Tell whether a setting keeps its share of clean accuracy, and more than chance, under attack.

    It holds where under each attack the 95 % Student interval of `attacked - fraction * clean`,
    seed by seed, has nothing below 0, and that of the accuracy is above chance: it is wrongly said
    to with a probability of at most 2.5 %, however many attacks there are, as all must agree. It
    breaks where under some attack one of them lies on the other side; as one of 2 m is enough, for
    m attacks, these intervals are of 1 - 0.05 / 2 m (Bonferroni), and that is as seldom wrong. In
    between it is undecided, as it is with a single seed, and where a run failed and nothing else
    breaks it. Deviations are at least `RESOLUTION`, but for what lies at chance.

    Args:
        clean: the setting without attackers, some seed of it there.
        attacked: under each attack, the metric and the accuracy, by seed.
        fraction: of the clean metric.
        among: how many settings are asked, of which what is said of any should be as seldom wrong:
            0.05 becomes 0.05 / among (Bonferroni).

    """
    error = (1 - CONFIDENCE) / among
    strict = 1 - error / max(2 * len(attacked), 1)
    holds = bool(attacked)
    for values, accuracies in attacked:
        if not values:
            holds = False
            continue
        left = difference(values, clean.values, fraction, 1 - error, RESOLUTION)
        above = is_above(accuracies, clean.chance_at_most, 1 - error)
        holds &= left.low >= 0 and above
        left = difference(values, clean.values, fraction, strict, RESOLUTION)
        kept = estimate(accuracies.values(), strict)
        if left.high < 0 or kept.high <= clean.chance:
            return Verdict.BREAKS
    return Verdict.HOLDS if holds else Verdict.UNDECIDED


def breakdown(runs: pd.DataFrame, fraction: float = HALF, metric: str = "accuracy") -> pd.DataFrame:
    """Tell up to which f / n every attack leaves a share of the clean accuracy, and how surely.

    Args:
        runs: a row a run, as from `Store.runs`, clean ones among them.
        fraction: of the clean accuracy, in (0, 1].
        metric: of `METRICS`, an accuracy.

    Returns:
        Indexed by the fields that tell settings apart. Columns: `point`, the largest f / n up to
        which the means over seeds say so, 0 where the fewest Byzantine workers that were tried
        break it already, NaN where that depends on a run that failed; `low`, the largest up to
        which it surely holds, and `high`, the largest below the first that surely breaks it, by
        `withstands`, infinite where none does (both NaN where a seed alone tells nothing);
        `near_chance`, whether the clean accuracy is not clearly above chance: there is no point
        then, nor where it was not run without attackers, NaN; `failed`, whether a run under attack
        did.

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
    summary = summarise(runs)
    levels = setting_levels(summary)
    values = by_seed(runs, metric)
    accuracies = values if metric == "accuracy" else by_seed(runs)
    settings = cleans(summary, values, accuracies)
    attacks: dict[Row, dict[int, list[Row]]] = {setting: {} for setting in settings}
    for *setting, f, attack in summary.index:
        if attack not in ("", WORST):
            attacks[tuple(setting)].setdefault(int(f), []).append((*setting, f, attack))
    workers = dict(summary["workers"].groupby(level=[*levels, "byzantine"]).first())
    rows = []
    for setting, clean in settings.items():
        tried = [
            (
                f / workers[*setting, f],
                [(values.get(at, {}), accuracies.get(at, {})) for at in attacks[setting][f]],
            )
            for f in sorted(attacks[setting])
        ]
        rows.append(_breakdown(clean, tried, fraction))
    index = pd.MultiIndex.from_tuples(list(settings), names=levels)
    return pd.DataFrame(rows, index)


def cleans(
    summary: pd.DataFrame, values: Mapping[Row, Values], accuracies: Mapping[Row, Values]
) -> dict[Row, Clean]:
    """Return what every setting is without attackers, in the order of a summary.

    Args:
        summary: of runs, as from `summarise`.
        values: of a metric of these runs, as from `by_seed`.
        accuracies: of them, too.

    """
    bounds = summary[["chance", "chance_at_most"]]
    of_setting = bounds.groupby(level=setting_levels(summary), sort=False).max()
    settings: Any = zip(of_setting.index, *(of_setting[name] for name in bounds), strict=True)
    return {
        setting: Clean(
            values.get((*setting, 0, ""), {}), accuracies.get((*setting, 0, ""), {}), least, most
        )
        for setting, least, most in settings
    }


def _breakdown(
    clean: Clean, tried: Sequence[tuple[float, Sequence[Attacked]]], fraction: float
) -> dict[str, Any]:
    """Return the row of a setting, of what attacks leave at each share of workers, in order."""
    row = {
        "point": math.nan,
        "low": math.nan,
        "high": math.nan,
        "near_chance": clean.near_chance,
        "failed": any(not values for _, attacked in tried for values, _ in attacked),
    }
    if clean.near_chance or not clean.values or not tried:
        return row
    mean = fraction * estimate(clean.values.values()).mean
    breaks = [
        any(
            bool(values)
            and (
                estimate(values.values()).mean < mean
                or estimate(seen.values()).mean <= clean.chance_at_most
            )
            for values, seen in attacked
        )
        for _, attacked in tried
    ]
    is_whole = [all(values for values, _ in attacked) for _, attacked in tried]
    shares = [share for share, _ in tried]
    if all(is_whole[: [*breaks, True].index(True)]):
        row["point"] = _until(shares, [not broken for broken in breaks])
    counts = {len(clean.values), *(len(values) for _, attacked in tried for values, _ in attacked)}
    if 1 in counts:
        return row
    verdicts = [withstands(clean, attacked, fraction) for _, attacked in tried]
    row["low"] = _until(shares, [verdict is Verdict.HOLDS for verdict in verdicts])
    unbroken = [verdict is not Verdict.BREAKS for verdict in verdicts]
    row["high"] = math.inf if all(unbroken) else _until(shares, unbroken)
    return row


def _until(shares: Sequence[float], held: Sequence[bool]) -> float:
    """Return the last share before the first that did not hold, 0 where none is before it."""
    return ([0.0, *shares])[[*held, False].index(False)]
