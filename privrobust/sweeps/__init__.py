"""Sweeps: many runs in one file, planned, packed into lanes, trained on processes or a cluster.

`privrobust.sweeps.grid` has the language.

>>> len(Sweep.from_settings({"grid": {"aggregator": ["mean", "median"], "seed": [0, 1]}}).runs())
4
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.sweeps.executors import Executor, InProcess, OnRay, Processes
    from privrobust.sweeps.grid import Sweep
    from privrobust.sweeps.loading import load_sweep
    from privrobust.sweeps.progress import Watch, watch_on
    from privrobust.sweeps.runner import run_sweep, run_whole

__all__ = [
    "Executor",
    "InProcess",
    "OnRay",
    "Processes",
    "Sweep",
    "Watch",
    "load_sweep",
    "run_sweep",
    "run_whole",
    "watch_on",
]

__getattr__ = attributes(
    __name__,
    {
        "Executor": "executors",
        "InProcess": "executors",
        "OnRay": "executors",
        "Processes": "executors",
        "Sweep": "grid",
        "Watch": "progress",
        "load_sweep": "loading",
        "run_sweep": "runner",
        "run_whole": "runner",
        "watch_on": "progress",
    },
)
