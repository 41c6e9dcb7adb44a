"""What workers who follow the protocol do with their gradients: clip, average, remember.

All lanes share the noise law and the unit of privacy; C, beta and the seed may differ.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from privrobust.gradients.batch import Batch
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import (
    CLIPPING_RULES,
    ClippedSums,
    ClippingRule,
    Flat,
    GradientSum,
    clip_vectors,
)
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.noise import derived_keys, get_noise_law
from privrobust.noise.streams import first_words, happen
from privrobust.spec import RunSpec
from privrobust.training.lanes import column, distinct


def _rule(spec: RunSpec) -> ClippingRule:
    return CLIPPING_RULES[spec.clipping](get_noise_law(spec.noise).order)


def clipped_gradients(
    spec: RunSpec, model: nn.Module, layout: Layout, examples: Tensor
) -> GradientSum:
    """Find the fastest way to the clipped gradients of a run's examples; see `gradient_sum`.

    It takes a while and keeps nothing of its calls: one serves all workers of all lanes.
    """
    # where workers are the unit, their examples' gradients are summed as they are
    rule = Flat(_rule(spec).order) if spec.unit == "worker" else _rule(spec)
    return gradient_sum(model, layout, examples, rule, get_loss(spec.loss))


class Clipping:
    """Bounds what a unit adds: each example's gradient is clipped, or each worker's vector."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        gradients: GradientSum,
        layout: Layout,
        device: torch.device,
        owner: str = "",
    ) -> None:
        """Average the `clipped_gradients` of these lanes.

        Another owner than the honest workers takes part by streams of its own.
        """
        self._gradients = gradients
        self._of_workers = lanes[0].unit == "worker"
        self._rule = _rule(lanes[0])
        self._layers = layout.layer_sizes
        self._batch_size = lanes[0].batch_size
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
        """Average gradients over the public B, never over who happened to join the batch.

        Where examples are the unit, each one's is clipped.

        Args:
            parameters: of all workers of a lane, `(lanes, dim)`, or each worker's own,
                `(lanes, workers, dim)`.
            batch: of every lane's workers.

        Returns:
            As `sums`, averages `(lanes, workers, dim)`, in float64: rounded before noise is added
            they could differ by more than is accounted for. As `norms`, those of the examples
            before clipping, `(lanes, workers, pad)`.

        """
        clip_norms = self._clip_norms
        if self._of_workers:  # whose examples' gradients are summed as they are
            clip_norms = torch.full_like(clip_norms, torch.inf)
        if parameters.dim() == 2:
            return self._gradients(parameters, batch, clip_norms, self._batch_size)
        # to whoever computes gradients, a worker at a place of its own is a lane
        workers = batch.labels.shape[1]
        clip_norms = clip_norms.repeat_interleave(workers)
        found = self._gradients(parameters.flatten(0, 1), batch.apart, clip_norms, self._batch_size)
        return ClippedSums(*(part.reshape(-1, workers, part.shape[-1]) for part in found))

    def whole(self, vectors: Tensor) -> ClippedSums:
        """Clip whole vectors of workers in place, and draw who takes part; others become 0.

        Args:
            vectors: `(lanes, workers, dim)`, float64.

        Returns:
            The vectors, and their norms before clipping, `(lanes, workers, 1)`.

        """
        clipped, norms = clip_vectors(vectors, self._layers, self._rule, self._clip_norms)
        return ClippedSums(self._participation.draw(clipped), norms)


class _Participation:
    """Which workers take part in a step; one that sits out still sends pure noise."""

    def __init__(self, lanes: Sequence[RunSpec], device: torch.device, owner: str) -> None:
        self._seeds, self._seed_of = distinct([spec.stream_seed for spec in lanes], device)
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
        self._is_kept = bool(self._beta.any())
        self._kept: Tensor | None = None

    def __call__(self, noisy: Tensor) -> Tensor:
        """Return the means with these vectors, which they replace; both `(lanes, workers, dim)`."""
        if not self._is_kept:
            return noisy
        if self._kept is None:
            self._kept = torch.zeros_like(noisy)
        torch.lerp(noisy, self._kept, self._beta, out=self._kept)
        # where there is none, 0 times infinity is NaN
        return torch.where(self._beta > 0, self._kept, noisy, out=noisy)
