"""The small print below figures: what is averaged, what marks mean, which epsilon it is."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from privrobust.core.escaping import in_figure
from privrobust.core.formatting import number, rounded_up
from privrobust.reporting.figures.cells import ESTIMATE, faced_by, title_of_data
from privrobust.reporting.legend import (
    DIVERGED,
    FEW,
    FEW_SEEDS,
    FEWER_ATTACKS,
    deltas,
    secrets,
    vouchers,
)
from privrobust.reporting.metrics import METRICS, lacking
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.schemes import charged_for
from privrobust.reporting.tuning import about_tuning

_MOST_GROUPS = 3
_MOST_LISTED = 8


def guarantee(runs: pd.DataFrame, every: pd.DataFrame) -> Iterator[str]:
    """Say which epsilon it is, and what it leaves out.

    Args:
        runs: that are drawn.
        every: run of the store, those of tuning among them.

    """
    finite = runs[runs["epsilon"] < math.inf]
    if len(finite):
        yield (
            f"ε: at δ = {deltas(finite)}, by {vouchers(finite, f'{ESTIMATE} ESTIMATE')}; "
            f"{all_in_short(finite)}, against whoever sees every message; the largest over honest "
            "workers. " + " ".join(_tuning(finite, every))
        )
        yield from charged_for(finite)
        yield from secrets(finite)
        yield from about_scaling(finite, "The")
    for reason in runs["not_private"].dropna().unique():
        yield f"Not private: {reason}."


def _tuning(finite: pd.DataFrame, every: pd.DataFrame) -> Iterator[str]:
    if finite["repeats"].notna().any():
        yield from map(in_figure, about_tuning(finite["repeats"]))
    elif "validation" in set(every["evaluate_on"]):
        yield "Settings were tuned on private data: what that spent is not counted."
    else:
        yield "Tuning on private data, if any, is not counted."


def about_attacks(cells: pd.DataFrame) -> Iterator[str]:
    """Say that some worst cases are over fewer attacks than others, and which over the fewest.

    Args:
        cells: as from `measured`, with every attack.

    """
    faced = faced_by(cells)
    every = set[str]().union(*faced.values())
    fewer = [at for at, attacks in faced.items() if len(attacks) < len(every)]
    if not fewer:
        return
    least = min(fewer, key=lambda at: len(faced[at]))
    method, _, heterogeneity, f = least
    yield (
        f"{FEWER_ATTACKS}: not all were given the same attacks. {len(fewer)} of {len(faced)} worst "
        f"cases are over fewer than {', '.join(sorted(every))}; that of {method} at "
        f"{title_of_data(heterogeneity)}, f = {f} is over {', '.join(sorted(faced[least]))}."
    )


def about_names(cells: pd.DataFrame) -> Iterator[str]:
    """Say what the shortened values in names of lines are."""
    for text in dict.fromkeys(cells["stands_for"]):
        yield f"{text}." if text else ""


def about_noise(cells: pd.DataFrame) -> Iterator[str]:
    """Say which b stands at which epsilon, for each group of methods that spend alike.

    Nothing is said where a target chose b.
    """
    chosen = cells.get("target_epsilon", pd.Series("none", cells.index)) == "none"
    numbers = cells[chosen & cells["noise_scale"].map(lambda b: not isinstance(b, str))]
    private = numbers[(numbers["noise_scale"] != 0) & (numbers["epsilon"] < math.inf)]
    spent: dict[str, Any] = {}
    for method, of_method in private.groupby("method", sort=False):
        most = of_method.groupby("noise_scale")["epsilon"].max()
        spent[str(method)] = tuple(most.astype(float).items())
    groups: dict[Any, list[str]] = {}
    for method, pairs in spent.items():
        groups.setdefault(pairs, []).append(method)
    if len(groups) > _MOST_GROUPS:
        yield f"b: at the same b {len(groups)} groups of methods spend another ε each."
        return
    for pairs, methods in groups.items():
        bs = _few(number(b) for b, _ in pairs)
        epsilons = _few(rounded_up(epsilon, 3) for _, epsilon in pairs)
        stand = "stand" if len(pairs) > 1 else "stands"
        whose = "" if len(spent) == len(methods) else f" for {', '.join(methods)}"
        yield f"b = {bs} {stand} at ε = {epsilons}{whose}."


def _few(texts: Iterable[str]) -> str:
    """List a few texts, or the first and the last of many."""
    texts = list(texts)
    return ", ".join(texts) if len(texts) <= _MOST_LISTED else f"{texts[0]} to {texts[-1]}"


def about_seeds(
    runs: pd.DataFrame, cells: pd.DataFrame, shown: str, metric: str = "accuracy"
) -> Iterator[str]:
    """Say what is drawn over how many seeds, what shows intervals, and what is not as it seems.

    Args:
        runs: that are drawn.
        cells: as from `measured`, of these.
        shown: what shows intervals: bars, ±.
        metric: of `METRICS`.

    """
    counts = cells["seeds"] - cells["failed"]
    told = METRICS[metric].told.format(data=" and ".join(runs["evaluate_on"].unique()))
    yield f"{told[0].upper()}{told[1:]}, {over_seeds(counts, shown)}."
    if METRICS[metric].sees_training_data:
        yield "What is measured on training examples is not covered by ε."
    if lacks := lacking(runs, metric):
        yield f"{lacks} of {len(runs)} runs are of an earlier version, which did not measure it."
    yield from about_marks(cells["marks"], counts)
    failed = int((cells["failed"] > 0).sum())
    if failed:
        yield f"Failed: {failed} of {len(cells)} cells have no mean, as runs of theirs failed."


def over_seeds(counts: pd.Series, shown: str) -> str:
    """Say over how many seeds means are, and of which shown intervals; `counts` has those of each.

    >>> over_seeds(pd.Series([5, 5, 1]), "bars")
    'mean over 1 to 5 seeds; bars: 95 % Student intervals, none for 1 of 3 means, of a single seed'

    """
    if counts.max() == 1:
        return "mean over 1 seed: a single seed has no interval"
    alone = int((counts == 1).sum())
    lonely = f", none for {alone} of {len(counts)} means, of a single seed" if alone else ""
    return f"mean over {how_many(counts)}; {shown}: 95 % Student intervals{lonely}"


def how_many(seeds: pd.Series) -> str:
    """Write how many seeds means have, from the fewest to the most."""
    some = seeds[seeds > 0]
    few, most = int(some.min()), int(some.max())
    return f"{few} to {most} seeds" if few < most else f"{few} seed{'s' if few > 1 else ''}"


def about_marks(marks: pd.Series, seeds: pd.Series) -> Iterator[str]:
    """Say what those of these marks mean that speak of seeds, and that all have few."""
    if marks.str.contains(DIVERGED).any():
        yield f"{DIVERGED}: in some seed the model's outputs stopped being finite."
    if marks.str.contains(FEW).any():
        yield f"{FEW}: fewer than {FEW_SEEDS} seeds."
    elif seeds.max() < FEW_SEEDS:
        yield f"Every mean is over fewer than {FEW_SEEDS} seeds."
