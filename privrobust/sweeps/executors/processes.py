"""Processes of this machine, each with its share of the cores; the data is in shared memory.

A process that dies, killed for want of memory perhaps, is replaced. Its batch is tried once more,
then by halves, down to the run at fault.
"""

import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

import torch
import torch.multiprocessing

from privrobust.core.child_processes import Leashed, signals_blocked
from privrobust.core.interrupts import deferred
from privrobust.core.numbers import as_whole
from privrobust.errors import PrivRobustError, in_a_line
from privrobust.spec import RunSpec
from privrobust.sweeps.executors.base import OnProgress, Outcome, Supplies, halves, train_batch

log = logging.getLogger(__name__)

_REPORT_SECONDS = 0.5  # between reports of progress
_READY = "ready"


class _Task(NamedTuple):
    """Runs to train together, and whether a process has died over them."""

    specs: Sequence[RunSpec]
    suspect: bool = False


class _Worker:
    """A process, seen from its parent."""

    def __init__(self, supplies: Supplies, threads: int) -> None:
        spawn = torch.multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=Leashed(_serve), args=(theirs, supplies, sys.path, threads), daemon=True
        )
        with deferred(), signals_blocked():  # Ctrl-C is for the parent, which ends its children
            self._process.start()
        theirs.close()
        self.task: _Task | None = None
        self.is_ready = False

    def give(self, task: _Task) -> None:
        """Give it a task to train."""
        self.task, self.is_ready = task, False
        with suppress(OSError):  # it has died: reading from it will tell
            self.connection.send(list(task.specs))

    def settled(self, specs: Sequence[RunSpec]) -> None:
        """Take runs that have an outcome from its task."""
        assert self.task is not None
        keys = {spec.key for spec in specs}
        left = [spec for spec in self.task.specs if spec.key not in keys]
        self.task = self.task._replace(specs=left)

    def how_it_ended(self) -> str:
        """Say how it ended; it has closed its end of the connection."""
        self._process.join(timeout=1)
        code = self._process.exitcode
        self.kill()
        if code is None:
            return "stopped answering"
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def kill(self) -> None:
        """Kill it, if it lives."""
        self._process.kill()
        self.connection.close()

    def join(self) -> None:
        """Wait until it has ended."""
        self._process.join()


class Processes:
    """An executor of so many local processes.

    Args:
        jobs: processes, at least 1.
        threads: of each; an equal share of the cores by default.

    """

    def __init__(self, jobs: int, threads: int | None = None) -> None:
        jobs = as_whole("jobs", jobs, "accepted: at least 1", least=1)
        if threads is not None:
            threads = as_whole("threads", threads, "accepted: at least 1", least=1)
        self.at_once = jobs
        self._threads = threads or max(1, torch.get_num_threads() // jobs)

    def run(
        self, batches: Iterable[list[RunSpec]], supplies: Supplies, on_progress: OnProgress
    ) -> Iterator[Outcome]:
        """Train as `Executor.run`.

        Raises:
            PrivRobustError: processes cannot start, or the data does not fit into shared memory.

        """
        supplies.check()
        try:
            for dataset in supplies.datasets.values():
                dataset.share_memory()
        except RuntimeError as error:
            raise PrivRobustError(
                f"jobs: the data does not fit into shared memory ({in_a_line(error)}); accepted: a "
                "larger /dev/shm, or --jobs 1"
            ) from None
        waiting: deque[_Task] = deque()
        fresh = (_Task(batch) for batch in batches)
        workers: list[_Worker] = []
        try:
            workers += [_Worker(supplies, self._threads) for _ in range(self.at_once)]
            while True:
                for worker in [worker for worker in workers if worker.is_ready]:
                    task = waiting.popleft() if waiting else next(fresh, None)
                    if task is not None:
                        worker.give(task)
                busy = [worker for worker in workers if not worker.is_ready]
                if not busy:
                    return
                talking = wait([worker.connection for worker in busy])
                for place, worker in enumerate(workers):
                    if worker.connection not in talking:
                        continue
                    try:
                        message = worker.connection.recv()
                    except (EOFError, OSError):
                        yield from _after_death(worker, waiting)
                        workers[place] = _Worker(supplies, self._threads)
                        continue
                    if isinstance(message, Outcome):
                        worker.settled(message.specs)
                        yield message
                    elif message == _READY:
                        worker.task, worker.is_ready = None, True
                    else:
                        on_progress(message)
        finally:
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.join()


def _after_death(worker: _Worker, waiting: deque[_Task]) -> Iterator[Outcome]:
    """Queue what was under way again, by halves if it killed a process before."""
    how, task = worker.how_it_ended(), worker.task
    if task is None:
        raise PrivRobustError(f"jobs: a process {how} before it could train; see its output")
    log.warning("a process %s with %d runs under way", how, len(task.specs))
    if not task.specs:
        return
    if not task.suspect:
        waiting.append(_Task(task.specs, suspect=True))
    elif len(task.specs) > 1:
        waiting.extend(_Task(half, suspect=True) for half in halves(task.specs))
    else:
        yield Outcome(task.specs, reason=f"the process that trained it {how}, twice")


def _serve(connection: Connection, supplies: Supplies, path: list[str], threads: int) -> None:
    """Train what is sent until the parent is gone: what a process does."""
    sys.path[:] = path
    torch.set_num_threads(threads)
    supplies.install()
    reported, trained = time.monotonic(), 0.0

    def report(runs: float) -> None:
        nonlocal reported, trained
        trained += runs
        if time.monotonic() - reported > _REPORT_SECONDS:
            connection.send(trained)
            reported, trained = time.monotonic(), 0.0

    try:
        while True:
            connection.send(_READY)
            for outcome in train_batch(connection.recv(), report):
                connection.send(outcome)
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone
