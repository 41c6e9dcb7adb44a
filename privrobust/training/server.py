"""The server's rules: which lanes share one, and the aggregate of what their workers send."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.core.random import stream
from privrobust.spec import RunSpec


class Rule(NamedTuple):
    """Neighbouring lanes that are attacked and aggregated together."""

    lanes: slice
    """Which they are."""
    aggregator: Aggregator


def rule_key(spec: RunSpec) -> tuple[str, str, int]:
    """Return what lanes of one rule have in common: f decides how many messages there are."""
    return spec.aggregator, repr(spec.attack), spec.byzantine


def rules_of(lanes: Sequence[RunSpec]) -> Iterator[Rule]:
    """Group lanes that stand in the order of `rule_key`."""
    start = 0
    for _, members in groupby(lanes, key=rule_key):
        shared, *others = members
        end = start + 1 + len(others)
        yield Rule(slice(start, end), get_aggregator(shared.aggregator, shared.byzantine))
        start = end


class Server:
    """Aggregates the messages of all lanes, each with its own stream for rules that draw."""

    def __init__(
        self, lanes: Sequence[RunSpec], rules: Sequence[Rule], device: torch.device
    ) -> None:
        self._rules = rules
        self._streams = [stream(spec.seed, "aggregation", device) for spec in lanes]

    def __call__(self, honest: Tensor, byzantine: Sequence[Tensor | None]) -> Tensor:
        """Aggregate what all workers sent, `(lanes, dim)`.

        Args:
            honest: messages, `(lanes, honest, dim)`.
            byzantine: those of each rule's lanes, `(its lanes, f, dim)`; None without an attack.

        """
        updates = []
        for rule, crafted in zip(self._rules, byzantine, strict=True):
            messages = honest[rule.lanes]
            if crafted is not None:
                messages = torch.cat([messages, crafted], dim=-2)
            updates.append(rule.aggregator(messages, self._streams[rule.lanes]))
        return updates[0] if len(updates) == 1 else torch.cat(updates)
