"""Threads for work that neither torch nor NumPy spreads over cores, and that frees the GIL."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def in_threads(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks, as many at a time as torch uses threads; results must not depend on how many."""
    threads = min(len(tasks), torch.get_num_threads())
    if threads == 1:
        in_turn(tasks)
        return
    for part in [_pool(threads).submit(in_turn, tasks[i::threads]) for i in range(threads)]:
        part.result()


def in_turn(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks one after the other."""
    for task in tasks:
        task()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="privrobust")
