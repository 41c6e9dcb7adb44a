"""Which runs a sweep has, and which of them a store lacks: known without training anything."""

from collections.abc import Sequence

import pandas as pd

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
