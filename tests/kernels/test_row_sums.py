"""Norms and sums over rows, against the same in NumPy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust.kernels.row_sums import row_norms, sum_outer_products

KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.float64])


def numbers(*shape, kind=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


@KINDS
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    p=st.integers(1, 21),
    d=st.integers(1, 75),
)
def test_each_group_gets_the_products_of_its_own_rows(kind, sizes, p, d):
    ends = [0, *np.cumsum(sizes).tolist()]
    bounds = torch.tensor(list(pairwise(ends)))
    left, right = numbers(sum(sizes), p), numbers(sum(sizes), d, kind=kind, seed=1)
    held = torch.full((len(sizes), p * d + 3), 7.0, dtype=torch.float64)
    sum_outer_products(left, right, bounds, held[:, : p * d].view(-1, p, d))
    for group, (first, last) in enumerate(bounds.tolist()):
        expected = left[first:last].numpy().T @ right[first:last].double().numpy()
        np.testing.assert_allclose(held[group, :-3].view(p, d), expected, rtol=1e-12, atol=1e-12)
    assert (held[:, -3:] == 7).all()  # what lies between groups is another's


@KINDS
def test_a_group_has_the_same_bits_whatever_stands_beside_it(kind):
    left, right = numbers(60, 10), numbers(60, 64, kind=kind, seed=1)
    together = torch.empty(3, 10, 64, dtype=torch.float64)
    sum_outer_products(left, right, torch.tensor([[0, 7], [7, 40], [40, 60]]), together)
    alone = torch.empty(1, 10, 64, dtype=torch.float64)
    sum_outer_products(left[7:40], right[7:40], torch.tensor([[0, 33]]), alone)
    assert torch.equal(together[1:2], alone)


def test_what_is_not_finite_stays_in_its_group():
    left, right = torch.ones(4, 9, dtype=torch.float64), torch.ones(4, 70)
    right[1, 3], right[1, 4] = torch.nan, torch.inf
    out = torch.empty(2, 9, 70, dtype=torch.float64)
    sum_outer_products(left, right, torch.tensor([[0, 2], [2, 4]]), out)
    assert out[0, :, 3].isnan().all()
    assert out[0, :, 4].isinf().all()
    assert (out[1] == 2).all()


@KINDS
@pytest.mark.parametrize("order", [1, 2])
@given(rows=st.integers(0, 3), d=st.integers(0, 90))
def test_norms_are_numpys(kind, order, rows, d):
    values = numbers(rows, d, kind=kind)
    expected = np.linalg.norm(values.double().numpy(), order, axis=1) if d else np.zeros(rows)
    np.testing.assert_allclose(row_norms(values, order), expected, rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
def test_norms_of_any_size(order):
    """Float32 numbers whose squares are none."""
    values = torch.tensor([[3e-45, 0.0], [3e38, -3e38], [torch.nan, 1.0], [-torch.inf, 1.0]])
    found = row_norms(values, order).tolist()
    assert found[0] == float(values[0, 0])
    assert found[1] == pytest.approx(float(values[1, 0]) * 2 ** (1 / order))
    assert np.isnan(found[2])
    assert found[3] == np.inf
