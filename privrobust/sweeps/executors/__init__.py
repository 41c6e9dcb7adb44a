"""Where runs are computed: in this process, in many, or on the machines of a Ray cluster.

All train batches with the same code, so that results agree: to the last bit where they train equal
batches with equally many threads on machines that are alike, to float32's rounding otherwise.
"""

from privrobust.sweeps.executors.base import Executor, Outcome
from privrobust.sweeps.executors.in_process import InProcess
from privrobust.sweeps.executors.on_ray import OnRay
from privrobust.sweeps.executors.processes import Processes

__all__ = ["Executor", "InProcess", "OnRay", "Outcome", "Processes"]
