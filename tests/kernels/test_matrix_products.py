"""Products of rows with matrices, against NumPy's, and bits that are a row's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_row_sums import KINDS, numbers

from privrobust.kernels import matrix_products
from privrobust.kernels.matrix_products import multiply, pack


@KINDS
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    k=st.integers(1, 40),
    m=st.integers(1, 130),
    has_added=st.booleans(),
    is_transposed=st.booleans(),
)
def test_products_are_numpys(kind, sizes, k, m, has_added, is_transposed):
    matrices = numbers(3, m, k, kind=kind).mT if is_transposed else numbers(3, k, m, kind=kind)
    added = numbers(3, m, kind=kind, seed=1) if has_added else None
    rows = numbers(sum(sizes), k, kind=kind, seed=2)
    ends = [0, *np.cumsum(sizes).tolist()]
    groups = [(2 - i, slice(*ends[i : i + 2])) for i in range(len(sizes))]  # in any order
    found = multiply(rows, pack(matrices, added), groups)
    close = (
        {"rtol": 1e-4, "atol": 1e-4} if kind is torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    )
    for matrix, own in groups:
        expected = rows[own].double().numpy() @ matrices[matrix].double().numpy()
        if added is not None:
            expected += added[matrix].double().numpy()
        np.testing.assert_allclose(found[own], expected, **close)


@KINDS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_row_has_the_same_bits_alone_and_beside_others(kind, count, threads, monkeypatch):
    monkeypatch.setattr(matrix_products, "_LARGE", 1 << 12)
    threads(count)
    rows, matrix = numbers(37, 50, kind=kind), pack(numbers(1, 50, 70, kind=kind, seed=1))
    together = multiply(rows, matrix, [(0, slice(0, 37))])
    alone = [multiply(row[None], matrix, [(0, slice(0, 1))]) for row in rows]
    assert torch.equal(together, torch.cat(alone))


def test_what_is_not_finite_stays_in_its_row():
    rows = torch.ones(9, 5)
    rows[3, 2], rows[4, 0] = torch.nan, torch.inf
    found = multiply(rows, pack(torch.ones(1, 5, 17)), [(0, slice(0, 9))])
    assert found[3].isnan().all()
    assert found[4].isposinf().all()
    assert (found[[0, 1, 2, 5, 6, 7, 8]] == 5).all()
