"""Data that was scaled by what its training examples measured: a part that epsilon leaves out."""

from collections.abc import Iterator
from functools import lru_cache

import pandas as pd

from privrobust.data.registry import built_in_source
from privrobust.errors import SpecError

SCALED = "¶"
"""Goes with an epsilon that leaves it out."""


def is_scaled(datasets: pd.Series) -> pd.Series:
    """Tell of each dataset, as runs name it, whether its scaling measured private examples.

    Of a user's own nothing is known: it says False.
    """
    return datasets.map({name: _measures(name) for name in datasets.unique()}).astype(bool)


@lru_cache(maxsize=256)
def _measures(dataset: object) -> bool:
    try:
        source = built_in_source(str(dataset))
    except SpecError:  # a store may hold any text
        return False
    return source is not None and source.measures_data


def about_scaling(runs: pd.DataFrame, opening: str = f"{SCALED} the") -> Iterator[str]:
    """Say it of runs of a finite epsilon, where it holds of some; after the mark, or `The`."""
    if is_scaled(runs["dataset"]).any():
        yield (
            f"{opening} data was scaled by what its training examples measured, which epsilon does "
            "not count."
        )
