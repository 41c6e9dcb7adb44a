"""What happens to honest vectors on the way to an update: message, attack, aggregate."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from privrobust.aggregators import get_aggregator
from privrobust.attacks import Attack, Craft, Setting
from privrobust.core.random import stream
from privrobust.data import Dataset, Split
from privrobust.models.validation import EXAMPLES
from privrobust.spec import RunSpec
from privrobust.training.batches import byzantine_batches
from privrobust.training.lanes import column
from privrobust.training.noise import Perturbation, noise_std
from privrobust.training.workers import Clipping, Momentum


class Round(NamedTuple):
    """One step of the server."""

    update: Tensor
    """`(lanes, dim)`"""
    honest: Tensor
    """The honest messages, `(lanes, honest, dim)`."""


class Server:
    """The rules of many lanes, neighbours that share one being aggregated together."""

    def __init__(
        self, lanes: Sequence[RunSpec], model: nn.Module, dataset: Dataset, train: Split, steps: int
    ) -> None:
        """For lanes in the order of `rule_key`."""
        self._rules = [
            _Rule(lanes[stretch], stretch, model, dataset, train, steps)
            for stretch in _stretches(lanes)
        ]

    def __call__(self, vectors: Tensor, parameters: Tensor) -> Round:
        """From the honest vectors `(lanes, honest, dim)` and parameters `(lanes, dim)`."""
        rounds = [rule(vectors[rule.lanes], parameters[rule.lanes]) for rule in self._rules]
        if len(rounds) == 1:
            return rounds[0]
        return Round(*(torch.cat(parts) for parts in zip(*rounds, strict=True)))


def rule_key(spec: RunSpec) -> tuple[str, str, int]:
    """What neighbouring lanes must share to be aggregated together."""
    return spec.aggregator, repr(spec.attack), spec.byzantine


def _stretches(lanes: Sequence[RunSpec]) -> Iterator[slice]:
    start = 0
    for _, members in groupby(lanes, key=rule_key):
        stretch = slice(start, start + len(list(members)))
        yield stretch
        start = stretch.stop


class _Rule:
    """How neighbouring lanes make an update of honest vectors."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        place: slice,
        model: nn.Module,
        dataset: Dataset,
        train: Split,
        steps: int,
    ) -> None:
        shared, device = lanes[0], train.labels.device
        self.lanes = place
        self._aggregator = get_aggregator(shared.aggregator, shared.byzantine)
        self._sends_signs = self._aggregator.message == "sign"
        self._is_noisy = column(lanes, lambda spec: spec.noise_scale, device).unsqueeze(-1) > 0
        self._streams = [stream(spec.seed, "aggregation", device) for spec in lanes]
        self._byzantine = shared.byzantine
        self._attack: Attack | None = None
        if shared.attack is None:
            return
        self._attack = shared.attack.build()
        seen_std = noise_std(lanes, device)
        if self._sends_signs and self._attack.sees != "own":
            seen_std = torch.zeros_like(seen_std)
        setting = Setting(self._aggregator, seen_std)
        self._craft: Craft = self._attack.started(setting)
        self._attack_streams = [stream(spec.seed, "attack", device) for spec in lanes]
        if self._attack.sees == "own":
            self._own = _own_vectors(lanes, self._attack, model, dataset, train, steps)

    def __call__(self, vectors: Tensor, parameters: Tensor) -> Round:
        honest = self._message(vectors)
        if self._sends_signs:  # with noise they are of two values: no third is in the accounts
            honest.masked_fill_((honest == 0) & self._is_noisy, 1.0)
        if self._attack is None:
            return Round(self._aggregator(honest, self._streams), honest)
        seen = honest
        if self._attack.sees == "own":
            seen = self._own(parameters)
        elif self._attack.sees == "nothing":
            seen = honest.new_zeros(()).expand_as(honest)
        sent = self._attack.carry_out(self._craft, seen, self._byzantine, self._attack_streams)
        messages = torch.cat([honest, self._message(sent)], dim=-2)
        return Round(self._aggregator(messages, self._streams), honest)

    def _message(self, vectors: Tensor) -> Tensor:
        """NaN votes +1, as `MajorityVote` orders it."""
        return vectors.nan_to_num(nan=1.0).sign_() if self._sends_signs else vectors


def _own_vectors(
    lanes: Sequence[RunSpec],
    attack: Attack,
    model: nn.Module,
    dataset: Dataset,
    train: Split,
    steps: int,
) -> Callable[[Tensor], Tensor]:
    """What Byzantine workers compute who follow the protocol on data and noise of their own."""
    batches = byzantine_batches(lanes, dataset, train, steps)
    clip = Clipping(lanes, model, train.examples(slice(EXAMPLES)), owner="byzantine ")
    dim = sum(parameter.numel() for parameter in model.parameters())
    shape = (lanes[0].byzantine, dim)
    perturb = Perturbation(lanes, shape, train.labels.device, owner="byzantine ")
    remember = Momentum(lanes, train.labels.device)

    def vectors(parameters: Tensor) -> Tensor:
        batch = next(batches)
        poisoned = batch._replace(labels=attack.poison(batch.labels, dataset.classes))
        return remember(perturb(clip(0, parameters, poisoned)))

    return vectors
