"""Canaries among the gradients of honest workers, step by step.

Which canaries a step has is decided where the run decides about examples: a canary holds the place
of an example, and is drawn into a batch like one. A planted gradient is then clipped by the run's
own rule and joins the run's own sum; whatever becomes of sums becomes of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from privrobust.audit.canaries import ExampleCanary, GradientCanary
from privrobust.audit.effects import Effects, Vectors
from privrobust.data import Dataset
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import (
    CLIPPING_RULES,
    ClippedSums,
    GradientSum,
    clip_vectors,
)
from privrobust.gradients.layout import Layout
from privrobust.noise import get_noise_law
from privrobust.spec import RunSpec

TOO_LARGE = 64.0
"""Norm of a planted gradient, in clipping norms: enough to show whether it is clipped."""


@dataclass(frozen=True)
class Slots:
    """Where canaries are: `m` of each of `L` lanes."""

    workers: Tensor
    """Which worker holds each, `(L, m)`."""
    examples: Tensor
    """The place of which training example it takes, `(L, m)`."""
    weights: Tensor
    """What it counts: 1 if it is in; if it is out 0, or -1 where it is exchanged; `(L, m)`."""


class Planting(ABC):
    """Sums clipped gradients with canaries, and keeps what an attack is allowed to know of them."""

    effects: Effects
    """What each canary adds to its worker's average of this step, with weight 1."""
    signs: Tensor
    """Of the weights in this step, which everybody knows, `(L, 1)`."""
    without: Tensor
    """The averages without any canary, `(L, workers, dim)`: other examples are not protected from
    whoever attacks this one."""

    def __init__(self, gradients: GradientSum, slots: Slots, examples: int) -> None:
        self._gradients = gradients
        self._slots = slots
        lanes, canaries = slots.examples.shape
        self._canary_at = torch.full((lanes, examples), -1)
        self._canary_at.scatter_(1, slots.examples, torch.arange(canaries).expand(lanes, -1))

    @abstractmethod
    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Sum as a `GradientSum` does."""

    @abstractmethod
    def observe(self, update: Tensor) -> None:
        """Take notice of the aggregate that followed, `(L, dim)`."""

    def _canaries(self, batch: Batch) -> Tensor:
        """Return which canary each place of a batch is, or -1; `(L, workers, pad)`."""
        of_lanes = batch.places.flatten(1)
        return self._canary_at.gather(1, of_lanes).view_as(batch.places)

    def _joined(self, canaries: Tensor, present: Tensor) -> Tensor:
        """Return which canaries were drawn, `(L, m)`."""
        lanes, many = self._slots.examples.shape
        drawn = torch.zeros(lanes, many + 1, dtype=torch.bool)
        at = torch.where(present, canaries, -1).flatten(1) % (many + 1)  # -1 is the last
        return drawn.scatter_(1, at, True)[:, :many]


class PlantedGradients(Planting):
    """Canaries that are gradients; a worker that holds some holds no other examples."""

    def __init__(
        self,
        gradients: GradientSum,
        slots: Slots,
        examples: int,
        lanes: Sequence[RunSpec],
        layout: Layout,
        canary: GradientCanary,
        chosen: Callable[[Tensor], Effects],
        signs: torch.Generator | None,
    ) -> None:
        """Plant `canary` in these lanes.

        Args:
            gradients: the run's own.
            slots: where.
            examples: how many there are to train on.
            lanes: the runs, all of one noise law, unit and clipping rule.
            layout: the model's.
            canary: what is planted.
            chosen: how much honest gradients move each coordinate, `(dim,)`, to its directions.
            signs: draws those of each lane and step; without it they are all 1.

        """
        super().__init__(gradients, slots, examples)
        shared = lanes[0]
        self._layout = layout
        self._canary, self._chosen, self._drawn = canary, chosen, signs
        self._order = get_noise_law(shared.noise).order
        self._rule = CLIPPING_RULES[shared.clipping](self._order)
        self._of_workers = shared.unit == "worker"
        self._is_sampled = shared.worker_sampling_rate != 1
        self._bounds = torch.tensor(
            [spec.clip_norm or spec.grad_norm_bound or 1.0 for spec in lanes], dtype=torch.float64
        ).unsqueeze(-1)
        is_clipped = shared.clip_norm is not None or shared.grad_norm_bound is None
        self._norms = self._bounds * (TOO_LARGE if is_clipped else 1.0)
        self._directions: Effects | None = None
        self.signs = torch.ones(len(lanes), 1, dtype=torch.float64)

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Sum as a `GradientSum` does, with the canaries that were drawn."""
        canaries = self._canaries(batch)
        workers = torch.arange(batch.labels.shape[1])
        holds_canary = (workers == self._slots.workers.unsqueeze(-1)).any(1).unsqueeze(-1)
        others = replace(batch, present=batch.present & ~holds_canary)
        sums, norms = self._gradients(parameters, others, clip_norms, divisor)
        self.without = sums.clone()
        if self._of_workers:  # whose averages are clipped later on
            limits = self._bounds.flatten()
            clip_vectors(self.without, self._layout.layer_sizes, self._rule, limits)
            if self._is_sampled:  # who of them took part is not known here
                self.without.zero_()
        if self._directions is None:
            self._directions = self._chosen(sums.abs().amax((0, 1))).in_lanes(len(sums))
        if self._drawn is not None:
            coins = torch.randint(0, 2, self.signs.shape, generator=self._drawn)
            self.signs = 2.0 * coins.double() - 1
        raw = self._directions.times(self._norms)
        if self._of_workers:  # which clips later, and draws who takes part
            taking_part = torch.ones_like(self._slots.weights)
            planted, self.effects = raw, self._directions.times(self._bounds)
            at = holds_canary & (torch.arange(norms.shape[-1]) == 0)
        else:
            planted, raw_norms = raw.clipped(
                self._layout,
                self._order,
                lambda each: self._rule.factors(each, clip_norms) / divisor,
            )
            self.effects = planted
            taking_part = self._joined(canaries, batch.present).double()
            at = batch.present & (canaries >= 0)
            of_canary = raw_norms.gather(1, canaries.flatten(1).clamp(min=0)).view_as(norms)
            norms = torch.where(at, of_canary, norms)
        weights = self._slots.weights * taking_part * self.signs
        planted.add_to(sums, weights, self._slots.workers)
        return ClippedSums(sums, norms)

    def observe(self, update: Tensor) -> None:
        """Take notice of the aggregate that followed, `(L, dim)`."""
        assert self._directions is not None
        self._directions = self._canary.next_directions(self._directions, update, self._order)


class PlantedExamples(Planting):
    """A canary that is an example, one in each lane, among all others of its worker."""

    def __init__(
        self,
        gradients: GradientSum,
        slots: Slots,
        dataset: Dataset,
        canary: ExampleCanary,
        generator: torch.Generator,
    ) -> None:
        """Plant `canary` in place of the examples of these slots."""
        super().__init__(gradients, slots, len(dataset.train))
        self._count = len(dataset.train)
        replaced = slots.examples.squeeze(1)
        inputs, labels = dataset.train.examples(replaced), dataset.train.labels[replaced]
        self._inputs, self._labels = canary.examples(inputs, labels, dataset, generator)
        self._original = labels
        self.signs = torch.ones(len(labels), 1, dtype=torch.float64)

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Sum as a `GradientSum` does, with the canary if it was drawn and is in."""
        canaries = self._canaries(batch)
        joined = self._joined(canaries, batch.present)
        others = batch.present & (canaries < 0)
        is_opposed = (self._slots.weights < 0).any()  # exchanged for the example that was there
        outside = self._with(batch, others, self._slots.examples, self._original, bool(is_opposed))
        places = self._count + torch.arange(len(joined)).unsqueeze(-1)
        inside = self._with(batch, others, places, self._labels, True)
        out = self._gradients(parameters, outside, clip_norms, divisor)
        found = self._gradients(parameters, inside, clip_norms, divisor)
        lanes = torch.arange(len(joined)).unsqueeze(-1)
        with_one, none = (of.sums[lanes, self._slots.workers] for of in (found, out))
        self.effects, self.without = Vectors(with_one - none), out.sums
        is_in = (self._slots.weights > 0) & joined
        if not is_opposed:
            return _chosen(is_in, found, out)
        never = self._with(batch, others, self._slots.examples, self._original, False)
        absent = self._gradients(parameters, never, clip_norms, divisor)
        return _chosen(is_in, found, _chosen(joined, out, absent))

    def observe(self, update: Tensor) -> None:
        """Take notice of the aggregate that followed, which changes no example."""

    def _with(
        self, batch: Batch, present: Tensor, places: Tensor, labels: Tensor, joins: bool
    ) -> Batch:
        """Return the batch of `present` examples, and at its end one place more for this one."""
        lanes, workers, _ = batch.labels.shape
        is_holder = torch.arange(workers) == self._slots.workers
        more = [
            places.expand(lanes, workers),
            labels.unsqueeze(-1).expand(lanes, workers),
            is_holder & joins,
        ]
        before = [batch.places, batch.labels, present]
        held = [torch.cat([a, b.unsqueeze(-1)], -1) for a, b in zip(before, more, strict=True)]

        def examples(which: Tensor) -> Tensor:
            is_ours = which >= self._count
            inputs = batch.examples(torch.where(is_ours, 0, which))
            inputs[is_ours] = self._inputs[which[is_ours] - self._count].to(inputs)
            return inputs

        return Batch(examples, *held)


def _chosen(is_first: Tensor, first: ClippedSums, second: ClippedSums) -> ClippedSums:
    """Take some lanes of one, `(L, 1)`, and the rest of the other."""
    pairs = zip(first, second, strict=True)
    return ClippedSums(*(torch.where(is_first.unsqueeze(-1), a, b) for a, b in pairs))
