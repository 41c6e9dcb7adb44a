"""A process of its own for a peer, which nothing that we set reaches but the number of threads.

It is idle between calls.
"""

import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

import torch

Step = Callable[[], None]


class Place(Protocol):
    """Where peers take their steps."""

    def seconds(self, count: int, make: Callable[..., Step], *arguments: Any) -> float:
        """Of the median of so many steps of the peer that `make` makes there, once."""
        ...


Opens = Callable[[], AbstractContextManager[Place]]


class Elsewhere:
    """A process that is started with the first call, on as many threads as torch has here."""

    def __init__(self) -> None:
        self._process = ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(torch.get_num_threads(),),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()

    def seconds(self, count: int, make: Callable[..., Step], *arguments: Any) -> float:
        """As `Place.seconds`."""
        return self._process.submit(take, count, make, *arguments).result()


_made: dict[str, Step] = {}


def take(count: int, make: Callable[..., Step], *arguments: Any) -> float:
    """Take so many steps in this process; returns the seconds of the median one."""
    warnings.filterwarnings("ignore")
    key = repr((make, arguments))
    if key not in _made:
        _made[key] = make(*arguments)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        _made[key]()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
