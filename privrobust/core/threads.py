"""One layer of threads: either torch's own share an operation, or ours share a step's work.

Both at once are twice as many threads as cores, and torch's wait for each other by spinning: a
training step takes longer on two of them than on one. So while a run trains, torch keeps to the
thread that calls it, and whatever is large is cut into tasks, which as many threads take as torch
would have used. How it is cut depends on the work alone, so results do not depend on how many.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial

from privrobust.core.lazy_imports import torch

_here = threading.local()
_entries = threading.Lock()
_taken_from_torch: list[int] = []
"""How many threads torch had at the start of each `one_layer_of_threads` that is in force."""


@contextmanager
def one_layer_of_threads() -> Iterator[None]:
    """Keep torch to one thread, so that `in_threads` has the others."""
    before = torch.get_num_threads()
    with _entries:
        _taken_from_torch.append(threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _entries:
            _taken_from_torch.pop()
            torch.set_num_threads(before)
            if _taken_from_torch:  # of other threads, in which new ones are to have one
                _in_a_new_thread(partial(torch.set_num_threads, 1))


def _in_a_new_thread(call: Callable[[], object]) -> None:
    """Call what sets both a thread's own number and that of threads to come, sparing this one."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def threads() -> int:
    """Return how many threads work on tasks: as many as torch uses, or would use."""
    return _taken_from_torch[-1] if _taken_from_torch else torch.get_num_threads()


def in_threads(tasks: Sequence[Callable[[], object]], are_small: bool = False) -> None:
    """Run tasks, as many at a time as there are `threads`; results must not depend on how many.

    Small ones run one after the other, as they take less time than a thread takes to wake, and so
    do tasks of a task. More tasks than threads share the work evenly where another process takes
    some of a core. Only one thread runs Python at a time: tasks are to spend their time outside it.

    Raises:
        Exception: what a task raises; those that have not begun are left, the others have ended.

    """
    count = threads()
    if are_small or len(tasks) < 2 or count < 2 or getattr(_here, "is_within_task", False):
        for task in tasks:
            task()
        return
    waiting = iter(tasks)
    pool = _pool(count, bool(_taken_from_torch))
    helping = [pool.submit(_run, waiting) for _ in range(min(len(tasks), count) - 1)]
    try:
        _run(waiting)
    finally:
        for _ in waiting:  # where one has failed
            pass
        begun = [helper for helper in helping if not helper.cancel()]
        wait(begun)  # and not for one that a busy machine has yet to wake
    for helper in begun:
        helper.result()


def _run(tasks: Iterable[Callable[[], object]]) -> None:
    _here.is_within_task = True
    try:
        for task in tasks:
            task()
    finally:
        _here.is_within_task = False


@cache
def _pool(size: int, within_one_layer: bool) -> ThreadPoolExecutor:
    """Keep pools apart: a thread goes on with as many of torch's as there were when it began.

    Products ask torch for it only where something else has before.
    """
    alone = partial(torch.set_num_threads, 1) if within_one_layer else None
    return ThreadPoolExecutor(size, f"privrobust {within_one_layer}", alone)


if hasattr(os, "register_at_fork"):  # a child has the pools' record but none of their threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
