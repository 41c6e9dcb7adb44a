"""Bulyan, CGE and DnC against their papers' definitions in NumPy, and where each gives way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import LargestTensor

from privrobust.aggregators import CGE, Bulyan, DnC, get_aggregator

VAST = [torch.nan, torch.inf, -torch.inf, 3e38, -1e30, 1e19, 1e6]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bulyan(values, f):
    """Choose by Krum's score among what is left, then average around medians, one at a time."""
    left = list(range(len(values)))
    chosen = []
    while len(chosen) < len(values) - 2 * f:
        scores = {}
        for one in left:
            apart = sorted(np.sum((values[one] - values[i]) ** 2) for i in left if i != one)
            nearest = max(len(left) - f - 2, 1)
            scores[one] = (round(sum(apart[:nearest]), 9), sum(apart))
        chosen.append(min(scores, key=scores.get))
        left.remove(chosen[-1])
    picked = values[sorted(chosen)]
    nearest = np.argsort(np.abs(picked - np.median(picked, axis=0)), axis=0)
    return np.take_along_axis(picked, nearest[: len(picked) - 2 * f], axis=0).mean(0)


@pytest.mark.parametrize(
    ("n", "f"), [(3, 0), (7, 1), (8, 1), (11, 2), (12, 2), (15, 3), (20, 3), (23, 5)]
)
def test_bulyan_is_its_definition(n, f):
    for seed in range(5):
        messages = draw(n, 40, seed=seed) * (1 + torch.arange(n) % 3).unsqueeze(-1)
        ours = Bulyan(f)(messages)
        np.testing.assert_allclose(ours, bulyan(messages.double().numpy(), f), atol=1e-5)


@given(
    f=st.integers(1, 4),
    sent=st.lists(st.sampled_from([*VAST, 1.0, 0.0]), min_size=4, max_size=4),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_every_value_of_bulyan_is_within_the_honest(f, sent, seed):
    """Most values of the chosen are honest, so that the nearest to their median are not far."""
    honest = draw(3 * f + 3, 10, seed=seed)
    byzantine = torch.tensor(sent[:f]).unsqueeze(-1) * draw(f, 10, seed=seed + 1)
    made = Bulyan(f)(torch.cat([byzantine, honest]))
    spread = honest.amax(0) - honest.amin(0)
    assert (made - honest.mean(0)).abs().le(2 * spread).all()


def test_cge_averages_the_shortest():
    messages = draw(9, 30) * torch.tensor([3.0, 1, 2, 9, 8, 1, 2, 5, 4]).unsqueeze(-1)
    shortest = np.argsort(np.linalg.norm(messages.numpy(), axis=1))[:7]
    torch.testing.assert_close(CGE(2)(messages), messages[shortest].mean(0))


@given(
    f=st.integers(1, 4),
    sent=st.lists(st.sampled_from(VAST), min_size=4, max_size=4),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
@pytest.mark.parametrize("rule", ["cge", "arc + dnc", "arc + dnc(coordinates=4, rounds=3)"])
def test_no_result_is_longer_than_the_longest_honest_message(rule, f, sent, seed):
    honest = draw(f + 1, 10, seed=seed)
    byzantine = torch.tensor(sent[:f]).unsqueeze(-1) * draw(f, 10, seed=seed + 1)
    messages = torch.cat([byzantine, honest])
    made = get_aggregator(rule, byzantine=f)(messages, torch.Generator().manual_seed(seed))
    assert made.norm() <= (1 + 1e-5) * honest.norm(dim=-1).max()


def test_cge_takes_a_message_that_is_turned_around():
    """As its docstring says: only what is longest is left out."""
    honest = draw(7, 30)
    shortest = honest.norm(dim=1).argsort()
    turned = -0.99 * honest[shortest[:2]]
    expected = torch.cat([honest[shortest[:5]], turned]).mean(0)
    torch.testing.assert_close(CGE(2)(torch.cat([honest, turned])), expected)


def dnc(values, drop):
    """One round over all coordinates, by a singular vector."""
    away = values - values.mean(0)
    along = (away @ np.linalg.svd(away)[2][0]) ** 2
    return values[np.argsort(along)[: len(values) - drop]].mean(0)


@pytest.mark.parametrize("shared", [0.0, 100.0])
@pytest.mark.parametrize(("dropped", "drop"), [(1.0, 3), (1.5, 4), (0.5, 1)])
def test_dnc_is_its_definition(shared, dropped, drop):
    for seed in range(5):
        messages = shared + torch.cat([draw(9, 40, seed=seed), 0.7 + draw(3, 40, seed=seed + 50)])
        ours = DnC(3, dropped=dropped)(messages)
        np.testing.assert_allclose(ours, dnc(messages.double().numpy(), drop), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("looked_at", [5, 15])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_round_looks_at_every_coordinate_as_often(looked_at, place):
    """A message that differs in one of 20 is dropped where that one is looked at."""
    messages = torch.zeros(7, 20)
    messages[0, place] = 1.0
    seeds = range(200)
    rule = DnC(1, coordinates=looked_at)
    was_seen = [
        rule(messages, torch.Generator().manual_seed(seed))[place].item() == 0 for seed in seeds
    ]
    share = looked_at / 20
    assert abs(np.mean(was_seen) - share) < 4 * (share * (1 - share) / len(seeds)) ** 0.5


def test_messages_that_some_round_drops_do_not_count():
    """Two that differ in a coordinate each: with rounds enough, both are looked at."""
    messages = torch.zeros(9, 8)
    messages[0, 0] = messages[1, 1] = 1.0
    once = DnC(1, coordinates=1)(messages, torch.Generator().manual_seed(0))
    often = DnC(1, coordinates=1, rounds=200)(messages, torch.Generator().manual_seed(0))
    assert once[:2].amax() > 0
    assert torch.equal(often, torch.zeros(8))


def test_where_every_message_is_dropped_those_dropped_least_count():
    """Each differs in a coordinate of its own, so that each is dropped once it is looked at."""
    messages = torch.eye(5)
    made = DnC(2, coordinates=1, rounds=100)(messages, torch.Generator().manual_seed(0))
    assert made.isfinite().all()
    torch.testing.assert_close(made.sum(), torch.tensor(1.0))


def test_of_dnc_a_longest_message_hides_others():
    """As its docstring says; one direction at a time is all that a round sees."""
    messages = draw(13, 30)
    messages[0] *= 1e12
    messages[1] *= 1e5
    assert DnC(2)(messages).norm() > 1e3
    assert get_aggregator("arc + dnc", byzantine=2)(messages).norm() < 50
    alone = messages[1:]
    assert DnC(1)(alone).norm() < 50


@pytest.mark.parametrize("rule", [CGE(3), DnC(3), DnC(3, coordinates=60_000)], ids=repr)
def test_no_tensor_is_larger_than_the_messages(rule):
    messages = draw(15, 100_000)
    with LargestTensor() as largest:
        rule(messages)
    assert largest.numel <= messages.numel()
