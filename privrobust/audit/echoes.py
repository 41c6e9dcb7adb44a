"""Echoes: noise that was seen elsewhere in the run, as it is or turned around.

Noise that is drawn anew never has the same size twice, but for chance. Where it does, in whatever
coordinate, worker or step, what a canary adds to it is as good as seen: one of a message's number
and that number less the canary is an echo of another. Noise that is missing is an echo of zero.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from privrobust.audit.trials import Floats
from privrobust.noise.grid import SHARE

_CELLS = 1 << 16
"""Of a run, how many numbers are kept: of more, too many are alike by chance."""
_LEAST_STEPS = 2
_ROUNDING = 2.0**-22
"""Of float32 messages of size 1."""


def kept_steps(workers: int, dim: int) -> int:
    """Return of how many steps all numbers are kept."""
    return max(_LEAST_STEPS, _CELLS // (workers * dim))


def tolerance(size: Tensor, contribution: Tensor | float, dim: int, lost: float) -> Tensor:
    """Return how far numbers may lie apart that were equal before they were sent.

    Args:
        size: of messages, root mean square, `(L,)`.
        contribution: what a unit adds at most, which the grid of the noise goes by.
        dim: of a message.
        lost: momentum, whose removal multiplies rounding.

    """
    return (_ROUNDING * size + SHARE * contribution / math.sqrt(dim)) / (1 - lost)


def repeated(noise: Tensor, within: Tensor) -> Tensor:
    """Return which numbers of noise `(L, steps, workers, dim)` are as large as others of a lane.

    Args:
        noise: that alone.
        within: what counts as equal, `(L,)`.

    """
    rows = noise.abs().flatten(1)
    values, places = rows.sort(dim=1)
    is_near = values.diff(dim=1, prepend=torch.zeros(len(rows), 1)) <= within.unsqueeze(1)
    is_near[:, :-1] |= is_near[:, 1:].clone()
    return torch.zeros_like(is_near).scatter_(1, places, is_near).view_as(noise)


class Echoes:
    """Counts those of the numbers that canaries moved, `m` coordinates in each of `L` lanes."""

    def __init__(self, workers: Tensor, lost: float) -> None:
        """Count for canaries of these workers, `(L, m)`; `lost` as of `tolerance`."""
        self._workers, self._lost = workers, lost
        self._cells: list[Tensor] = []
        self._own: list[Tensor] = []
        self._moved: list[Tensor] = []
        self._squares = torch.zeros(len(workers), dtype=torch.float64)
        self._dim = 1

    @property
    def has_seen(self) -> bool:
        """Tell whether there was a step."""
        return bool(self._own)

    def see(self, sent: Tensor, noise: Tensor, places: Tensor, moved: Tensor) -> None:
        """Take notice of a step.

        Args:
            sent: messages, `(L, workers, dim)`.
            noise: what is left of them without what is known, canaries still in it.
            places: coordinates of the canaries, `(L, m)`.
            moved: how far each moves its coordinate if it takes part, `(L, m)`.

        """
        lanes = torch.arange(len(places)).unsqueeze(1)
        self._own.append(noise[lanes, self._workers, places])
        self._moved.append(moved)
        self._squares += sent.double().square().mean((1, 2))
        self._dim = sent.shape[2]
        if len(self._cells) < kept_steps(*sent.shape[1:]):
            cells = noise.abs().float()
            cells[lanes, self._workers, places] = torch.inf
            self._cells.append(cells.nan_to_num(nan=torch.inf).flatten(1))

    def counts(self, is_opposed: bool) -> Floats:
        """Return in how many steps each canary's number was an echo, `(L m, 2)`.

        First as it is (with the canary taken away the other way if it is exchanged), then with the
        canary taken away.
        """
        own, moved = torch.stack(self._own, 2), torch.stack(self._moved, 2)
        within = tolerance(
            (self._squares / len(self._own)).sqrt(), moved.abs().amax((1, 2)), self._dim, self._lost
        )
        zero = torch.zeros(len(own), 1)
        cells = torch.cat([zero, *self._cells], 1).numpy()
        cells.sort(axis=1)
        found = np.empty((*own.shape[:2], 2))
        for which, numbers in enumerate((own + moved if is_opposed else own, own - moved)):
            for lane, (values, near) in enumerate(
                zip(numbers.abs().numpy(), within.tolist(), strict=True)
            ):
                first = np.searchsorted(cells[lane], values - near)
                last = np.searchsorted(cells[lane], values + near, side="right")
                found[lane, :, which] = (last > first).sum(1)
        return found.reshape(-1, 2)
