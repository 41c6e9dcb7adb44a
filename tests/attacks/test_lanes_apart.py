"""A lane's output is, bit for bit, that of the lane alone, whatever lies beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust.aggregators import (
    available_aggregators,
    available_pre_aggregators,
    get_aggregator,
)
from privrobust.attacks import Setting, available_attacks, get_attack

pytestmark = pytest.mark.usefixtures("way")

RULES = [
    *(name for name in available_aggregators() if not get_aggregator(name).public_examples),
    *(f"{before} + mean" for before in available_pre_aggregators()),
    *["nnm + caf", "arc + nnm + geometric_median", "centred_clipping(start='mean')"],
    *["centred_clipping(start='zero')", "static_clipping(norm=1e-30) + smea"],
    *["dnc(coordinates=3, rounds=3, dropped=1.5)", "arc + dnc(coordinates=30)"],
]
ATTACKS = [(name, {}) for name in available_attacks()] + [
    *[("min_max", {"direction": "unit"}), ("min_sum", {"direction": "sign"})],
    *[("median_extreme", {"goal": "descent"}), ("large_value", {"direction": "random"})],
    *[("line_search", {"family": "inner_product", "against": "caf"})],
]


def lanes():
    """What messages `(n, d)` may be, made of standard normal numbers."""

    def largest(drawn):
        return torch.finfo(drawn.dtype).max * drawn.sign()

    def tiniest(drawn):
        return torch.finfo(drawn.dtype).smallest_normal * drawn / 2**20

    def one_is(value):
        def made(drawn):
            drawn[-1] = value
            return drawn

        return made

    def each_of_its_own_size(drawn):
        return drawn * 10.0 ** torch.linspace(-44, 38, len(drawn)).to(drawn).unsqueeze(-1)

    def barely_apart(drawn):
        drawn *= 1e-25
        drawn[:, 0] = 1
        return drawn

    whole = [0.0, 1.0, torch.nan, torch.inf, -torch.inf, 3e38, 1e-45]
    return st.one_of(
        st.sampled_from([lambda drawn: drawn, torch.sign, largest, tiniest, barely_apart]),
        st.sampled_from([lambda drawn: drawn[:1].expand_as(drawn), each_of_its_own_size]),
        st.sampled_from(whole).map(lambda value: lambda drawn: torch.full_like(drawn, value)),
        st.sampled_from([*whole, -1e30]).map(one_is),
        st.integers(-44, 38).map(lambda power: lambda drawn: drawn * 10.0**power),
    )


def batches():
    """Some lanes of one shape."""

    def drawn(kinds, n, d, dtype, seed):
        generator = torch.Generator().manual_seed(seed)
        shape = (n, d)
        return torch.stack(
            [kind(torch.randn(shape, generator=generator, dtype=dtype)) for kind in kinds]
        )

    return st.builds(
        drawn,
        kinds=st.lists(lanes(), min_size=2, max_size=4),
        n=st.integers(7, 9),
        d=st.sampled_from([1, 2, 5, 40, 9001]),
        dtype=st.sampled_from([torch.float32, torch.float64]),
        seed=st.integers(0, 10**6),
    )


def streams(many):
    return [torch.Generator().manual_seed(seed) for seed in range(many)]


def bits(made):
    """All NaN alike."""
    return made.masked_fill(made.isnan(), torch.nan).contiguous().view(torch.uint8)


@pytest.mark.parametrize("rule", RULES)
@given(messages=batches(), f=st.integers(0, 2))
@settings(max_examples=15)
def test_rules_treat_lanes_apart(rule, messages, f):
    rule = get_aggregator(rule, byzantine=min(f, 1) if rule == "bulyan" else f)
    together = rule(messages, streams(len(messages)))
    for each, messages_of_one, stream in zip(
        together, messages, streams(len(messages)), strict=True
    ):
        assert torch.equal(bits(each), bits(rule(messages_of_one, stream)))
        if messages_of_one.abs().amax() < torch.finfo(messages.dtype).max / 64:
            assert each.isfinite().all()


@pytest.mark.parametrize("rule", ["fltrust", "arc + fltrust"])
@given(messages=batches(), public=batches(), f=st.integers(0, 2))
@settings(max_examples=30)
def test_rules_with_a_gradient_of_the_servers_treat_lanes_apart(rule, messages, public, f):
    """Gradients of all kinds, of which those of as many lanes and coordinates are taken."""
    lanes, _, dim = messages.shape
    public = public[:, 0].to(messages.dtype).repeat(lanes, -(-dim // public.shape[-1]))
    public = public[:lanes, :dim]
    rule = get_aggregator(rule, byzantine=f)
    together = rule(messages, public=public)
    for each, messages_of_one, of_one in zip(together, messages, public, strict=True):
        assert torch.equal(bits(each), bits(rule(messages_of_one, public=of_one)))
        assert each.isfinite().all()


@pytest.mark.parametrize(("name", "parameters"), ATTACKS, ids=str)
@given(first=batches(), f=st.integers(1, 3))
@settings(max_examples=8)
def test_attacks_treat_lanes_apart(name, parameters, first, f):
    """Through a run of two steps, the second of them the first in another order."""
    attack = get_attack(name, **parameters)
    if attack.sees == "own":
        first = first[:, :f]
    steps = [first, first.flip(0)]

    def crafts(*lead):
        std = torch.full((*lead, 1, 1), 0.5, dtype=first.dtype)
        return attack.in_run(Setting(get_aggregator("nnm + median", byzantine=f), std))

    craft, of_lanes = crafts(len(first)), streams(len(first))
    together = [craft(seen, f, of_lanes) for seen in steps]
    for lane, stream in enumerate(streams(len(first))):
        craft = crafts()
        for sent, seen in zip(together, steps, strict=True):
            assert torch.equal(bits(sent[lane]), bits(craft(seen[lane], f, stream)))


def test_clipping_a_long_message_leaves_the_bits_of_tiny_ones():
    rule = get_aggregator("static_clipping + median", byzantine=0)
    tiny = torch.tensor([[3.0], [5.0], [7.0]]) * 2.0**-149  # whose halves are no numbers
    huge = torch.full((3, 1), 1e38)
    assert torch.equal(rule(torch.stack([tiny, huge]))[0], rule(tiny))


def test_a_lane_that_has_lost_all_weight_leaves_its_neighbours_alone():
    """Two against two: along the only direction there is, all four deviate alike."""
    tie = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    for seed in range(50):
        other = torch.randn(4, 1, generator=torch.Generator().manual_seed(seed))
        for rule in ("caf", "nnm + caf"):
            rule = get_aggregator(rule, byzantine=1)
            assert torch.equal(rule(torch.stack([tie, other]))[1], rule(other))
