"""Order statistics along the worker axis, by a pruned sorting network.

The median of n messages is needed for millions of coordinates at once, n being small. A sorting
network compares fixed pairs of workers, so every comparison is one vectorised minimum and maximum
over all coordinates, with no data-dependent branch. Batcher's merge exchange (Knuth, TAOCP vol. 3,
5.2.2, Algorithm M) sorts any n; comparators that cannot reach the wanted ranks are dropped.

>>> import torch
>>> low, high = order_statistics(torch.tensor([[3.0], [1.0], [4.0], [1.0]]), ranks=(1, 2))
>>> low.item(), high.item()
(1.0, 3.0)
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

# Coordinates handled together: n rows of this many floats stay in the processor's cache.
BLOCK = 1 << 15


def order_statistics(messages: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    """The values of the given ranks (0 is the smallest) among the workers, per coordinate.

    Args:
        messages: shape `(..., n, d)`. NaN counts as +infinity, wherever it stands.
        ranks: which order statistics, each in `0 .. n-1`.

    Returns:
        One tensor of shape `(..., d)` a rank.

    """
    workers = messages.shape[-2]
    width = max(1, BLOCK * workers // max(1, messages[..., :1].numel()))
    blocks = [_select(block, ranks) for block in messages.split(width, dim=-1)]
    if len(blocks) == 1:
        return blocks[0]
    return [torch.cat(parts, dim=-1) for parts in zip(*blocks, strict=True)]


def _select(messages: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    # minimum and maximum propagate NaN along every wire that they touch, and every input reaches
    # every output: a NaN in the result is the sign, cheap to look for, that NaN must be ordered.
    selected = _run_network(messages, ranks)
    if any(bool(values.isnan().any()) for values in selected):
        return _run_network(messages.nan_to_num(torch.inf, torch.inf, -torch.inf), ranks)
    return selected


def _run_network(messages: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    wires = list(messages.unbind(-2))
    for low, high, keep_low, keep_high in _network(len(wires), ranks):
        a, b = wires[low], wires[high]
        if keep_low:
            wires[low] = torch.minimum(a, b)
        if keep_high:
            wires[high] = torch.maximum(a, b)
    return [wires[rank] for rank in ranks]


@lru_cache(maxsize=256)
def _network(n: int, ranks: tuple[int, ...]) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators `(i, j, keep minimum at i, keep maximum at j)` that the ranks depend on."""
    needed = set(ranks)
    kept = []
    for low, high in reversed(list(_merge_exchange(n))):
        keep_low, keep_high = low in needed, high in needed
        if keep_low or keep_high:
            needed |= {low, high}
            kept.append((low, high, keep_low, keep_high))
    return tuple(reversed(kept))


def _merge_exchange(n: int) -> Iterator[tuple[int, int]]:
    """Knuth's Algorithm M: the comparators of Batcher's network for n inputs, in order."""
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
