"""Order statistics along the worker axis, by a pruned sorting network.

The median of n messages is needed for millions of coordinates at once, n being small. A sorting
network compares fixed pairs of workers, so every comparison is one vectorised minimum and maximum
over all coordinates, with no data-dependent branch. Batcher's merge exchange (Knuth, TAOCP vol. 3,
5.2.2, Algorithm M) sorts any n. Of it, a mean over ranks needs little: which values are below,
within and above those ranks, in no order. Comparators within one of the three are dropped, and of
the others the half that nobody reads.

>>> import torch
>>> mean_of_ranks(torch.tensor([[3.0], [1.0], [4.0], [1.0]]), 1, 3)
tensor([2.])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.core.threads import in_threads

if TYPE_CHECKING:
    from torch import Tensor

# Numbers handled together: they stay in the processor's cache, and a wire of them is no more than
# torch leaves to one thread, as other threads have the other blocks.
_BLOCK = 1 << 20
_WIRE = 1 << 15

# With more workers a network has more comparators than a quickselect has passes
# (benchmarks/kernels.py measures).
_MOST_WIRES = 80


def mean_of_ranks(messages: Tensor, low: int, high: int) -> Tensor:
    """Average the values of ranks `low` to `high - 1` (0 is the smallest), per coordinate.

    Args:
        messages: shape `(..., n, d)`. NaN counts as +infinity, wherever it stands.
        low: first rank that counts.
        high: first rank above those that count, `low < high <= n`.

    Returns:
        Shape `(..., d)`.

    """
    select = _select if messages.shape[-2] <= _MOST_WIRES else _quickselect
    return in_threaded_blocks(partial(select, low=low, high=high), messages)


def in_blocks(select: Callable[[Tensor], Tensor], messages: Tensor) -> Tensor:
    """Apply `select`, `(..., n, d)` to `(..., d)`, to as many coordinates as a cache holds."""
    tasks, out = _blocks(select, messages, _BLOCK)
    for task in tasks:
        task()
    return out


def in_threaded_blocks(select: Callable[[Tensor], Tensor], messages: Tensor) -> Tensor:
    """Do as `in_blocks` in threads, for a `select` that takes one worker's message at a time."""
    tasks, out = _blocks(select, messages, min(_BLOCK, _WIRE * messages.shape[-2]))
    in_threads(tasks)
    return out


def _blocks(
    select: Callable[[Tensor], Tensor], messages: Tensor, numbers: int
) -> tuple[list[Callable[[], object]], Tensor]:
    """Return what is to be done for each block of so many numbers, and where results will be."""
    out = messages.new_empty(*messages.shape[:-2], messages.shape[-1])
    width = max(1, numbers // max(1, messages[..., :1].numel()))
    if messages.device.type != "cpu":
        width = max(1, messages.shape[-1])
    blocks = zip(messages.split(width, -1), out.split(width, -1), strict=True)
    return [partial(_into, into, select, block) for block, into in blocks], out


def _into(out: Tensor, select: Callable[[Tensor], Tensor], block: Tensor) -> None:
    out.copy_(select(block))


def sorted_rows(messages: Tensor) -> Sequence[Tensor]:
    """Sort the n values of each coordinate, a tensor `(..., d)` a rank; NaN as +infinity."""
    n = messages.shape[-2]
    if n > _MOST_WIRES:
        ordered = messages.sort(dim=-2).values
        return ordered.nan_to_num_(torch.inf, torch.inf, -torch.inf).unbind(-2)
    rows = _run_network(messages, _whole_network(n))
    if bool(rows[-1].isnan().any()):
        messages = messages.nan_to_num(torch.inf, torch.inf, -torch.inf)
        return _run_network(messages, _whole_network(n))
    return rows


def _quickselect(messages: Tensor, low: int, high: int) -> Tensor:
    """Average ranks of many workers. NumPy and torch order NaN last."""
    if messages.device.type != "cpu":
        within = messages.sort(dim=-2).values[..., low:high, :]
        within = within.nan_to_num(torch.inf, torch.inf, -torch.inf)
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
    # minimum and maximum propagate NaN along every wire that they touch, and every input reaches
    # every output: a NaN in the result is the sign, cheap to look for, that NaN must be ordered.
    selected = _mean_of_wires(messages, low, high)
    if bool(selected.isnan().any()):
        return _mean_of_wires(messages.nan_to_num(torch.inf, torch.inf, -torch.inf), low, high)
    return selected


def _mean_of_wires(messages: Tensor, low: int, high: int) -> Tensor:
    wires = _run_network(messages, _network(messages.shape[-2], low, high))
    # each is divided before they are added: the sum of large values may overflow, the mean may not
    share = 1 / (high - low)
    mean = wires[low].mul_(share)
    for wire in wires[low + 1 : high]:
        mean.add_(wire, alpha=share)
    return mean


def _run_network(messages: Tensor, network: Sequence[_Comparator]) -> list[Tensor]:
    wires = messages.movedim(-2, 0).clone(memory_format=torch.contiguous_format)
    if messages.device.type != "cpu":
        return _compare(torch, list(wires), network)
    # NumPy takes half as long as torch to begin a comparison
    return [torch.from_numpy(wire) for wire in _compare(np, list(wires.numpy()), network)]


def _compare(library: Any, wires: list[Any], network: Sequence[_Comparator]) -> list[Any]:
    """Run wires through comparators, by `minimum` and `maximum` of torch or NumPy; in place."""
    spare = library.empty_like(wires[0])
    for low, high, keeps_low, keeps_high in network:
        a, b = wires[low], wires[high]
        if keeps_low and keeps_high:
            library.minimum(a, b, out=spare)
            library.maximum(a, b, out=b)
            wires[low], spare = spare, a
        elif keeps_low:
            library.minimum(a, b, out=a)
        else:
            library.maximum(a, b, out=b)
    return wires


class _Comparator(NamedTuple):
    """Leaves the smaller value on wire `low` and the larger on `high`, where they are read."""

    low: int
    high: int
    keeps_low: bool
    keeps_high: bool


@lru_cache(maxsize=256)
def _network(n: int, low: int, high: int) -> tuple[_Comparator, ...]:
    """Return the comparators that decide which values have the ranks `low` to `high - 1`."""
    below, within, above, exact = range(4)
    roles = [below] * low + [within] * (high - low) + [above] * (n - high)
    kept = []
    for i, j in reversed(list(_merge_exchange(n))):
        if roles[i] == roles[j] != exact:
            continue  # either order leaves the same values in that part
        read = (within, exact)
        kept.append(_Comparator(i, j, roles[i] in read, roles[j] in read))
        roles[i] = roles[j] = exact
    return tuple(reversed(kept))


@lru_cache(maxsize=256)
def _whole_network(n: int) -> tuple[_Comparator, ...]:
    """Return the comparators that sort."""
    return tuple(_Comparator(i, j, True, True) for i, j in _merge_exchange(n))


def _merge_exchange(n: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators of Batcher's network for n inputs, in order: Knuth's Algorithm M."""
    if n < 2:
        return
    top = 1 << ((n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            d, q, r = q - p, q >> 1, p
        p >>= 1
