import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from privrobust.aggregators import (
    MajorityVote,
    Mean,
    Median,
    TrimmedMean,
    available_aggregators,
    get_aggregator,
)
from privrobust.errors import SpecError

MESSAGES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=9),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(MESSAGES)
def test_median_is_numpys(messages):
    ours = Median()(torch.from_numpy(messages)).numpy()
    np.testing.assert_allclose(ours, np.median(messages, axis=-2), rtol=1e-6)


@given(MESSAGES, st.data())
def test_trimmed_mean_is_scipys(messages, data):
    workers = messages.shape[-2]
    f = data.draw(st.integers(0, (workers - 1) // 2))
    ours = TrimmedMean(f)(torch.from_numpy(messages)).numpy()
    whole = messages.astype(np.float64)
    theirs = stats.trim_mean(whole, (f + 0.5) / workers, axis=-2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=0.5)


def test_a_trimmed_mean_needs_something_left_between():
    with pytest.raises(SpecError, match=r"4 workers cannot spare 2 at each end; .* more than 4"):
        TrimmedMean(2)(torch.zeros(4, 3))


@given(MESSAGES)
def test_mean_is_numpys(messages):
    ours = Mean()(torch.from_numpy(messages)).numpy()
    np.testing.assert_allclose(ours, messages.mean(axis=-2, dtype=np.float64), rtol=1e-4, atol=0.5)


@given(MESSAGES)
def test_majority_vote_is_the_sign_of_the_sum_of_signs(messages):
    ours = MajorityVote()(torch.from_numpy(messages)).numpy()
    np.testing.assert_array_equal(ours, np.sign(np.sign(messages).sum(axis=-2)))


def test_a_zero_abstains_and_a_tie_gives_zero():
    votes = torch.tensor([[0.0, 1.0, -5.0], [2.0, -1.0, 0.0]])
    assert MajorityVote()(votes).tolist() == [1.0, 0.0, -1.0]


@given(
    honest=st.integers(1, 12),
    data=st.data(),
    hostile=st.sampled_from([torch.nan, torch.inf, -torch.inf]),
)
def test_a_minority_of_non_finite_messages_stays_harmless(honest, data, hostile):
    byzantine = data.draw(st.integers(0, honest - 1))
    messages = torch.randn(honest, 5, generator=torch.Generator().manual_seed(honest))
    attacked = torch.cat([torch.full((byzantine, 5), hostile), messages])
    for robust in (Median()(attacked), TrimmedMean(byzantine)(attacked)):
        assert (messages.amin(0) - 1e-6 <= robust).all()
        assert (robust <= messages.amax(0) + 1e-6).all()
    assert MajorityVote()(attacked).isfinite().all()


@pytest.mark.parametrize("place", range(6))
def test_nan_is_ordered_as_plus_infinity_wherever_it_stands(place):
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    values.insert(place, torch.nan)
    assert Median()(torch.tensor(values).unsqueeze(-1)).item() == 3.5


def test_the_mean_is_not_robust():
    assert Mean()(torch.tensor([[1.0], [torch.inf]])).isinf().all()


def test_names():
    assert available_aggregators() == ["majority_vote", "mean", "median", "trimmed_mean"]
    assert get_aggregator("median") == Median()
    assert get_aggregator("trimmed_mean", byzantine=2) == TrimmedMean(f=2)
    with pytest.raises(SpecError, match=r"'medain'; did you mean 'median'\? \(known: .*mean"):
        get_aggregator("medain")
