"""The runs that a command shows."""

from pathlib import Path

import pandas as pd

from privrobust.errors import SpecError
from privrobust.store import Store
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.planning import planned


def finished(store: Store, sweep: Path | None = None) -> pd.DataFrame:
    """Return the runs of a store that are done or failed, as from `Store.runs`.

    Args:
        store: where they are.
        sweep: a sweep's file: its runs only, those that it tunes by among them.

    Raises:
        SpecError: there are none, or the file is no sweep.

    """
    if sweep is None:
        runs, whose = store.runs(), ""
    else:
        keys = [run.key for run in planned(load_sweep(sweep), store)]
        runs, whose = store.runs(keys), f" of {sweep}"
    if runs.empty:
        raise SpecError(f"store: {store.location} has no finished run{whose} yet")
    return runs
