"""The server: the messages that reach it, which lanes share a rule, and what it makes of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.core.random import stream
from privrobust.spec import RunSpec
from privrobust.training.noise import known_noise


class Rule(NamedTuple):
    """Neighbouring lanes that are attacked and aggregated together."""

    lanes: slice
    """Which they are."""
    aggregator: Aggregator
    byzantine: int
    """How many messages the attack sends to each of them."""


def rule_key(spec: RunSpec) -> tuple[str, str, int]:
    """Return what lanes of one rule have in common: f decides how many messages there are."""
    return spec.aggregator, repr(spec.attack), spec.byzantine


def rules_of(lanes: Sequence[RunSpec]) -> Iterator[Rule]:
    """Group lanes that stand in the order of `rule_key`."""
    start = 0
    for _, members in groupby(lanes, key=rule_key):
        shared, *others = members
        end = start + 1 + len(others)
        aggregator = get_aggregator(shared.aggregator, shared.byzantine)
        yield Rule(slice(start, end), aggregator, shared.byzantine)
        start = end


class Messages:
    """What all workers of all lanes send in a step: one tensor, honest workers first.

    They are read where they are written. What is assigned is copied, unless it is there already.
    Every step has a tensor of its own, so that an attack or a rule may keep what it was shown.
    """

    def __init__(
        self, rules: Sequence[Rule], shape: tuple[int, int, int], device: torch.device
    ) -> None:
        """Prepare for honest messages of this shape, `(lanes, honest, dim)`."""
        lanes, self._honest, dim = shape
        self._rules = rules
        workers = self._honest + max(rule.byzantine for rule in rules)
        self._renewed = partial(torch.empty, lanes, workers, dim, device=device)
        self._sent = self._renewed()

    def new(self) -> Tensor:
        """Begin a step; returns where its honest messages go, `(lanes, honest, dim)`."""
        self._sent = self._renewed()
        return self.honest

    @property
    def honest(self) -> Tensor:
        """Those of honest workers, `(lanes, honest, dim)`."""
        return self._sent[:, : self._honest]

    @honest.setter
    def honest(self, sent: Tensor) -> None:
        if sent.data_ptr() != self._sent.data_ptr():
            self.honest.copy_(sent)

    @property
    def byzantine(self) -> Sequence[Tensor]:
        """Those of Byzantine workers, of each rule's lanes, `(its lanes, f, dim)`."""
        return [self.of(rule)[:, self._honest :] for rule in self._rules]

    @byzantine.setter
    def byzantine(self, sent: Sequence[Tensor]) -> None:
        for place, crafted in zip(self.byzantine, sent, strict=True):
            place.copy_(crafted)

    def of(self, rule: Rule) -> Tensor:
        """Return what a rule aggregates, `(its lanes, workers, dim)`."""
        return self._sent[rule.lanes, : self._honest + rule.byzantine]


class Server:
    """Aggregates the messages of all lanes, each with its own stream for rules that draw."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rules: Sequence[Rule],
        device: torch.device,
        public: Callable[[Tensor], Sequence[Tensor | None]],
    ) -> None:
        self._rules, self._public = rules, public
        self._aggregators = [
            rule.aggregator.started(known_noise(lanes[rule.lanes], device)) for rule in rules
        ]
        self._streams = [stream(spec.stream_seed, "aggregation", device) for spec in lanes]

    def __call__(self, messages: Messages, parameters: Tensor) -> Tensor:
        """Aggregate what all workers sent, `(lanes, dim)`; rules may ask for a gradient here."""
        updates = [
            aggregate(messages.of(rule), self._streams[rule.lanes], public)
            for rule, aggregate, public in zip(
                self._rules, self._aggregators, self._public(parameters), strict=True
            )
        ]
        return updates[0] if len(updates) == 1 else torch.cat(updates)
