"""Which neighbours an epsilon speaks for, in words: one place for all that prints one.

>>> from privrobust.accountants import Release
>>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
>>> print(neighbours(r))
one example's contribution is set to zero; n, and so q = B / n, is public and stays (zero-out)
>>> print(in_short("example", "zero-out"))
one example's contribution set to zero, n public (zero-out)
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from privrobust.accountants import Release

_IN_SHORT = {
    ("example", "zero-out"): "one example's contribution set to zero, n public",
    ("example", "add-or-remove"): "one example there or not, q public and fixed in advance",
    ("example", "replace-one"): "one example exchanged for another, n public",
    ("worker", "zero-out"): "one worker's contribution set to zero",
    ("worker", "replace-one"): "one worker exchanged for another",
}
_AT_LENGTH = {
    ("example", "zero-out"): "one example of one honest worker has its contribution set to zero; "
    "n, its worker's number of examples, is public and stays",
    ("example", "add-or-remove"): "one example of one honest worker is there or not; q, the chance "
    "to join a batch, is public and fixed in advance",
    ("worker", "zero-out"): "one honest worker has its contribution set to zero, and sends noise "
    "alone",
}
_DIFFER = {
    "zero-out": "one {}'s contribution is set to zero",
    "add-or-remove": "one {} is there or not",
    "replace-one": "one {} is exchanged for another",
}


def neighbours(release: "Release") -> str:
    """Say how the neighbours of a release differ, and what is the same for both."""
    adjacency = str(release.adjacency)
    return f"{_DIFFER[adjacency].format(release.unit)}; {_stays(release)} ({adjacency})"


def _stays(release: "Release") -> str:
    if release.unit == "worker":
        if release.adjacency == "replace-one":
            return "how many there are is public and stays"
        return "without it, only noise is sent in its place"
    n, batch = release.dataset_size, release.batch_size
    if release.adjacency == "add-or-remove" or n is None:
        return "q and B are public and fixed in advance"
    if release.sampling != "poisson":
        return "n is public and stays"
    assert batch is not None
    if release.sampling_rate != batch / n:  # q was given, and n only beside it
        return "q and B are public and fixed in advance"
    return "n, and so q = B / n, is public and stays"


def in_short(unit: str, adjacency: str) -> str:
    """Say in half a line how the neighbours of a run's epsilon differ, and what is public."""
    return f"{_IN_SHORT.get((unit, adjacency), unit)} ({adjacency})"


def at_length(unit: str, adjacency: str) -> str:
    """Say the same for who reads no symbols."""
    return f"{_AT_LENGTH.get((unit, adjacency), unit)} ({adjacency})"


def all_in_short(runs: "pd.DataFrame") -> str:
    """Say it of every kind of neighbours among runs, a row each, as from `Store.runs`."""
    kinds: Iterable[tuple[str, str]] = zip(runs["unit"], adjacencies(runs), strict=True)
    return ", or ".join(in_short(*kind) for kind in dict.fromkeys(kinds))


def all_at_length(runs: "pd.DataFrame") -> str:
    """Say at length of every kind of neighbours among runs how they differ."""
    kinds: Iterable[tuple[str, str]] = zip(runs["unit"], adjacencies(runs), strict=True)
    return ", or whether ".join(at_length(*kind) for kind in dict.fromkeys(kinds))


def adjacencies(runs: "pd.DataFrame") -> "pd.Series":
    """Name the neighbours of each run's epsilon.

    Examples that are sampled at a public rate are there or not; elsewhere the rate follows from n,
    and a contribution is zeroed. So it is for runs that were stored before specs had a rate.
    """
    fixed = (runs["unit"] == "example") & runs["sampling_rate"].notna()
    return fixed.map({True: "add-or-remove", False: "zero-out"}).astype(object)
