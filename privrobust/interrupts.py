"""Ctrl-C and SIGTERM, kept waiting where they would tear something."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred() -> Iterator[None]:
    """What interrupts the main thread meanwhile does so at the end.

    A database transaction that is torn by an exception between any two lines may stay open and
    lock the database until the process ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGINT)
        if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for heard in came:
            handlers[signal.Signals(heard)](heard, None)
