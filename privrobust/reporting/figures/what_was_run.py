"""What small print opens with: on what, with whom, under which attacks runs were made."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.reporting.figures.cells import ordered, title_of_data
from privrobust.reporting.figures.lettering import shortened
from privrobust.reporting.summary import fixes_workers

_MOST = 8
"""Names or numbers that are listed."""
_ROOM, _SMALL = 3.0, 6.0  # inches for the name of a dataset or a model, and points


def about_runs(
    runs: pd.DataFrame, partitions: Iterable[str], attacked: str = "under"
) -> Iterator[str]:
    """Say what was run: data, model, workers, attacks by name.

    Args:
        runs: that are drawn.
        partitions: as panels are told apart by; one is named here.
        attacked: what is shown of the attacks that follow.

    """
    one, *others = dict.fromkeys(partitions)
    data = _one(runs["dataset"], "datasets") + ("" if others else f" ({title_of_data(one)})")
    names = list(runs["attack"][runs["byzantine"] > 0].dropna().unique())
    parts = [
        f"{data}, {_one(runs['model'], 'models')}",
        _workers(runs),
        f"{attacked} {_joined(names, 'and')}" if names else "",
    ]
    yield f"Run: {'; '.join(filter(None, parts))}."


def about_missing(runs: pd.DataFrame, cells: pd.DataFrame | None = None) -> Iterator[str]:
    """Say how many runs failed, and how many combinations of what was tried were not run.

    Args:
        runs: that are drawn.
        cells: as from `at_worst`, of these; without them nothing is said of combinations.

    """
    failed, every = int(runs["failure"].notna().sum()), len(runs)
    told = f"{failed:,} of {every:,} runs failed" if failed else "no run failed"
    if cells is not None:
        told = f"{_combinations(runs, cells)}; {told}"
    yield f"{told[0].upper()}{told[1:]}."


def _combinations(runs: pd.DataFrame, cells: pd.DataFrame) -> str:
    """Say whether each method was run on all data at every f and noise; a target stands for b."""
    targets = runs[["noise_scale", "target_epsilon"]].dropna().itertuples(index=False)
    chosen = {b: ("ε", number(float(target))) for b, target in targets}
    noise = [
        ("ε", b.removeprefix("for ")) if isinstance(b, str) else chosen.get(b, ("b", number(b)))
        for b in cells["noise_scale"]
    ]
    kinds = {kind for kind, value in noise if value != "0"} or {"b"}
    axis = kinds.pop() if len(kinds) == 1 else "noise"
    places = cells[["method", "heterogeneity", "byzantine"]].assign(
        noise=pd.Series(noise, cells.index)
    )
    every = math.prod(places.nunique())
    if missing := every - len(places.drop_duplicates()):
        return f"{missing:,} of {every:,} combinations of method, data, f and {axis} were not run"
    data = " on all data," if places["heterogeneity"].nunique() > 1 else ""
    return f"every method was run{data} at every f and {axis}"


def _one(values: pd.Series, what: str) -> str:
    """Name a value, or say how many there are: names of lines tell them apart then."""
    first, *others = values.unique()
    if others:
        return f"{len(others) + 1} {what}"
    return shortened(first, _ROOM, _SMALL)


def _workers(runs: pd.DataFrame) -> str:
    f = _either(runs["byzantine"])
    if not runs["byzantine"].any():
        return f"{_either(runs['honest'])} honest workers, none Byzantine"
    if fixes_workers(runs):
        return f"{_either(runs['honest'] + runs['byzantine'])} workers, {f} of them Byzantine"
    return f"{_either(runs['honest'])} honest workers and {f} Byzantine"


def _either(values: pd.Series) -> str:
    return _joined([number(value) for value in ordered(values)], "or")


def _joined(texts: list[Any], word: str) -> str:
    """List texts, or the first of many and how many more there are."""
    if len(texts) > _MOST:
        texts = [*texts[:_MOST], f"{len(texts) - _MOST} more"]
        word = "and"
    return f" {word} ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
