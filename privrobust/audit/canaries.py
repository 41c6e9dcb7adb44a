"""Canaries: gradients that are planted among those of honest workers, or examples among theirs.

A planted gradient is as large as its run's claim lets a gradient be: larger than the clipping norm,
or as long as the bound that is stated. It does not depend on the model, so that an attack knows it
exactly, which is the worst case of any example (Nasr et al. 2021, arXiv:2101.04535). An example
goes the whole way, through the model: it finds what happens to gradients on that way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from privrobust.audit.effects import Coordinates, Effects, Vectors
from privrobust.data import Dataset
from privrobust.errors import SpecError, shown


class GradientCanary(ABC):
    """A gradient: `m` of them in each run, of norm 1, at first the same in all runs."""

    name: ClassVar[str]
    says: ClassVar[str]
    is_alone: ClassVar[bool] = False
    """Whether a run has but one of them."""

    @abstractmethod
    def directions(
        self, quiet: Tensor, canaries: int, order: int, generator: torch.Generator
    ) -> Effects:
        """Choose directions, of one lane.

        Args:
            quiet: of each coordinate, how much honest gradients move it, `(dim,)`.
            canaries: m.
            order: of the norm that is 1.
            generator: what is drawn is drawn of it.

        """

    def next_directions(self, before: Effects, update: Tensor, order: int) -> Effects:
        """Return those of the next step.

        Args:
            before: those of the last one.
            update: the last aggregate, `(L, dim)`.
            order: of the norm that is 1.

        """
        return before


class Coordinate(GradientCanary):
    """All of the gradient in one coordinate: the worst case of signs and of coordinate rules."""

    name = "coordinate"
    says = (
        "gradients in one coordinate each, where noise is weakest, or else where those of honest "
        "workers are least"
    )

    def directions(
        self, quiet: Tensor, canaries: int, order: int, generator: torch.Generator
    ) -> Effects:
        """Choose the coordinates that move least."""
        tie = torch.rand(quiet.shape, generator=generator, dtype=torch.float64)
        least = torch.where(quiet > 0, 1 + quiet.double(), tie).topk(canaries, largest=False)
        places = least.indices.unsqueeze(0)
        return Coordinates(places, torch.ones(places.shape, dtype=torch.float64))


class Orthogonal(GradientCanary):
    """Random directions, at right angles to each other."""

    name = "orthogonal"
    says = "gradients in random directions, orthogonal to each other"

    def directions(
        self, quiet: Tensor, canaries: int, order: int, generator: torch.Generator
    ) -> Effects:
        """Draw them."""
        drawn = torch.randn(len(quiet), canaries, generator=generator, dtype=torch.float64)
        return Vectors(_of_norm_1(torch.linalg.qr(drawn).Q.T.unsqueeze(0), order))


class AlongUpdate(GradientCanary):
    """Along the last aggregate: where the model goes anyway, so that robust rules let it pass."""

    name = "update"
    says = "gradients along the last aggregate"
    is_alone = True

    def directions(
        self, quiet: Tensor, canaries: int, order: int, generator: torch.Generator
    ) -> Effects:
        """Draw the first at random."""
        drawn = torch.randn(1, 1, len(quiet), generator=generator, dtype=torch.float64)
        return Vectors(_of_norm_1(drawn, order))

    def next_directions(self, before: Effects, update: Tensor, order: int) -> Effects:
        """Follow the last aggregate; where it is zero or not finite, go on as before."""
        assert isinstance(before, Vectors)
        along = _of_norm_1(update.double().unsqueeze(1), order)
        usable = along.isfinite().all(-1, keepdim=True)
        return Vectors(torch.where(usable, along, before.vectors))


class ExampleCanary(ABC):
    """An example: it takes the place of one that an honest worker holds."""

    name: ClassVar[str]
    says: ClassVar[str]
    is_alone: ClassVar[bool] = True

    @abstractmethod
    def examples(
        self, inputs: Tensor, labels: Tensor, dataset: Dataset, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Make canaries of the examples whose places they take.

        Args:
            inputs: `(L, *features)`.
            labels: `(L,)`.
            dataset: theirs.
            generator: what is drawn is drawn of it.

        """


class Mislabelled(ExampleCanary):
    """An example with another label."""

    name = "mislabelled"
    says = "examples with a wrong label"

    def examples(
        self, inputs: Tensor, labels: Tensor, dataset: Dataset, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw one of the other labels."""
        shift = torch.randint(1, dataset.classes, labels.shape, generator=generator)
        return inputs, (labels + shift) % dataset.classes


class Blank(ExampleCanary):
    """An example without features, and a random label."""

    name = "blank"
    says = "examples of zeros with a random label"

    def examples(
        self, inputs: Tensor, labels: Tensor, dataset: Dataset, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw the labels."""
        drawn = torch.randint(0, dataset.classes, labels.shape, generator=generator)
        return torch.zeros_like(inputs), drawn


class OutOfDistribution(ExampleCanary):
    """An example far from all others, so that it would move them if a module mixed examples."""

    name = "out_of_distribution"
    says = "examples of noise, 10,000 times as wide as the data, with a random label"

    def examples(
        self, inputs: Tensor, labels: Tensor, dataset: Dataset, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw noise and labels."""
        drawn = torch.randint(0, dataset.classes, labels.shape, generator=generator)
        if not inputs.is_floating_point():  # indices, of which there are no others
            most = int(dataset.train.inputs.max()) + 1
            return torch.randint(0, most, inputs.shape, generator=generator).to(inputs), drawn
        width = 1e4 * inputs.abs().amax().clamp(min=1.0)
        return torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype) * width, drawn


Canary = GradientCanary | ExampleCanary

CANARIES: dict[str, type[Canary]] = {
    each.name: each
    for each in (Coordinate, Orthogonal, AlongUpdate, Mislabelled, Blank, OutOfDistribution)
}


def canary(name: str) -> Canary:
    """Return the canary of that name.

    Raises:
        SpecError: there is none.

    """
    if not isinstance(name, str) or name not in CANARIES:
        raise SpecError(f"canaries: {shown(name)} is not one of {', '.join(CANARIES)}, tails")
    return CANARIES[name]()


def _of_norm_1(vectors: Tensor, order: int) -> Tensor:
    unit: Tensor = vectors / torch.linalg.vector_norm(vectors, order, dim=-1, keepdim=True)
    return unit
