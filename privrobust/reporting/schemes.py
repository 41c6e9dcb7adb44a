"""What an epsilon is charged for where batches are no Poisson samples: in words, for all prints."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_CHARGED = {
    "shuffled": "Shuffled: each epoch's batches are cut from a random order; an epoch is charged "
    "as a step that every example joins.",
    "fixed": "Fixed: each step draws B of the n examples anew; that a batch with the example has "
    "one other less may show too, so that it costs more than Poisson sampling.",
    "balls_in_bins": "Balls in bins: in each epoch every example joins one step, drawn for itself.",
}


def charged(samplings: Iterable[str]) -> list[str]:
    """Say it of each of these schemes, in a line."""
    named = set(samplings)
    return [line for sampling, line in _CHARGED.items() if sampling in named]


def charged_for(runs: "pd.DataFrame") -> list[str]:
    """Say it of runs, a row each, as from `Store.runs`; whole workers' batches cost nothing."""
    return charged(runs["sampling"][runs["unit"] == "example"].dropna())
