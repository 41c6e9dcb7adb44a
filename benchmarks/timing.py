"""Times taken in turns: every round takes each case once, so that all see the same machine."""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

Times = dict[str, list[float]]
"""Seconds of every round, by case."""


def in_turns(cases: dict[str, Callable[[], object]], rounds: int) -> Times:
    """Time all cases in every round, after one round to warm up."""
    times: Times = {name: [] for name in cases}
    for taken in range(rounds + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if taken:
                times[name].append(time.perf_counter() - start)
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def step_time(ends: list[float]) -> float:
    """Median seconds between ends of steps, but the last, which evaluates."""
    return median([after - before for before, after in pairwise(ends[:-1])])


def ratio(slower: list[float], faster: list[float]) -> str:
    """Of the medians, and the middle half of the ratios round by round; of one round, that one."""
    rounds = [a / b for a, b in zip(slower, faster, strict=True)]
    # inclusive: the other method extrapolates from few rounds, below zero if one was slow
    several = len(rounds) > 1
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive") if several else rounds * 3
    return f"{median(slower) / median(faster):.2f} ({low:.2f} to {high:.2f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
