"""Where messages have the least noise: in which coordinates, of which workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from scipy.stats import chi2
from torch import Tensor

_FOR_LONG_TAILS = 0.4
"""A mean square of Laplace noise is as uncertain as one of 2/5 as many Gaussian draws."""
_CHANCE = 1e-3
"""Of taking chance for weak noise, somewhere; that costs nothing but a worse place."""


def variance_left(variances: Tensor, samples: int, layers: Sequence[int]) -> Tensor:
    """Return what part of the usual variance a cell has at most, `(workers, dim)`.

    Cells are looked at alone, and with others of their worker, coordinate or layer. What may be
    chance, among all of these, counts as 1.

    Args:
        variances: of each worker and coordinate.
        samples: from so many each, at least 2.
        layers: how many coordinates each has, in order.

    """
    usable = variances[(variances > 0) & variances.isfinite()]
    if not len(usable):
        return torch.ones_like(variances)
    shares = (variances / usable.median()).nan_to_num(nan=math.inf)
    left = torch.ones_like(variances)
    for mean, cells in _groups(shares, layers):
        kinds, kind = cells.unique(return_inverse=True)
        free = _FOR_LONG_TAILS * (samples - 1) * kinds
        least = torch.from_numpy(chi2.ppf(_CHANCE / variances.numel(), free.numpy())) / free
        least = least[kind]
        left = torch.minimum(left, torch.where(mean > 0, mean / least, 0.0))
    return left


def _groups(shares: Tensor, layers: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield means of groups, and of how many cells; they broadcast to `(workers, dim)`."""
    workers, dim = shares.shape
    sizes = torch.tensor(layers, dtype=torch.float64)
    layer = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(layers))
    of_layers = torch.stack([part.mean(1) for part in shares.split(list(layers), 1)], 1)
    yield shares, torch.ones(1, dtype=torch.float64)
    yield shares.mean(0, keepdim=True), torch.full((1,), float(workers), dtype=torch.float64)
    yield shares.mean(1, keepdim=True), torch.full((1,), float(dim), dtype=torch.float64)
    yield of_layers[:, layer], sizes[layer]
    yield of_layers.mean(0)[layer], workers * sizes[layer]


def echo_left(counts: Tensor, of: int) -> Tensor:
    """Return what part of each coordinate's numbers was not seen elsewhere, `(dim,)`.

    What is usual, or may be chance, counts as 1.

    Args:
        counts: how many were.
        of: how many there are of each.

    """
    rates = counts.double() / of
    usual = float(rates.median())
    sure = math.sqrt(2 * math.log(len(counts) + 1)) + 2
    most = usual + sure * math.sqrt(usual * (1 - usual) / of + 1 / of**2)
    return torch.where(rates > most, 1 - rates, 1.0)
