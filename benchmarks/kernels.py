"""Ways to the median of many workers: why `MOST_COMPARED` is what it is."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from timing import in_turns, median, table

from privrobust.aggregators import order_statistics as selection
from privrobust.core.allocator import keep_freed_memory
from privrobust.kernels import order

ROUNDS = 9
WAYS = ("compiled network", "torch's passes", "quickselect", "torch.median")


def selections(worker_counts: Sequence[int], dim: int) -> str:
    """Time the network against quickselect, as workers grow: where `MOST_COMPARED` comes from."""
    rows = []
    for workers in worker_counts:
        messages = torch.randn(workers, dim, generator=torch.Generator().manual_seed(0))
        low, high = (workers - 1) // 2, workers // 2 + 1
        network = partial(selection._select, low=low, high=high)
        quickselect = partial(selection._quickselect, low=low, high=high)
        ways: Sequence[Callable[[], object]] = (
            partial(order.mean_of_ranks(workers, messages.dtype, low, high), messages),
            partial(selection.in_blocks, network, messages),
            partial(selection.in_blocks, quickselect, messages, are_threaded=True),
            partial(messages.median, dim=0),
        )
        times = in_turns(dict(zip(WAYS, ways, strict=True)), ROUNDS)
        rows.append([str(workers), *(f"{median(times[name]) * 1e3:.2f} ms" for name in WAYS)])
    return table([f"workers x {dim:,}", *WAYS], rows)


def report(worker_counts: Sequence[int] = (15, 31, 51, 64, 101, 128), dim: int = 79_510) -> str:
    keep_freed_memory()
    return selections(worker_counts, dim)


if __name__ == "__main__":
    print(report())
