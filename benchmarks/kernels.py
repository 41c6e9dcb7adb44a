"""The network that selects medians against other ways: why `_MOST_WIRES` is what it is."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from timing import in_turns, median, table

from privrobust.aggregators import order_statistics as selection
from privrobust.core.allocator import keep_freed_memory

ROUNDS = 9


def selections(worker_counts: Sequence[int], dim: int) -> str:
    """Time the network against quickselect, as workers grow: where `_MOST_WIRES` comes from."""
    rows = []
    for workers in worker_counts:
        messages = torch.randn(workers, dim, generator=torch.Generator().manual_seed(0))
        low, high = (workers - 1) // 2, workers // 2 + 1
        network = partial(selection._select, low=low, high=high)
        quickselect = partial(selection._quickselect, low=low, high=high)
        cases: dict[str, Callable[[], object]] = {
            "network": partial(selection.in_threaded_blocks, network, messages),
            "quickselect": partial(selection.in_threaded_blocks, quickselect, messages),
            "torch.median": partial(messages.median, dim=0),
        }
        times = in_turns(cases, ROUNDS)
        rows.append([str(workers), *(f"{median(times[name]) * 1e3:.1f} ms" for name in cases)])
    return table([f"workers x {dim:,}", "network", "quickselect", "torch.median"], rows)


def report(worker_counts: Sequence[int] = (15, 31, 51, 64, 81, 101), dim: int = 79_510) -> str:
    keep_freed_memory()
    return selections(worker_counts, dim)


if __name__ == "__main__":
    print(report())
