"""Threads for work that neither torch nor NumPy spreads over cores, and that frees the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from privrobust.core.lazy_imports import torch


def in_threads(tasks: Sequence[Callable[[], object]], are_small: bool = False) -> None:
    """Run tasks, as many at a time as torch uses threads; results must not depend on how many.

    Small ones run one after the other, as they take less time than a thread takes to wake.
    """
    waiting = iter(tasks)
    helpers = 0 if are_small else min(len(tasks), torch.get_num_threads()) - 1
    helping = [_pool().submit(_run, waiting) for _ in range(helpers)]
    _run(waiting)
    for helper in helping:
        helper.result()


def _run(tasks: Iterable[Callable[[], object]]) -> None:
    for task in tasks:
        task()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="privrobust")


if hasattr(os, "register_at_fork"):  # a child has the pool's record but none of its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
