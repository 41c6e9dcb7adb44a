"""The runs that a command shows."""

from pathlib import Path

import pandas as pd

from privrobust.errors import SpecError
from privrobust.store import Store
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.planning import planned, refuse_other_files


def finished(store: Store, sweep: Path | None = None) -> pd.DataFrame:
    """Return the runs of a store that are done or failed, as from `Store.runs`.

    Args:
        store: where they are.
        sweep: a sweep's file: its runs only, those that it tunes by among them.

    Raises:
        SpecError: there are none, or the file is no sweep.
        PrivRobustError: its file of data is another than that of the results.

    """
    if sweep is None:
        runs, whose = store.runs(), ""
    else:
        plan = planned(load_sweep(sweep), store)
        refuse_other_files(plan, store)
        runs, whose = store.runs([run.key for run in plan]), f" of {sweep}"
    if runs.empty:
        raise SpecError(f"store: {store.location} has no finished run{whose} yet")
    return runs
