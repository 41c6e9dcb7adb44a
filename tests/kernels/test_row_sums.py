"""Norms and sums over rows, against the same in NumPy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust.kernels.row_sums import row_norms, sum_rows

KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.float64])


def numbers(*shape, kind=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


def groups(sizes):
    """Where groups of such sizes begin and end, one after the other."""
    return torch.tensor(list(pairwise([0, *np.cumsum(sizes).tolist()])))


@KINDS
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    d=st.integers(1, 150),
)
def test_each_group_gets_the_sum_of_its_own_rows(kind, sizes, d):
    bounds = groups(sizes)
    factors, rows = numbers(sum(sizes)), numbers(sum(sizes), d, kind=kind, seed=1)
    held = torch.full((len(sizes), d + 3), 7.0, dtype=torch.float64)
    sum_rows(factors, rows, bounds, held[:, :d])
    for group, (first, last) in enumerate(bounds.tolist()):
        expected = factors[first:last].numpy() @ rows[first:last].double().numpy()
        np.testing.assert_allclose(held[group, :-3], expected, rtol=1e-12, atol=1e-12)
    assert (held[:, -3:] == 7).all()  # what lies between groups is another's


@KINDS
@pytest.mark.parametrize("order", [1, 2])
@given(rows=st.integers(0, 3), d=st.integers(0, 90))
def test_a_norm_may_count_one_more_number(kind, order, rows, d):
    values = numbers(rows, d, kind=kind)
    longer = torch.cat([values, values.new_ones(rows, 1)], dim=1)
    expected = np.linalg.norm(longer.double().numpy(), order, axis=1)
    np.testing.assert_allclose(row_norms(values, order, beside=1), expected, rtol=1e-14)


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
