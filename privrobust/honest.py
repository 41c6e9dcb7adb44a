"""What the honest workers of many lanes do with their batches: clip, average, perturb.

All lanes share the noise law and the unit of privacy; b, C and the seed may differ.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from privrobust.clipping import Batch, clip_vectors, gradient_sum
from privrobust.perturbation import NOISE_LAWS
from privrobust.sampling import stream
from privrobust.spec import RunSpec

T = TypeVar("T")

# Relative slack when norms are held against a proven bound: float32 rounding, not the gradient.
_BOUND_SLACK = 1e-5


class Clipping:
    """Bounded averages: each example's gradient is clipped, or each worker's average."""

    def __init__(self, lanes: Sequence[RunSpec], model: nn.Module, example: Tensor) -> None:
        shared = lanes[0]
        self._order = 1 if shared.noise == "laplace" else 2
        self._gradients = gradient_sum(model, example, self._order)
        self._batch_size = shared.batch_size
        self._of_workers = shared.unit == "worker"
        self._norms = column(lanes, lambda spec: spec.clip_norm or torch.inf).flatten()
        self._participation = _Participation(lanes)
        self.bound = _Bound(lanes)

    def __call__(self, step: int, parameters: Tensor, batch: Batch) -> Tensor:
        """Averages over the public B, `(lanes, honest, dim)`."""
        if self._of_workers:
            never = torch.full_like(self._norms, torch.inf)
            sums = self._gradients(parameters, batch, never).sums
            averages, norms = clip_vectors(sums / self._batch_size, self._norms, self._order)
            self.bound.check(step, norms)
            return self._participation.draw(averages)
        sums, norms = self._gradients(parameters, batch, self._norms)
        self.bound.check(step, norms)
        return sums / self._batch_size


class _Participation:
    """Which honest workers take part in a step; one that sits out still sends pure noise."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        seeds, self._seed_of = distinct([spec.seed for spec in lanes])
        self._streams = [stream(seed, "participation") for seed in seeds]
        self._rate = lanes[0].worker_sampling_rate

    def draw(self, averages: Tensor) -> Tensor:
        """With the averages `(lanes, honest, dim)` of those that sit out set to 0."""
        if self._rate == 1:
            return averages
        draws = [
            torch.rand(averages.shape[1], dtype=torch.float64, generator=stream) < self._rate
            for stream in self._streams
        ]
        return averages * torch.stack(draws)[self._seed_of].unsqueeze(-1)


class Failure(NamedTuple):
    """Where and why a run ended without a result."""

    step: int
    reason: str


class _Bound:
    """Holds every unit's gradient against the bound that a run claims for it."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        self.failures: dict[int, Failure] = {}
        """By lane."""
        self._lanes = len(lanes)
        self._claimed = {
            lane: spec.grad_norm_bound
            for lane, spec in enumerate(lanes)
            if spec.grad_norm_bound is not None
        }

    def check(self, step: int, norms: Tensor) -> None:
        """Record the first violation of each lane; norms are `(lanes, honest, units)`."""
        for lane, bound in self._claimed.items():
            worst = norms[lane].amax(-1)  # NaN, which keeps no bound, is the largest to amax
            if lane not in self.failures and not bool((worst <= bound * (1 + _BOUND_SLACK)).all()):
                worker = int(worst.argmax())
                self.failures[lane] = Failure(
                    step,
                    f"grad_norm_bound: at step {step}, honest worker {worker} has a gradient of "
                    f"norm {float(worst[worker]):.6g}, above the bound {bound:g}; the run is ended",
                )

    def broken_by_all(self) -> bool:
        """Whether no lane is left to train."""
        return len(self.failures) == self._lanes


class Perturbation:
    """The noise of every honest worker: b times a draw of the run's own stream."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        seeds, self._seed_of = distinct([spec.seed for spec in lanes])
        self._law = NOISE_LAWS[lanes[0].noise]
        self._streams = [stream(seed, "noise") for seed in seeds]
        self._scales = column(lanes, lambda spec: spec.noise_scale).unsqueeze(-1)

    def __call__(self, averages: Tensor) -> Tensor:
        """`averages + b xi`, `(lanes, honest, dim)`, one xi for lanes of equal seed."""
        if not bool(self._scales.any()):
            return averages
        draws = torch.stack([self._law(averages.shape[1:], stream) for stream in self._streams])
        return averages + draws[self._seed_of] * self._scales


def distinct(values: list[T]) -> tuple[list[T], Tensor]:
    """The distinct values, and for every value its place among them."""
    kept = list(dict.fromkeys(values))
    return kept, torch.tensor([kept.index(value) for value in values])


def column(lanes: Sequence[RunSpec], setting: Callable[[RunSpec], float]) -> Tensor:
    """A setting of every lane, `(lanes, 1)`."""
    return torch.tensor([setting(spec) for spec in lanes], dtype=torch.float32).unsqueeze(-1)
