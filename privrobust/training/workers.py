"""What the honest workers of many lanes do with their batches: clip, average, remember.

All lanes share the noise law and the unit of privacy; b, C and the seed may differ.
"""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import CLIPPING_RULES, Batch, Flat, clip_vectors
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.noise import derived_keys, get_noise_law
from privrobust.noise.streams import first_words, happen
from privrobust.spec import RunSpec
from privrobust.training.lanes import column, distinct

# Relative slack when norms are held against a proven bound: float32 rounding, not the gradient.
_BOUND_SLACK = 1e-5


class Clipping:
    """Bounded averages: each example's gradient is clipped, or each worker's average."""

    def __init__(
        self, lanes: Sequence[RunSpec], model: nn.Module, examples: Tensor, owner: str = ""
    ) -> None:
        """Another owner than the honest workers takes part by streams of its own."""
        shared = lanes[0]
        device = examples.device
        order = get_noise_law(shared.noise).order
        self._rule = CLIPPING_RULES[shared.clipping](order)
        self._of_workers = shared.unit == "worker"
        of_examples = Flat(order) if self._of_workers else self._rule
        self._gradients = gradient_sum(model, examples, of_examples, get_loss(shared.loss))
        self._layers = Layout(model).layer_sizes
        self._batch_size = shared.batch_size
        # a bound clips too, by what rounding has added to a gradient that keeps it
        self._norms = column(
            lanes,
            lambda spec: spec.clip_norm or spec.grad_norm_bound or torch.inf,
            device,
            torch.float64,
        ).flatten()
        self._participation = _Participation(lanes, device, owner)
        self.bound = _Bound(lanes)

    def __call__(self, step: int, parameters: Tensor, batch: Batch) -> Tensor:
        """Average over the public B, `(lanes, honest, dim)`, in float64 until noise is added."""
        if self._of_workers:
            never = torch.full_like(self._norms, torch.inf)
            averages = self._gradients(parameters, batch, never, self._batch_size).sums
            averages, norms = clip_vectors(averages, self._layers, self._rule, self._norms)
            self.bound.check(step, norms)
            return self._participation.draw(averages)
        averages, norms = self._gradients(parameters, batch, self._norms, self._batch_size)
        self.bound.check(step, norms)
        return averages


class _Participation:
    """Which workers take part in a step; one that sits out still sends pure noise."""

    def __init__(self, lanes: Sequence[RunSpec], device: torch.device, owner: str) -> None:
        self._seeds, self._seed_of = distinct([spec.seed for spec in lanes], device)
        self._purpose = f"{owner}participation"
        self._rate = lanes[0].worker_sampling_rate
        self._steps = count(1)

    def draw(self, averages: Tensor) -> Tensor:
        """With the averages `(lanes, honest, dim)` of those that sit out set to 0."""
        if self._rate == 1:
            return averages
        step, workers = next(self._steps), averages.shape[1]
        words = [
            first_words(derived_keys(seed, self._purpose, step, workers), 1).reshape(workers)
            for seed in self._seeds
        ]
        joins = torch.from_numpy(happen(np.stack(words), self._rate)).to(averages.device)
        sits_out = ~joins[self._seed_of].unsqueeze(-1)
        return averages.masked_fill(sits_out, 0.0)  # whatever it would have sent, NaN included


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


class Momentum:
    """What workers keep of their noisy vectors, `m <- beta m + (1 - beta) g` from 0.

    (Karimireddy, He, Jaggi 2021, equation 4.) It is made of what was already perturbed: free of
    privacy cost.
    """

    def __init__(self, lanes: Sequence[RunSpec], device: torch.device) -> None:
        self._beta = column(lanes, lambda spec: spec.worker_momentum, device).unsqueeze(-1)
        self._kept = self._beta.new_zeros(())

    def __call__(self, noisy: Tensor) -> Tensor:
        """What they send, `(lanes, workers, dim)`."""
        if not bool(self._beta.any()):
            return noisy
        kept = torch.lerp(noisy, self._kept.expand_as(noisy), self._beta)
        self._kept = torch.where(self._beta > 0, kept, noisy)  # 0 times infinity is NaN
        return self._kept
