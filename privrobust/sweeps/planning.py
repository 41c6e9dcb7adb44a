"""Which runs a sweep has, and which of them a store lacks: known without training anything."""

import warnings
from collections.abc import Iterable, Sequence

import pandas as pd

from privrobust.data.registry import get_dataset, named_file
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.spec import RunSpec
from privrobust.store import Store
from privrobust.store.schema import DONE, FAILED
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.tuning import candidates, choose, undecided


def planned(sweep: Sweep, store: Store | None = None) -> list[RunSpec]:
    """Return all runs of a sweep: to tune by, and its own with what is best so far in the store."""
    tried = candidates(sweep)
    return [*tried, *choose(sweep, accuracies(tried, store) if store else {})]


def accuracies(runs: Sequence[RunSpec], store: Store) -> dict[str, float]:
    """Return the accuracies of runs that are done, by key."""
    found = pd.to_numeric(store.runs([run.key for run in runs])["accuracy"], errors="coerce")
    return {str(key): float(accuracy) for key, accuracy in found.dropna().items()}


def refuse_other_files(runs: Iterable[RunSpec], store: Store) -> None:
    """Refuse runs of a file of data that is not the one that the store has results of.

    A file goes by its name, and two folders may have one of that name. What is not here is not
    compared: results can be read without their data.

    Raises:
        PrivRobustError: names the dataset.

    """
    for name, data_dir in dict.fromkeys((run.dataset, run.data_dir) for run in runs):
        if named_file(name) is None:
            continue
        with warnings.catch_warnings():  # of features that no step fits: training says so
            warnings.simplefilter("ignore", PrivRobustWarning)
            try:
                data = get_dataset(name, data_dir)
            except SpecError:
                continue
        store.refuse_other_data([data])


def settled(sweep: Sweep, store: Store, retry_failed: bool = False) -> list[RunSpec] | None:
    """Return the runs of a sweep of which nothing is left to do; None where something is.

    Runs that failed are settled, unless they are to be tried again.
    """
    known = store.keys(DONE) | (set() if retry_failed else store.keys(FAILED))
    tried = candidates(sweep)
    if any(run.key not in known for run in tried):
        return None
    found = accuracies(tried, store)
    runs = [] if undecided(sweep, found) else choose(sweep, found)
    return runs if runs and all(run.key in known for run in runs) else None
