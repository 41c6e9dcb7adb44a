import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust.gradients.clipping import CLIPPING_RULES, Automatic, Flat, PerLayer, clip_vectors

RULES = [rule(order) for rule in CLIPPING_RULES.values() for order in (1, 2)]
SIZES = st.floats(0, 1e30, allow_subnormal=False)


def factors(rule, norms, clip_norm):
    return rule.factors(torch.tensor([[norms]], dtype=torch.float64), torch.tensor([clip_norm]))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(norms=st.lists(SIZES, min_size=1, max_size=5), clip_norm=st.floats(1e-6, 1e6))
def test_what_is_left_never_has_more_than_the_clip_norm(rule, norms, clip_norm):
    """C is the sensitivity that the accountants are given, whatever the rule."""
    left = factors(rule, norms, clip_norm)[0, 0].double() * torch.tensor(norms).double()
    assert float(left.norm(rule.order)) <= clip_norm * (1 + 1e-6)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("hostile", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_does_not_count(rule, hostile):
    hostile_layer = factors(rule, [1.0, hostile], 1.0)[0, 0, 1]
    assert hostile_layer == 0


def test_flat_clipping_is_that_of_abadi_et_al():
    assert factors(Flat(), [3.0, 4.0], 10.0).tolist() == [[[1.0, 1.0]]]
    assert factors(Flat(), [3.0, 4.0], 1.0).flatten().tolist() == pytest.approx([0.2, 0.2])
    assert factors(Flat(order=1), [3.0, 4.0], 1.0).flatten().tolist() == pytest.approx([1 / 7] * 2)


def test_each_layer_has_an_equal_share_of_the_clip_norm():
    share = 2 / math.sqrt(2)
    assert factors(PerLayer(), [1.0, 4.0], 2.0).flatten().tolist() == pytest.approx([1, share / 4])
    assert factors(PerLayer(order=1), [0.5, 4.0], 2.0).flatten().tolist() == pytest.approx(
        [1, 1 / 4]
    )


def test_automatic_clipping_is_that_of_bu_et_al():
    """C / (|g| + 0.01), of gradients smaller than C too."""
    assert factors(Automatic(), [0.3, 0.4], 2.0).flatten().tolist() == pytest.approx([2 / 0.51] * 2)


@pytest.mark.parametrize("order", [1, 2])
def test_whole_vectors_are_clipped_and_vanish_where_not_finite(order):
    vectors = torch.tensor([[[3.0, -4.0], [0.3, 0.4], [torch.nan, 1.0], [torch.inf, 0.0]]])
    clipped = clip_vectors(vectors, [2], Flat(order), torch.tensor([2.0]))
    lengths = clipped.sums.norm(order, dim=-1)[0]
    assert lengths[0].item() == pytest.approx(2.0)
    assert torch.equal(clipped.sums[0, 1], vectors[0, 1])
    assert lengths[2:].tolist() == [0, 0]
    assert clipped.norms[0, 0].item() == {1: 7.0, 2: 5.0}[order]


def test_layers_of_whole_vectors_are_clipped_apart():
    vectors = torch.tensor([[[3.0, 4.0, 0.5]]])
    clipped = clip_vectors(vectors, [2, 1], PerLayer(), torch.tensor([math.sqrt(2)]))
    assert clipped.sums.flatten().tolist() == pytest.approx([0.6, 0.8, 0.5])


@pytest.mark.parametrize("clip_norm", [1e-7, 1e-20])
def test_vast_vectors_are_dropped_rather_than_cut_wrongly(clip_norm):
    """Their factors are subnormal in float32, and would round up by a tenth."""
    vectors = torch.full((1, 1, 8), 1e37)
    clipped = clip_vectors(vectors, [8], Flat(), torch.tensor([clip_norm])).sums
    assert float(clipped.double().norm()) <= clip_norm * (1 + 1e-6)
