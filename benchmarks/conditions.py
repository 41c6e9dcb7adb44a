"""What else goes on while something is measured: how many threads there are, and who else computes.

Each condition has a table of its own, in which everything is measured under it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch

CORES = len(os.sched_getaffinity(0))

# Ends by itself where who started it was killed.
_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"


class Condition(NamedTuple):
    """Under which something is measured, here and in the processes of peers."""

    threads: int
    busy: bool = False
    """Whether a process that computes all the time takes its share of each core."""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{threads}, beside a busy process on each core" if self.busy else threads


QUIET = (Condition(1), Condition(2))
ALL = (*QUIET, Condition(1, busy=True), Condition(2, busy=True))


@contextmanager
def under(condition: Condition) -> Iterator[None]:
    """Set torch's threads, and start neighbours, who are ended with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(condition.threads)
    try:
        with ExitStack() as neighbours:
            for _ in range(CORES * condition.busy):
                busy = neighbours.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
                neighbours.callback(busy.kill)  # before it is waited for
            yield
    finally:
        torch.set_num_threads(before)


def under_each(conditions: Sequence[Condition], measure: Callable[[], str]) -> str:
    """Measure under one after the other; returns the tables with their headings."""
    measured = []
    for condition in conditions:
        with under(condition):
            measured.append(f"On {condition}:\n\n{measure()}")
    return "\n\n".join(measured)
