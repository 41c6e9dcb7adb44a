"""What small print opens with: on what, with whom, under which attacks runs were made."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.reporting.figures.cells import ordered, title_of_data
from privrobust.reporting.summary import fixes_workers

_MOST = 8
"""Names or numbers that are listed."""
_LONGEST = 60  # signs of a dataset or a model; names of lines have a longer one in full


def about_runs(
    runs: pd.DataFrame, partitions: Iterable[str], attacked: str = "under"
) -> Iterator[str]:
    """Say what was run: data, model, workers, attacks by name, and how many runs failed.

    Args:
        runs: that are drawn.
        partitions: as panels are told apart by; one is named here.
        attacked: what is shown of the attacks that follow.

    """
    one, *others = dict.fromkeys(partitions)
    data = _one(runs["dataset"], "datasets") + ("" if others else f" ({title_of_data(one)})")
    failed, every = int(runs["failure"].notna().sum()), len(runs)
    yield (
        f"Run: {data}, {_one(runs['model'], 'models')}; {_workers(runs)}{_attacks(runs, attacked)}; "
        f"{f'{failed:,} of {every:,} runs' if failed else 'no run'} failed."
    )


def about_gaps(cells: pd.DataFrame) -> Iterator[str]:
    """Say which share of all combinations was not run.

    Args:
        cells: as from `at_worst`; a target stands for the b that it chose.

    """
    target = cells.get("target_epsilon", pd.Series("none", cells.index))
    b = cells["noise_scale"].where(target == "none", "")
    places = cells[["method", "heterogeneity", "byzantine"]]
    noise = list(zip(b, target, strict=True))
    every = math.prod(places.nunique()) * len(set(noise))
    missing = every - len(places.assign(noise=noise).drop_duplicates())
    noise_is = "b" if (target == "none").all() else "ε"
    if missing:
        yield f"Not run: {missing:,} of {every:,} combinations of method, data, f and {noise_is}."
    elif places["method"].nunique() > 1:
        yield f"Every method was run at every f and {noise_is}."


def _one(values: pd.Series, what: str) -> str:
    """Name a value, or say how many there are: names of lines tell them apart then."""
    first, *others = values.unique()
    if others:
        return f"{len(others) + 1} {what}"
    return first if len(first) <= _LONGEST else f"{first[:20]}…{first[-39:]}"


def _workers(runs: pd.DataFrame) -> str:
    f = _either(runs["byzantine"])
    if not runs["byzantine"].any():
        return f"{_either(runs['honest'])} honest workers, none Byzantine"
    if fixes_workers(runs):
        return f"{_either(runs['honest'] + runs['byzantine'])} workers, {f} of them Byzantine"
    return f"{_either(runs['honest'])} honest workers and {f} Byzantine"


def _attacks(runs: pd.DataFrame, attacked: str) -> str:
    names = list(runs["attack"][runs["byzantine"] > 0].dropna().unique())
    if not names:
        return ""
    return f"; {attacked} {_joined(names, 'and')}"


def _either(values: pd.Series) -> str:
    return _joined([number(value) for value in ordered(values)], "or")


def _joined(texts: list[Any], word: str) -> str:
    """List texts, or the first of many and how many more there are."""
    if len(texts) > _MOST:
        texts = [*texts[:_MOST], f"{len(texts) - _MOST} more"]
        word = "and"
    return f" {word} ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
