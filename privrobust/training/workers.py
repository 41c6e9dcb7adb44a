"""What workers who follow the protocol do with their batches: clip, average, remember.

All lanes share the noise law and the unit of privacy; C, beta and the seed may differ.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import CLIPPING_RULES, Batch, ClippedSums, Flat, clip_vectors
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import LOSSES
from privrobust.noise import NOISE_LAWS, derived_keys
from privrobust.noise.streams import first_words, happen
from privrobust.spec import RunSpec
from privrobust.training.lanes import column, distinct


class Clipping:
    """Bounded averages: each example's gradient is clipped, or each worker's average."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        model: nn.Module,
        layout: Layout,
        examples: Tensor,
        owner: str = "",
    ) -> None:
        """Find the fastest way for this model, tried on a few examples `(examples, *features)`.

        Another owner than the honest workers takes part by streams of its own.
        """
        shared = lanes[0]
        device = examples.device
        order = NOISE_LAWS[shared.noise].order
        self._rule = CLIPPING_RULES[shared.clipping](order)
        self._of_workers = shared.unit == "worker"
        of_examples = Flat(order) if self._of_workers else self._rule
        self._gradients = gradient_sum(model, layout, examples, of_examples, LOSSES[shared.loss])
        self._layers = layout.layer_sizes
        self._batch_size = shared.batch_size
        # a bound clips too, by what rounding has added to a gradient that keeps it; in float64, as
        # the float32 nearest to C may be larger than the C that is accounted for
        self._clip_norms = column(
            lanes,
            lambda spec: spec.clip_norm or spec.grad_norm_bound or torch.inf,
            device,
            torch.float64,
        ).flatten()
        self._participation = _Participation(lanes, device, owner)

    def __call__(self, parameters: Tensor, batch: Batch) -> ClippedSums:
        """Clip, and average over the public B, never over who happened to join the batch.

        Args:
            parameters: `(lanes, dim)`.
            batch: of every lane's workers.

        Returns:
            As `sums`, averages `(lanes, workers, dim)`, in float64: rounded before noise is added
            they could differ by more than is accounted for. As `norms`, those of the units before
            clipping, `(lanes, workers, units)`.

        """
        if not self._of_workers:
            return self._gradients(parameters, batch, self._clip_norms, self._batch_size)
        never = torch.full_like(self._clip_norms, torch.inf)
        averages = self._gradients(parameters, batch, never, self._batch_size).sums
        clipped, norms = clip_vectors(averages, self._layers, self._rule, self._clip_norms)
        return ClippedSums(self._participation.draw(clipped), norms)


class _Participation:
    """Which workers take part in a step; one that sits out still sends pure noise."""

    def __init__(self, lanes: Sequence[RunSpec], device: torch.device, owner: str) -> None:
        self._seeds, self._seed_of = distinct([spec.seed for spec in lanes], device)
        self._purpose = f"{owner}participation"
        self._rate = lanes[0].worker_sampling_rate
        self._steps = count(1)

    def draw(self, averages: Tensor) -> Tensor:
        """Draw who takes part; averages `(lanes, workers, dim)` of those that sit out become 0."""
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


class Momentum:
    """Keeps a mean of each worker's noisy vectors, `m <- beta m + (1 - beta) g` from 0.

    (Karimireddy, He, Jaggi 2021, equation 4.) It is made of what was already perturbed: free of
    privacy cost.
    """

    def __init__(self, lanes: Sequence[RunSpec], device: torch.device) -> None:
        self._beta = column(lanes, lambda spec: spec.worker_momentum, device).unsqueeze(-1)
        self._kept = self._beta.new_zeros(())

    def __call__(self, noisy: Tensor) -> Tensor:
        """Return the means with these vectors; both `(lanes, workers, dim)`."""
        if not bool(self._beta.any()):
            return noisy
        kept = torch.lerp(noisy, self._kept.expand_as(noisy), self._beta)
        self._kept = torch.where(self._beta > 0, kept, noisy)  # 0 times infinity is NaN
        return self._kept
