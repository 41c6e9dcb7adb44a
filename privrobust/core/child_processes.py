"""Processes that end with the one that started them, and leave signals to it."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from privrobust.core.interrupts import SIGNALS

_PR_SET_PDEATHSIG = 1


class Leashed:
    """A function to be called in another process, which Linux ends as soon as this one is gone.

    That holds from when it is unpickled there, before the function is: finding that may import
    torch, which takes seconds.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *given: object) -> None:
        """Call the function."""
        self._function(*given)

    def __reduce__(self) -> tuple[Any, ...]:
        return _leashed, (os.getpid(),), self._function

    def __setstate__(self, function: Callable[..., object]) -> None:
        self._function = function


def _leashed(parent: int) -> Leashed:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    return Leashed.__new__(Leashed)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Let processes that are started meanwhile hear no signal: a terminal sends its to all of them.

    This process hears them in the end.
    """
    resource_tracker.ensure_running()  # to start it unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
