"""Sums of outer products over groups of rows, against the same in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_row_sums import KINDS, groups, numbers

from privrobust.kernels.outer_products import sum_outer_products


@KINDS
@given(
    sizes=st.lists(st.one_of(st.integers(0, 5), st.integers(30, 70)), min_size=1, max_size=4),
    p=st.one_of(st.integers(1, 21), st.integers(126, 131)),
    d=st.one_of(st.integers(1, 75), st.integers(100, 240)),
    zeros=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_each_group_gets_the_products_of_its_own_rows(kind, sizes, p, d, zeros):
    """Of more rows, units and columns than are taken together, and of none."""
    rows, bounds = sum(sizes), groups(sizes)
    left, right = numbers(rows, p, kind=kind), numbers(rows, d, kind=kind, seed=1)
    left[torch.rand(left.shape) < zeros] = 0
    factors = numbers(rows, seed=2)
    held = torch.full((len(sizes), p * d + 3), 7.0, dtype=torch.float64)
    sum_outer_products(left, right, factors, bounds, held[:, : p * d].view(-1, p, d))
    for group, (first, last) in enumerate(bounds.tolist()):
        of_left = (left[first:last].double() * factors[first:last, None]).numpy()
        expected = of_left.T @ right[first:last].double().numpy()
        np.testing.assert_allclose(held[group, :-3].view(p, d), expected, rtol=1e-12, atol=1e-12)
    assert (held[:, -3:] == 7).all()  # what lies between groups is another's


@KINDS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_group_has_the_same_bits_whatever_stands_beside_it(kind, count, threads, monkeypatch):
    monkeypatch.setattr("privrobust.kernels.outer_products._LARGE", 1)
    threads(count)
    left, right = numbers(60, 10, kind=kind), numbers(60, 164, kind=kind, seed=1)
    factors = numbers(60, seed=2)
    together = torch.empty(3, 10, 164, dtype=torch.float64)
    sum_outer_products(left, right, factors, groups([7, 33, 20]), together)
    alone = torch.empty(1, 10, 164, dtype=torch.float64)
    own = slice(7, 40)
    sum_outer_products(left[own], right[own], factors[own], groups([33]), alone)
    assert torch.equal(together[1:2], alone)


@KINDS
def test_rows_that_are_left_out_change_no_bit(kind):
    """Where all there is on the left is 0 once, as after rectified units."""
    left, right, factors = (
        numbers(50, 9, kind=kind),
        numbers(50, 130, kind=kind, seed=1),
        numbers(50),
    )
    dropped = torch.rand(50) < 0.5
    left[dropped] = 0
    out, short = torch.empty(2, 1, 9, 130, dtype=torch.float64)
    sum_outer_products(left, right, factors, groups([50]), out)
    rest = [part[~dropped] for part in (left, right, factors)]
    sum_outer_products(*rest, groups([len(rest[0])]), short)
    assert torch.equal(out, short)


def test_what_is_not_finite_stays_in_its_group():
    left, right, factors = torch.ones(4, 9), torch.ones(4, 70), torch.ones(4, dtype=torch.float64)
    right[1, 3], right[1, 4] = torch.nan, torch.inf
    left[0, 0] = torch.nan
    out = torch.empty(2, 9, 70, dtype=torch.float64)
    sum_outer_products(left, right, factors, groups([2, 2]), out)
    assert out[0, :, 3].isnan().all()
    assert out[0, 1:, 4].isinf().all()
    assert out[0, 0].isnan().all()  # NaN is not 0: its row is not left out
    assert (out[1] == 2).all()
