"""Weighted sums of messages, against NumPy's, and bits that are a lane's own wherever it lies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_row_sums import KINDS, numbers

from privrobust.kernels import weighted_sums as kernel
from privrobust.kernels.weighted_sums import weighted_sums


@KINDS
@given(lanes=st.integers(1, 3), k=st.integers(1, 9), n=st.integers(1, 12), d=st.integers(1, 300))
def test_sums_are_numpys(kind, lanes, k, n, d):
    weights, messages = numbers(lanes, k, n, kind=kind), numbers(lanes, n, d, kind=kind, seed=1)
    expected = weights.double().numpy() @ messages.double().numpy()
    within = 1e-5 if kind is torch.float32 else 1e-13
    np.testing.assert_allclose(weighted_sums(weights, messages), expected, atol=n * within)


@KINDS
@pytest.mark.parametrize("threads_of", [1, 2, 3])
def test_a_lane_has_the_same_bits_wherever_it_lies(kind, threads_of, threads, monkeypatch):
    monkeypatch.setattr(kernel, "_SMALL", 1 << 10)
    monkeypatch.setattr(kernel, "_PIECE", 1 << 12)
    threads(threads_of)
    weights, messages = numbers(5, 6, 7, kind=kind), numbers(5, 7, 1001, kind=kind, seed=1)
    together = weighted_sums(weights, messages)
    for lane in range(5):
        for shift in range(4):
            moved = messages.new_empty(7 * 1001 + shift)[shift:].view(7, 1001)
            moved.copy_(messages[lane])
            assert torch.equal(weighted_sums(weights[lane], moved), together[lane])
        one = weighted_sums(weights[lane, 2:3], messages[lane])
        assert torch.equal(one[0], together[lane, 2])


def test_what_is_not_finite_stays_in_its_coordinate():
    messages = torch.ones(3, 200)
    messages[1, 5], messages[2, 199] = torch.inf, torch.nan
    found = weighted_sums(torch.ones(2, 3), messages)
    assert found[:, 5].isposinf().all()
    assert found[:, 199].isnan().all()
    kept = torch.ones(200, dtype=torch.bool)
    kept[[5, 199]] = False
    assert (found[:, kept] == 3).all()
