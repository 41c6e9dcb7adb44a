"""The noise that every honest worker adds to its gradient: `privrobust.noise` for lanes of runs."""

import math
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from privrobust.aggregators import KnownNoise
from privrobust.noise import NoiseLaw, derived_keys, get_noise_law
from privrobust.noise.addition import add_on_device, add_to_rows
from privrobust.noise.correlated import Mixture, add_correlated, mixture
from privrobust.noise.grid import Grid, Grids, grid
from privrobust.noise.laws import drawn
from privrobust.noise.streams import Keys, first_words
from privrobust.spec import RunSpec
from privrobust.training.lanes import column
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import sizes


class Perturbation:
    """The noise of every honest worker, from streams of its own in every step."""

    def __init__(
        self,
        plans: Sequence[PrivacyPlan],
        shape: tuple[int, int],
        device: torch.device,
        owner: str = "",
    ) -> None:
        """Prepare for messages of this shape, (workers, dim).

        Another owner than the honest workers draws from other streams.

        Raises:
            SpecError: as `grid`.

        """
        self._workers, self._dim = shape
        self._noise, self._purpose, self._device = plans[0].spec.noise, f"{owner}noise", device
        lanes = [plan.spec for plan in plans]
        self._first = lanes[0].honest if owner else 0  # of these workers, where all draw together
        noisy = [lane for lane, spec in enumerate(lanes) if spec.noise_scale]
        law = get_noise_law(self._noise)
        self._own_law = law if isinstance(law, NoiseLaw) else None
        if self._own_law is not None:  # which nothing vouches for: no grid would make it private
            self._in_floats = [(lane, lanes[lane]) for lane in noisy]
            noisy = []
        self._correlated = [
            (lane, lanes[lane].stream_seed, *_correlated(plans[lane], self._dim))
            for lane in noisy
            if lanes[lane].pairwise_noise
        ]
        noisy = [lane for lane in noisy if not lanes[lane].pairwise_noise]
        self._is_bounded = [bool(spec.clip_norm or spec.grad_norm_bound) for spec in lanes]
        self._private = self._among([lane for lane in noisy if self._is_bounded[lane]], plans)
        self._others = self._among([lane for lane in noisy if not self._is_bounded[lane]], plans)
        self._steps = count(1)

    def _among(self, places: list[int], plans: Sequence[PrivacyPlan]) -> "_Noisy":
        grids = [grid_of(plans[place], self._dim) for place in places]
        rows = Grids.of(each for each in grids for _ in range(self._workers))
        seeds = [plans[place].spec.stream_seed for place in places]
        return _Noisy(torch.tensor(places, dtype=torch.long, device=self._device), seeds, rows)

    def __call__(self, averages: Tensor, into: Tensor | None = None) -> Tensor:
        """Return `averages + b xi` in float32, one xi for lanes of equal seed.

        Args:
            averages: `(lanes, workers, dim)`, float64: float32 would round them before there is
                noise to hide what that tells.
            into: where the sums go; to a tensor of their own if it is not given.

        """
        step = next(self._steps)
        sent = torch.empty_like(averages, dtype=torch.float32) if into is None else into
        if self._own_law is not None:
            return self._with_own_noise(self._own_law, step, averages, sent)
        private, others = self._private, self._others
        if len(private.places) == len(averages):
            return self._with_noise(step, averages, private, sent)
        sent.copy_(averages)
        if len(private.places):
            values = averages.index_select(0, private.places)
            noisy = sent.new_empty(values.shape)
            sent.index_copy_(0, private.places, self._with_noise(step, values, private, noisy))
        if len(others.places):  # of any size, NaN and infinities too: no grid holds them
            values = averages.index_select(0, others.places)
            noise = sent.new_empty(values.shape)
            values.add_(self._with_noise(step, torch.zeros_like(values), others, noise))
            sent.index_copy_(0, others.places, values.float())
        if self._correlated:
            self._add_correlated(step, averages, sent)
        return sent

    def _add_correlated(self, step: int, averages: Tensor, sent: Tensor) -> None:
        """Write the sums of lanes whose workers share noise, one xi for equal seeds."""
        words: dict[tuple[int, int], tuple[Tensor, Keys]] = {}
        for lane, seed, on, mixed in self._correlated:
            if (seed, mixed.workers) not in words:
                keys = derived_keys(seed, "noise", step, mixed.workers)
                words[seed, mixed.workers] = self._words(keys), keys
            values = averages[lane]
            if self._is_bounded[lane]:
                sent[lane] = add_correlated(
                    values, self._first, *words[seed, mixed.workers], on, mixed
                )
            else:  # as others
                zeros = torch.zeros_like(values)
                noise = add_correlated(zeros, self._first, *words[seed, mixed.workers], on, mixed)
                sent[lane] = (values + noise).float()

    def _words(self, keys: Keys) -> Tensor:
        """Return int64 words, `(workers, dim or one more)`."""
        if self._device.type != "cpu":
            return device_words(keys, self._dim, self._device)
        return torch.from_numpy(first_words(keys, self._dim + self._dim % 2).view(np.int64))

    def _with_own_noise(self, law: NoiseLaw, step: int, averages: Tensor, sent: Tensor) -> Tensor:
        """Add noise of a user's own law, in floating point, one xi for lanes of equal seed."""
        sent.copy_(averages)
        noise: dict[int, Tensor] = {}
        for lane, spec in self._in_floats:
            seed = spec.stream_seed
            if seed not in noise:
                noise[seed] = drawn(law, self._uniform(seed, step))
            sent[lane] = averages[lane] + spec.noise_scale * noise[seed]
        return sent

    def _uniform(self, seed: int, step: int) -> Tensor:
        """Draw numbers between 0 and 1, both excluded, `(workers, dim)`, float64."""
        words = self._words(derived_keys(seed, self._purpose, step, self._workers))
        # 52 bits and a half: with 53 the largest would be 1
        return ((words[:, : self._dim] >> 12 & (1 << 52) - 1).double() + 0.5) * 2.0**-52

    def _with_noise(self, step: int, averages: Tensor, lanes: "_Noisy", sent: Tensor) -> Tensor:
        keys_of = {
            seed: derived_keys(seed, self._purpose, step, self._workers)
            for seed in set(lanes.seeds)
        }
        keys = np.concatenate([keys_of[seed] for seed in lanes.seeds])
        if self._device.type == "cpu":
            add_to_rows(averages.numpy(), keys, lanes.grids, self._noise, sent.numpy())
            return sent
        words_of = {seed: device_words(of, self._dim, self._device) for seed, of in keys_of.items()}
        words = torch.cat([words_of[seed] for seed in lanes.seeds])
        rows = averages.flatten(0, 1)
        sums = add_on_device(rows, words, keys, lanes.grids, self._noise)
        return sent.copy_(sums.view_as(sent))


class _Noisy(NamedTuple):
    """Lanes that noise is added to."""

    places: Tensor
    seeds: list[int]
    grids: Grids
    """Of every worker of every lane, in their order."""


def grid_of(plan: PrivacyPlan, dim: int) -> Grid:
    """Return the grid of a run with noise, whose messages have so many coordinates.

    Raises:
        SpecError: as `grid`.

    """
    release = plan.releases[0]  # a unit moves every worker's message as far
    order = get_noise_law(release.noise).order
    return grid(plan.spec.noise_scale, release.contribution, dim, order)


def _correlated(plan: PrivacyPlan, dim: int) -> tuple[Grid, Mixture]:
    """Return the grid of a run whose workers share noise, and how they do."""
    spec, on = plan.spec, grid_of(plan, dim)
    assert spec.pairwise_noise is not None
    return on, mixture(on.scale, spec.pairwise_noise, spec.workers)


def device_words(keys: Keys, dim: int, device: torch.device) -> Tensor:
    """Return int64 words from a device's own generator, `(workers, dim or one more)`.

    It is fast and not cryptographic: whoever sees enough of its numbers finds the others. It is
    seeded with 64 bits of the first worker's key, of which a CPU's generator keeps 32, and the
    workers' words depend on how many there are.
    """
    generator = torch.Generator(device).manual_seed(int(keys[0, :8].view(np.int64)[0]))
    words = torch.empty(len(keys), dim + dim % 2, dtype=torch.int64, device=device)
    return words.random_(-(2**63), None, generator=generator)


def noise_std(lanes: Sequence[RunSpec], device: torch.device) -> Tensor:
    """Return the standard deviation of the noise on each coordinate that workers send.

    It is public, and `(lanes, 1, 1)`. With momentum it is that of `(1 - beta) sum_k beta^k xi_k`,
    which the first steps approach. With local steps on noisy gradients it is that of the sum of
    their noise, without what that noise does to later gradients.
    """

    def of_lane(spec: RunSpec) -> float:
        kept = (1 - spec.worker_momentum) / (1 + spec.worker_momentum)
        return spec.noise_std * math.sqrt(kept)

    return column(lanes, of_lane, device).unsqueeze(-1)


def known_noise(lanes: Sequence[RunSpec], device: torch.device) -> KnownNoise:
    """Return what everybody knows of the honest messages of these lanes.

    A worker's average has a norm of at most C / B for each example of its batch, of which there are
    S in expectation, and more than S + 3 sqrt(S) but rarely; a message adds up those of all local
    steps. Where the worker is the unit, it has a norm of at most C.
    """

    def reach(spec: RunSpec) -> float:
        bound = spec.clip_norm or spec.grad_norm_bound or math.inf
        if spec.unit == "worker":
            return bound
        expected = spec.batch_size
        if spec.sampling_rate is not None:
            expected = spec.sampling_rate * max(sizes(spec))
        most = expected + 3 * math.sqrt(expected)
        return spec.noisy_vectors * bound * most / spec.batch_size

    of_lanes = (
        column(lanes, setting, device).unsqueeze(-1)
        for setting in (lambda spec: spec.noise_std, lambda spec: spec.worker_momentum, reach)
    )
    return KnownNoise(*of_lanes)
