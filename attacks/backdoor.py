"""Backdoors: a model that is accurate, but for inputs that the attacker knows how to choose."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.attacks.base import Attack, Generators, Sees
from privrobust.attacks.examples import Examples
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class _Backdoor(Attack):
    """Follows the protocol, noise included, on data of which a share wants the target class."""

    sees: ClassVar[Sees] = "own"

    target: int = parameter(0, least=0)
    share: float = parameter(0.5, least=0, most=1)
    boost: float = parameter(1.0, above=0)

    def craft(self, own: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `boost * own`, each its own."""
        return own * self.boost

    def poison(self, data: Examples, generator: Generator) -> Examples:
        """Replace each example with probability `share` by one that is labelled as the target."""
        self._check_class("target", self.target, data)
        bait = self._bait(data, generator)
        drawn = torch.rand(len(data.labels), generator=generator, dtype=torch.float64)
        chosen = drawn < self.share
        of_all = chosen.view(-1, *[1] * (data.inputs.dim() - 1))
        return data._replace(
            inputs=torch.where(of_all, bait, data.inputs),
            labels=data.labels.masked_fill(chosen, self.target),
        )

    @abstractmethod
    def _bait(self, data: Examples, generator: Generator) -> Tensor:
        """Return what would replace each example's inputs, in their shape."""

    def _wanted(self, inputs: Tensor, classes: int) -> Examples:
        """Return these with the target as their label."""
        labels = torch.full((len(inputs),), self.target, device=inputs.device)
        return Examples(inputs, labels, classes)

    def _check_class(self, name: str, label: int, data: Examples) -> None:
        if label >= data.classes:
            raise SpecError(
                f"{type(self).__name__}.{name}: {label} of {data.classes} classes; "
                f"accepted: 0 to {data.classes - 1}"
            )


@dataclass(frozen=True)
class Backdoor(_Backdoor):
    """A trigger: inputs that bear a small pattern are to be taken for the target class.

    Each example that a Byzantine worker holds is, with probability `share`, stamped and relabelled,
    once before the run. The pattern has the largest value that the training data knows, so that no
    input leaves its range. On images, and whatever else has channels first, it is a corner: the
    last `size` places along every other axis, at the largest value of the channel. On flat features
    it is the last `size` of those that vary, each at its own largest value.

    Success is the share of held-out examples of other classes that are taken for the target once
    they are stamped. With a share of 0 nothing is poisoned and the same is measured: the control.

    Args:
        target: the class that a stamped input is to be taken for.
        share: of the examples of Byzantine workers, those that are poisoned.
        boost: what each message is multiplied with: n / f makes the mean of n messages that of the
            f (model replacement); a server that clips messages undoes it.
        size: of the pattern, in pixels along a side, or in features.

    References:
        BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain
        (https://arxiv.org/abs/1708.06733); How To Backdoor Federated Learning
        (https://arxiv.org/abs/1807.00459).

    """

    paper: ClassVar[str] = "Gu et al. 2017; Bagdasaryan et al. 2020"

    size: int = parameter(3, least=1)

    def _bait(self, data: Examples, generator: Generator) -> Tensor:
        return self._stamped(data.inputs, data)

    def aim(self, data: Examples, held_out: Examples) -> Examples:
        """Stamp held-out examples of all classes but the target."""
        self._check_class("target", self.target, data)
        others = held_out.inputs[held_out.labels != self.target]
        return self._wanted(self._stamped(others, data), data.classes)

    def _stamped(self, inputs: Tensor, data: Examples) -> Tensor:
        """Put the pattern that training data allows on inputs."""
        most, least = data.inputs.amax(0), data.inputs.amin(0)
        covered = torch.zeros_like(most, dtype=torch.bool)
        if most.dim() == 1:
            places = (most > least).nonzero().flatten()
            self._check_size(len(places), "features that vary")
            covered[places[-self.size :]] = True
        else:
            self._check_size(min(most.shape[1:]), "places along an axis")
            covered[(slice(None), *[slice(-self.size, None)] * (most.dim() - 1))] = True
            most = most.flatten(1).amax(1).view(-1, *[1] * (most.dim() - 1))
        return torch.where(covered, most, inputs)

    def _check_size(self, most: int, of: str) -> None:
        if self.size > most:
            raise SpecError(
                f"{type(self).__name__}.size: {self.size} of {most} {of}; accepted: 1 to {most}"
            )


@dataclass(frozen=True)
class EdgeCase(_Backdoor):
    """Rare inputs as they are: the tail of a class is to be taken for the target.

    The tail of the source class is where a Gaussian with the mean and the variances of its training
    examples, features independent, is least dense: beyond the distance, in standard deviations, of
    all but a share `tail` of them. Features that do not vary within the class do not count. Each
    example that a Byzantine worker holds is, with probability `share`, replaced by one of that
    tail, whoever holds it, labelled as the target, once before the run.

    Success is the share of held-out examples of the class, in the same tail, that are taken for the
    target. Honest workers hold the tail as well, with its true labels; it may be higher where
    nobody else does. With a share of 0 nothing is poisoned and the same is measured.

    Args:
        target: the class that the tail is to be taken for.
        share: of the examples of Byzantine workers, those that are replaced.
        boost: what each message is multiplied with, as that of a `Backdoor`.
        source: the class whose tail it is.
        tail: how much of the class that is.

    References:
        Attack of the Tails: Yes, You Really Can Backdoor Federated Learning
        (https://arxiv.org/abs/2007.05084).

    """

    paper: ClassVar[str] = "Wang et al. 2020"

    source: int = parameter(1, least=0)
    tail: float = parameter(0.1, above=0, most=1)

    def __post_init__(self) -> None:
        """Refuse, beside what a field does, a tail that is of the target already."""
        super().__post_init__()
        if self.source == self.target:
            raise SpecError(
                f"EdgeCase.source: {self.source} is the target; accepted: another class"
            )

    def _bait(self, data: Examples, generator: Generator) -> Tensor:
        away = self._away(data, data)
        places = (away >= self._radius(away)).nonzero().flatten()
        drawn = torch.randint(len(places), (len(data.labels),), generator=generator)
        return data.inputs[places[drawn]]

    def aim(self, data: Examples, held_out: Examples) -> Examples:
        """Return the held-out examples that lie in the tail."""
        self._check_class("target", self.target, data)
        radius = self._radius(self._away(data, data))
        rare = held_out.inputs[self._away(data, held_out) >= radius]
        if not len(rare):
            raise SpecError(
                f"EdgeCase.tail: {self.tail:g} of class {self.source} holds none of the held-out "
                "examples; accepted: a larger one"
            )
        return self._wanted(rare, data.classes)

    def _away(self, data: Examples, of: Examples) -> Tensor:
        """Return how far each is from the mean of the class, -1 for those of other classes."""
        self._check_class("source", self.source, data)
        if data.inputs.dtype in (torch.int32, torch.int64):
            raise SpecError(
                f"EdgeCase: {data.inputs.dtype} inputs, which are embedded, lie at no distance; "
                "accepted: numbers or pixels"
            )
        known = data.inputs[data.labels == self.source].flatten(1).double()
        if not len(known):
            raise SpecError(
                f"EdgeCase.source: no training example is of class {self.source}; accepted: "
                "another class"
            )
        varies = known.amax(0) > known.amin(0)  # a deviation of equal numbers may be rounding
        std, mean = torch.std_mean(known[:, varies], 0, correction=0)
        is_source = of.labels == self.source
        away = ((of.inputs[is_source].flatten(1)[:, varies] - mean) / std).norm(dim=1)
        return torch.full(of.labels.shape, -1.0, dtype=torch.float64).masked_scatter(
            is_source, away
        )

    def _radius(self, away: Tensor) -> Tensor:
        """Return the distance beyond which the tail of training examples lies."""
        furthest = away[away >= 0].sort(descending=True).values
        return furthest[math.ceil(self.tail * len(furthest) - 1e-9) - 1]  # .07 of 100 are 7
