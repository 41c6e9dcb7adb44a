"""What tells of the noise on a coordinate: other numbers that vary with it.

They are looked for in noise alone. Of a message's number, those that stand to it as these do (so
many workers on, a step before or after, in that coordinate) are then shown to attacks beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

_PRODUCTS = 2 * 10**9
"""How many are spent on a search."""
_MOST = 6
_LAGS = (0, 1, -1)
_DENSE = 1024
"""Coordinates of a block in which all are held against each."""
_MARGIN = 64
"""Messages beyond those coordinates, at least."""


@dataclass(frozen=True)
class Beside:
    """Numbers that tell of one in coordinate `place` of a worker's message.

    Attributes:
        offsets: of each, how many workers on, in a circle.
        lags: how many steps before.
        places: in which coordinate.
        weights: of all coordinates of the message itself, a sum that tells of it, or None.

    """

    offsets: tuple[int, ...] = ()
    lags: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    weights: Tensor | None = None

    def of_step(self, noise: Tensor, workers: Tensor) -> Tensor:
        """Pick them from noise `(L, workers, dim)` for messages of these workers, `(L,)`."""
        lanes, count = torch.arange(len(noise)), noise.shape[1]
        columns = [
            noise[lanes, (workers + offset) % count, place]
            for offset, place in zip(self.offsets, self.places, strict=True)
        ]
        if self.weights is not None:
            columns.append(noise[lanes, workers].double() @ self.weights)
        return torch.stack(columns, 1).double() if columns else noise.new_zeros(len(noise), 0)

    def in_time(self, steps: list[Tensor]) -> Tensor:
        """Put what was picked in each step beside the step that it tells of, `(L, steps, ...)`."""
        picked = torch.stack(steps, 1)
        for column, lag in enumerate(self.lags):
            if lag:
                picked[:, :, column] = _later(picked[:, :, column], lag)
        return picked


def _later(values: Tensor, lag: int) -> Tensor:
    """Move `(L, steps, ...)` by so many steps; what comes in is zero."""
    moved = torch.zeros_like(values)
    if lag > 0:
        moved[:, lag:] = values[:, :-lag]
    else:
        moved[:, :lag] = values[:, -lag:]
    return moved


class Search:
    """Looks in noise for what varies together."""

    def __init__(self, noise: Tensor, generator: torch.Generator) -> None:
        """Look in this noise, `(L, steps, workers, dim)`, float32, in usual deviations."""
        self._noise = noise
        size = noise.square().mean((0, 1, 2)).sqrt()
        self._per_size = torch.where(size > 0, 1 / size, 0.0)
        lanes, steps, workers, self._dim = noise.shape
        self._count = lanes * steps * workers
        self._lags = [lag for lag in _LAGS if abs(lag) < steps]
        relations = workers * len(self._lags)
        most = max(1, _PRODUCTS // max(1, noise.numel() * relations))
        tried = torch.randperm(self._dim, generator=generator)[:most].sort().values
        # chance alone stays below it
        tests = len(tried) * self._dim * relations
        self._sure = (math.sqrt(2 * math.log(tests + 1)) + 2) / math.sqrt(self._count)
        self.left = torch.ones(self._dim, dtype=torch.float64)
        """Of the variance in each coordinate, how much is left when one other number is known, or
        all others of a block; 1 where that may be chance."""
        self._block, self._precision = slice(0, 0), torch.zeros(0, 0)
        if self._sure < 1:
            self._find_pairs(tried)
        self._find_sums(generator)

    def _relations(self) -> Iterator[tuple[int, int]]:
        for offset in range(self._noise.shape[2]):
            for lag in self._lags:
                yield offset, lag

    def _related(self, offset: int, lag: int) -> Tensor:
        rolled = self._noise.roll(-offset, dims=2) if offset else self._noise
        return _later(rolled, lag) if lag else rolled

    def _find_pairs(self, tried: Tensor) -> None:
        own = (self._noise[..., tried] * self._per_size[tried]).flatten(0, 2)
        for offset, lag in self._relations():
            shared = own.T @ self._related(offset, lag).flatten(0, 2) * self._per_size / self._count
            if not offset:  # itself, and what it is in other steps: attacks know of these
                shared[torch.arange(len(tried)), tried] = 0.0
            most = shared.abs().amax(1).double().clamp(max=1.0)
            told = torch.where(most > self._sure, most.square(), 0.0)
            self.left[tried] = torch.minimum(self.left[tried], 1 - told)

    def _find_sums(self, generator: torch.Generator) -> None:
        """Find what all others of a block of coordinates tell of each."""
        size = min(self._dim, _DENSE)
        if size + _MARGIN > self._count:  # of more, noise cannot tell what is chance
            size = self._count // 2
        free = self._count - size
        if free < _MARGIN:
            return
        start = int(torch.randint(self._dim - size + 1, (), generator=generator))
        block = slice(start, start + size)
        rows = self._noise[..., block].flatten(0, 2).double()
        covariance = rows.T @ rows / self._count
        ridge = 1e-9 * torch.eye(size, dtype=torch.float64)
        precision = torch.linalg.inv(covariance + ridge)
        alone = covariance.diagonal().clamp(min=1e-9)
        left = self._count / free / (precision.diagonal() * alone)
        if bool((left < float(chi2.ppf(1e-3 / size, free)) / free).any()):
            self._block, self._precision = block, precision
            self.left[block] = torch.minimum(self.left[block], left)

    def beside(self, place: int) -> Beside:
        """Return what tells of the noise in one coordinate."""
        own = self._noise[..., place]
        weights = None
        if self._block.start <= place < self._block.stop:
            weights = torch.zeros(self._dim, dtype=torch.float64)
            row = self._precision[place - self._block.start]
            weights[self._block] = -row / row[place - self._block.start]
            weights[place] = 0.0
        chosen: list[tuple[int, int, int]] = []
        columns: list[Tensor] = []
        rest = own.flatten().double()
        size = float(rest.square().sum())
        while self._sure < 1 and len(chosen) < _MOST and float(rest.square().sum()) > 1e-6 * size:
            found = max(self._tells(rest.view_as(own).float(), place), key=lambda one: one[0])
            if found[0] <= self._sure * math.sqrt(float(rest.square().mean())):
                break
            offset, lag, other = found[1]
            chosen.append(found[1])
            columns.append(self._related(offset, lag)[..., other].flatten().double())
            known = torch.stack(columns, 1)
            rest = own.flatten().double()
            rest = rest - known @ torch.linalg.lstsq(known, rest.unsqueeze(1)).solution.squeeze(1)
        offsets, lags, places = zip(*chosen, strict=True) if chosen else ((), (), ())
        return Beside(offsets, lags, places, weights)

    def _tells(self, rest: Tensor, place: int) -> Iterator[tuple[float, tuple[int, int, int]]]:
        """Yield of each relation how much its best number has in common with what is left."""
        for offset, lag in self._relations():
            shared = rest.flatten() @ self._related(offset, lag).flatten(0, 2) / self._count
            shared *= self._per_size
            if not offset:
                shared[place] = 0.0
            best = int(shared.abs().argmax())
            yield abs(float(shared[best])), (offset, lag, best)
