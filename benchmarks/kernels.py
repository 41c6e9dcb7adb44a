"""Compiled kernels against torch's way: what they save, and why `MOST_COMPARED` is what it is."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from unittest.mock import patch

import torch
from timing import in_turns, median, table

from privrobust.aggregators import distances, moments
from privrobust.aggregators import order_statistics as selection
from privrobust.aggregators.coordinate_wise import MeaMed
from privrobust.aggregators.majority_vote import majority
from privrobust.core.allocator import keep_freed_memory
from privrobust.kernels import backend, machine_code, order

ROUNDS = 9
WORKERS = (15, 31, 64, 101, 128, 200)


def selections(worker_counts: Sequence[int], dim: int) -> str:
    """Time the median by a kernel, torch's passes and quickselect, as workers grow."""
    rows = []
    for workers in worker_counts:
        messages = draw(workers, dim)
        low, high = (workers - 1) // 2, workers // 2 + 1
        with patch.object(machine_code, "_folders", list):  # nothing kept
            start = time.perf_counter()
            kernel = order.mean_of_ranks.__wrapped__(workers, torch.float32, low, high)
            compiling = time.perf_counter() - start
        network = partial(selection._select, low=low, high=high)
        quickselect = partial(selection._quickselect, low=low, high=high)
        cases: dict[str, Callable[[], object]] = {
            "kernel": partial(kernel, messages),
            "torch": partial(selection.in_blocks, network, messages),
            "quickselect": partial(selection.in_blocks, quickselect, messages, True),
            "torch.median": partial(messages.median, dim=0),
        }
        times = in_turns(cases, ROUNDS)
        spent = [f"{median(times[name]) * 1e3:.2f} ms" for name in cases]
        rows.append([str(workers), *spent, f"{compiling * 1e3:.0f} ms"])
    head = ["kernel", "network of torch", "quickselect", "torch.median", "compiling"]
    return table([f"median, workers x {dim:,}", *head], rows)


def rules(workers: int, dim: int) -> str:
    """Time what else has a kernel, beside what torch takes to read the messages once."""
    messages = draw(workers, dim)
    f = (workers - 1) // 4
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "median": lambda seen: selection.mean_of_ranks(seen, (workers - 1) // 2, workers // 2 + 1),
        "trimmed mean": lambda seen: selection.mean_of_ranks(seen, f, workers - f),
        "MeaMed": MeaMed(f),
        "mean": moments.mean,
        "mean and deviation": moments.mean_and_std,
        "majority vote": majority,
        "inner products": distances.products_of,
    }
    rows = []
    for name, rule in ways.items():

        def without(rule: Callable[[torch.Tensor], object] = rule) -> None:
            with patch.object(backend, "are_compiled", lambda: False):
                rule(messages)

        cases: dict[str, Callable[[], object]] = {
            "kernel": partial(rule, messages),
            "torch": without,
            "read": messages.sum,
        }
        times = in_turns(cases, ROUNDS)
        rows.append([name, *(f"{median(times[case]) * 1e3:.2f} ms" for case in cases)])
    return table([f"{workers} x {dim:,}", "kernel", "torch", "a sum reads it in"], rows)


def draw(workers: int, dim: int) -> torch.Tensor:
    return torch.randn(workers, dim, generator=torch.Generator().manual_seed(0))


def report(
    worker_counts: Sequence[int] = (15, 31, 64, 101, 128, 200),
    dim: int = 79_510,
    large: int = 10**6,
) -> str:
    keep_freed_memory()
    parts = [selections(worker_counts, dim), selections(worker_counts[:1], large)]
    return "\n\n".join([*parts, rules(worker_counts[0], dim)])


if __name__ == "__main__":
    print(report())
