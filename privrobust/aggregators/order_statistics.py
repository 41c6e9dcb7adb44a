"""Order statistics along the worker axis, by a pruned sorting network.

The median of n messages is needed for millions of coordinates at once, n being small: so the same
comparators (`privrobust.kernels.networks`) run over all coordinates, with no data-dependent branch.
On a processor a compiled kernel runs them, which holds a coordinate's values in registers; where
there is none, torch does the same in a pass a comparator, and finds the same bits.

>>> import torch
>>> mean_of_ranks(torch.tensor([[3.0], [1.0], [4.0], [1.0]]), 1, 3)
tensor([2.])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads
from privrobust.kernels.backend import takes
from privrobust.kernels.networks import Comparator, selecting, sorting

if TYPE_CHECKING:
    from torch import Tensor

MOST_COMPARED = 128
"""With more workers a kernel takes seconds to compile, and a network of torch's longer than a
quickselect (benchmarks/kernels.py measures)."""

# Numbers handled together: they stay in the processor's cache.
_BLOCK = 1 << 20


def mean_of_ranks(messages: Tensor, low: int, high: int) -> Tensor:
    """Average the values of ranks `low` to `high - 1` (0 is the smallest), per coordinate.

    Args:
        messages: shape `(..., n, d)`. NaN counts as +infinity, wherever it stands.
        low: first rank that counts.
        high: first rank above those that count, `low < high <= n`.

    Returns:
        Shape `(..., d)`.

    """
    n = messages.shape[-2]
    if n > MOST_COMPARED:
        return in_blocks(partial(_quickselect, low=low, high=high), messages, are_threaded=True)
    if takes(messages):
        from privrobust.kernels import order

        return order.mean_of_ranks(n, messages.dtype, low, high)(messages)[0]
    return in_blocks(partial(_select, low=low, high=high), messages)


def in_blocks(
    select: Callable[[Tensor], Tensor], messages: Tensor, are_threaded: bool = False
) -> Tensor:
    """Apply `select`, `(..., n, d)` to `(..., d)`, to as many coordinates as a cache holds.

    In threads, if told so: those of a `select` that starts none.
    """
    out = messages.new_empty(*messages.shape[:-2], messages.shape[-1])
    width = max(1, _BLOCK // max(1, messages[..., :1].numel()))
    if messages.device.type != "cpu":
        width = max(1, messages.shape[-1])
    blocks = zip(messages.split(width, -1), out.split(width, -1), strict=True)
    tasks = [partial(_into, into, select, block) for block, into in blocks]
    in_threads(tasks, are_small=not are_threaded)
    return out


def _into(out: Tensor, select: Callable[[Tensor], Tensor], block: Tensor) -> None:
    out.copy_(select(block))


def ordered(messages: Tensor) -> Tensor:
    """Return messages with infinity for NaN."""
    return messages.nan_to_num(torch.inf, torch.inf, -torch.inf)


def sorted_rows(messages: Tensor) -> Sequence[Tensor]:
    """Sort the n values of each coordinate, a tensor `(..., d)` a rank; NaN as +infinity."""
    n = messages.shape[-2]
    if n > MOST_COMPARED:
        return ordered(messages).sort(dim=-2).values.unbind(-2)
    return _compared(messages, sorting(n))


def sum_of_shares(rows: Sequence[Tensor], share: float) -> Tensor:
    """Add shares of rows, in order: the sum of large values may overflow, that of shares not."""
    total = rows[0] * share
    for row in rows[1:]:
        total += row * share
    return total


def _quickselect(messages: Tensor, low: int, high: int) -> Tensor:
    """Average ranks of many workers. NumPy and torch order NaN last."""
    if messages.device.type != "cpu":
        within = ordered(messages).sort(dim=-2).values[..., low:high, :]
        return within.div_(high - low).sum(-2)
    # NumPy alone: torch would start threads of its own under each of ours
    partitioned = np.partition(messages.numpy(), high - 1, axis=-2)[..., :high, :]
    if high - low > 1:  # one rank at a time: only that is vectorised
        partitioned = np.partition(partitioned, low, axis=-2)
    values = partitioned[..., low:, :]
    np.copyto(values, np.inf, where=np.isnan(values))
    with np.errstate(invalid="ignore"):  # minus infinity plus infinity
        return torch.from_numpy(np.sum(values / np.float32(high - low), axis=-2))


def _select(messages: Tensor, low: int, high: int) -> Tensor:
    wires = _compared(messages, selecting(messages.shape[-2], low, high))
    return sum_of_shares(wires[low:high], 1 / (high - low))


def _compared(messages: Tensor, network: Sequence[Comparator]) -> Sequence[Tensor]:
    """Run the workers' values through comparators."""
    wires = list(ordered(messages).unbind(-2))
    for low, high, keeps_low, keeps_high in network:
        a, b = wires[low], wires[high]
        if keeps_low:
            wires[low] = torch.minimum(a, b)
        if keeps_high:
            wires[high] = torch.maximum(a, b)
    return wires
