"""Sweeps: many runs in one file, planned, packed into lanes, trained on processes or a cluster.

`privrobust.sweeps.grid` has the language.
"""

from typing import TYPE_CHECKING

from privrobust.core.late import attributes

if TYPE_CHECKING:
    from privrobust.sweeps.grid import Sweep, load_sweep
    from privrobust.sweeps.progress import watch_on
    from privrobust.sweeps.runner import run_sweep, run_whole

__all__ = ["Sweep", "load_sweep", "run_sweep", "run_whole", "watch_on"]

__getattr__ = attributes(
    __name__,
    {
        "Sweep": "grid",
        "load_sweep": "grid",
        "run_sweep": "runner",
        "run_whole": "runner",
        "watch_on": "progress",
    },
)
