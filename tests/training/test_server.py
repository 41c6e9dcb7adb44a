"""The messages of a step: one tensor that rules read, and that nobody changes afterwards."""

from dataclasses import dataclass

import pytest
import torch

from privrobust import RunSpec, train
from privrobust.aggregators import Aggregator, register_aggregator
from privrobust.attacks import Attack, register_attack
from privrobust.errors import SpecError
from privrobust.training.server import Messages, rule_key, rules_of

CPU = torch.device("cpu")
SHORT = {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 6, "honest": 4, "evaluate_every": 2}


def test_rules_read_what_workers_wrote_where_they_wrote_it():
    """Three rules, of two, no and one Byzantine worker."""
    attacked = [{"byzantine": 2, "attack": "alie"}, {}, {"byzantine": 1, "attack": "alie"}]
    specs = sorted((RunSpec(**SHORT, **settings) for settings in attacked), key=rule_key)
    rules = list(rules_of(specs))
    messages = Messages(rules, (3, 4, 5), CPU)
    written = messages.new()
    written.copy_(torch.arange(60.0).view(3, 4, 5))
    messages.honest = written
    crafted = [torch.full((1, rule.byzantine, 5), -1.0 - lane) for lane, rule in enumerate(rules)]
    messages.byzantine = crafted
    assert messages.honest.data_ptr() == written.data_ptr()
    for lane, rule in enumerate(rules):
        read = messages.of(rule)
        assert read.data_ptr() == written[lane].data_ptr()
        assert torch.equal(read, torch.cat([written[lane : lane + 1], crafted[lane]], dim=1))
    assert sorted(messages.of(rule).shape[1] for rule in rules) == [4, 5, 6]


def test_messages_that_were_made_elsewhere_are_copied():
    messages = Messages(list(rules_of([RunSpec(**SHORT)])), (1, 4, 5), CPU)
    messages.new()
    messages.honest = elsewhere = torch.randn(1, 4, 5)
    assert torch.equal(messages.honest, elsewhere)
    elsewhere.zero_()
    assert messages.honest.all()


kept = []


@dataclass(frozen=True)
class Hoard(Attack):
    """Keeps what it sees, and a copy of it."""

    def craft(self, honest, byzantine, generator):
        """Send the first honest message."""
        kept.append((honest, honest.clone()))
        return honest[..., :byzantine, :]


@dataclass(frozen=True)
class Last(Aggregator):
    """Returns a view of what it reads, and keeps it."""

    def aggregate(self, messages):
        """Return the last message."""
        kept.append((messages, messages.clone()))
        return messages[..., -1, :]


@dataclass(frozen=True)
class Overwriting(Aggregator):
    """Sorts in place, which those who read after it would see."""

    def aggregate(self, messages):
        """Return the first of the sorted messages."""
        return messages.copy_(messages.sort(dim=-2).values)[..., 0, :]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_an_attack_or_a_rule_keeps_does_not_change_under_its_hands(momentum):
    register_attack("hoard", Hoard)
    register_aggregator("last", Last)
    settings = {"byzantine": 1, "attack": "hoard", "worker_momentum": momentum}
    spec = RunSpec(**SHORT, **settings, aggregator="last")
    kept.clear()  # it was tried out
    result = train(spec)
    assert len(kept) == 12
    assert all(torch.equal(seen, copied) for seen, copied in kept)
    first = [copied[0, 0] for _, copied in kept[1::2]]  # which the attack repeats
    moved = [
        float((b - a).square().sum() / 2) for a, b in zip(first[::2], first[1::2], strict=True)
    ]
    assert result.history["variance"].tolist() == pytest.approx(moved, rel=1e-5)


def test_a_rule_that_writes_to_the_messages_is_refused():
    register_aggregator("overwriting", Overwriting)
    with pytest.raises(SpecError, match="Overwriting: it writes to the messages that it is given"):
        RunSpec(**SHORT, aggregator="overwriting")


def test_the_mean_that_a_worker_keeps_is_of_vectors_where_it_sends_signs(messages_of):
    spec = RunSpec(**SHORT, worker_momentum=0.9)
    signs = messages_of(spec, message="sign")
    assert torch.equal(signs, torch.where(messages_of(spec) < 0, -1.0, 1.0))
