"""The noise that every honest worker adds to its gradient: `privrobust.noise` for lanes of runs."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from privrobust.noise import NOISE_LAWS, derived_keys
from privrobust.noise.addition import add_on_device, add_to_rows
from privrobust.noise.grid import Grid, Grids, grid
from privrobust.noise.streams import Keys
from privrobust.privacy import releases
from privrobust.spec import RunSpec


class Perturbation:
    """The noise of every honest worker, from streams of its own in every step."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        shape: tuple[int, int],
        device: torch.device,
        owner: str = "",
    ) -> None:
        """For messages of this shape, (workers, dim).

        Another owner than the honest workers draws from other streams.

        Raises:
            SpecError: as `grid`.

        """
        self._workers, self._dim = shape
        self._noise, self._purpose, self._device = lanes[0].noise, f"{owner}noise", device
        self._seeds = [spec.seed for spec in lanes]
        self._grids = {
            lane: grid_of(spec, self._dim) for lane, spec in enumerate(lanes) if spec.noise_scale
        }
        self._private = [lane for lane in self._grids if _is_bounded(lanes[lane])]
        self._others = [lane for lane in self._grids if not _is_bounded(lanes[lane])]
        self._steps = count(1)

    def __call__(self, averages: Tensor) -> Tensor:
        """Return `averages + b xi` in float32, one xi for lanes of equal seed.

        Args:
            averages: `(lanes, workers, dim)`, float64: float32 would round them before there is
                noise to hide what that tells.

        """
        step = next(self._steps)
        if len(self._private) == len(averages):
            return self._noisy(step, averages, self._private)
        sent = averages.float()
        if lanes := self._private:
            sent[lanes] = self._noisy(step, averages[lanes], lanes)
        if lanes := self._others:  # of any size, NaN and infinities too: no grid holds them
            noise = self._noisy(step, torch.zeros_like(averages[lanes]), lanes)
            sent[lanes] = averages[lanes].add_(noise).float()
        return sent

    def _noisy(self, step: int, averages: Tensor, lanes: list[int]) -> Tensor:
        """Return `(lanes, workers, dim)` with noise, all from the first of what is given."""
        rows = averages.reshape(-1, self._dim)
        grids = Grids.of(self._grids[lane] for lane in lanes for _ in range(self._workers))
        keys_of = {
            seed: derived_keys(seed, self._purpose, step, self._workers)
            for seed in {self._seeds[lane] for lane in lanes}
        }
        keys = np.concatenate([keys_of[self._seeds[lane]] for lane in lanes])
        if self._device.type == "cpu":
            sent = torch.empty(rows.shape)
            add_to_rows(rows.numpy(), keys, grids, self._noise, sent.numpy())
        else:
            words_of = {
                seed: device_words(of, self._dim, self._device) for seed, of in keys_of.items()
            }
            words = torch.cat([words_of[self._seeds[lane]] for lane in lanes])
            sent = add_on_device(rows, words, keys, grids, self._noise)
        return sent.view_as(averages)


def _is_bounded(spec: RunSpec) -> bool:
    return spec.clip_norm is not None or spec.grad_norm_bound is not None


def grid_of(spec: RunSpec, dim: int) -> Grid:
    """Return the grid of a run with noise, whose messages have so many coordinates.

    Raises:
        SpecError: as `grid`.

    """
    contribution = releases(spec)[0].contribution
    return grid(spec.noise_scale, contribution, dim, NOISE_LAWS[spec.noise].order)


def device_words(keys: Keys, dim: int, device: torch.device) -> Tensor:
    """Return int64 words from a device's own generator, `(workers, dim or one more)`.

    It is fast and not cryptographic: whoever sees enough of its numbers finds the others. Seeded
    with 64 bits of the first worker's key.
    """
    generator = torch.Generator(device).manual_seed(int(keys[0, :8].view(np.int64)[0]))
    words = torch.empty(len(keys), dim + dim % 2, dtype=torch.int64, device=device)
    return words.random_(-(2**63), None, generator=generator)
