"""Updates of whole clients: what is added is bounded whatever the update was, and hidden."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from privrobust.accountants import Release, epsilon
from privrobust.errors import BudgetExhausted, SpecError
from privrobust.federated import Ledger, PrivateUpdates, UpdatePrivacy
from privrobust.noise import add_noise

BARE = UpdatePrivacy(clip_norm=1.0, noise_scale=0.0)
NOISY = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0)


def exact_norm(vector, order):
    """Return the norm, squared for L2, without any rounding."""
    return sum(abs(Fraction(each)) ** order for each in vector.tolist())


hostile = st.floats(width=64) | st.sampled_from(
    [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 2.0**-1022, 1e-160, 1e154, 1.8e308, 1.0]
)


@given(
    arrays.arrays(np.float64, st.integers(1, 40), elements=hostile),
    st.floats(1e-60, 1e60),
    st.sampled_from(["gaussian", "laplace"]),
)
@example(np.zeros(3), 1.0, "gaussian")
@example(np.full(7, 1e-170), 1e-60, "gaussian")
@example(np.full(40, 1.7e308), 1e60, "laplace")
@example(np.array([1.0, math.nan]), 1.0, "gaussian")
def test_what_is_added_never_has_more_than_the_norm_c(update, clip_norm, noise):
    order = 1 if noise == "laplace" else 2
    before = update.copy()
    sent = PrivateUpdates(UpdatePrivacy(clip_norm, 0.0, noise)).message(update)
    assert np.array_equal(update, before, equal_nan=True)
    assert np.isfinite(sent).all()
    assert exact_norm(sent, order) <= Fraction(clip_norm) ** order
    if not np.isfinite(update).all():
        assert not sent.any()
    elif exact_norm(update, order) <= (Fraction(clip_norm) * Fraction(0.999)) ** order:
        assert np.array_equal(sent, update)


@given(arrays.arrays(np.float64, 9, elements=st.floats(-1e30, 1e30)))
def test_clipping_keeps_the_direction(update):
    sent = PrivateUpdates(BARE).message(update)
    norm = np.linalg.norm(update)
    assert sent == pytest.approx(update / max(1.0, norm), rel=2e-6, abs=1e-12)


def test_noise_is_of_its_law_and_new_each_time():
    updates = PrivateUpdates(NOISY)
    drawn = np.array([updates.message(np.zeros(500)) for _ in range(20)])
    assert len(np.unique(drawn)) > 9900
    # false alarm of each: 1e-9
    assert stats.kstest(drawn.ravel(), "norm", args=(0, 2.0 * (1 + 2**-12))).pvalue > 1e-9
    laplace = PrivateUpdates(UpdatePrivacy(1.0, 0.5, "laplace")).message(np.zeros(10_000))
    assert stats.kstest(laplace, "laplace", args=(0, 0.5 * (1 + 2**-12))).pvalue > 1e-9


def test_an_update_that_is_not_finite_is_hidden_as_zero_is():
    for update in (torch.full((4,), torch.nan), torch.tensor([1.0, torch.inf])):
        same = PrivateUpdates(NOISY, seed=3).message(torch.zeros_like(update))
        assert torch.equal(PrivateUpdates(NOISY, seed=3).message(update), same)


def test_the_bits_are_those_of_add_noise():
    """A seed's keys are those of the first worker of a run."""
    from privrobust.noise import derived_keys

    update = np.array([0.6, -0.8, 0.0]) / 2
    updates = PrivateUpdates(NOISY, seed=7)
    for step in (1, 2):
        key = derived_keys(7, "noise", step, 1).tobytes()
        assert np.array_equal(updates.message(update), add_noise(update, 2.0, 1.0, key=key))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_stay(dtype):
    sent = PrivateUpdates(NOISY).message(torch.ones(5, dtype=dtype))
    assert (sent.dtype, sent.shape) == (dtype, (5,))
    if dtype != torch.bfloat16:
        array = torch.ones(5, dtype=dtype).numpy()
        given_back = PrivateUpdates(NOISY).message(array)
        assert (type(given_back), given_back.dtype) == (np.ndarray, array.dtype)


def test_signs_have_two_values():
    votes = PrivateUpdates(UpdatePrivacy(1.0, 0.5, message="sign"))
    sent = torch.stack([votes.message(torch.tensor([0.9, 0.0, -0.1])) for _ in range(400)])
    assert set(sent.unique().tolist()) == {-1.0, 1.0}
    assert votes.release.message == "sign"
    share = (sent > 0).double().mean(0)
    expected = torch.tensor(stats.norm.cdf([0.9 / 0.5, 0.0, -0.1 / 0.5]))
    assert ((share - expected).abs() < 6 * 0.5 / 20).all()  # false alarm: 6e-9
    assert (
        PrivateUpdates(UpdatePrivacy(1.0, 0.0, message="sign")).message(torch.zeros(3)) == 1
    ).all()


def test_who_sits_out_sends_pure_noise():
    rounds, rate = 2000, 0.25
    coin = UpdatePrivacy(clip_norm=1.0, noise_scale=1e-3, participation=rate)
    updates = PrivateUpdates(coin)
    sent = np.array([updates.message(np.array([1.0, 0.0])) for _ in range(rounds)])
    joined = sent[:, 0] > 0.5
    assert (np.abs(sent[~joined]) < 0.01).all()
    assert (np.abs(sent[:, 1]) < 0.01).all()
    assert (sent[~joined] != 0).mean() > 0.9  # noise, on its grid
    spread = 6 * math.sqrt(rounds * rate * (1 - rate))  # false alarm: 2e-9
    assert abs(joined.sum() - rounds * rate) < spread


def test_the_release_is_what_was_sent():
    privacy = UpdatePrivacy(clip_norm=0.5, noise_scale=1.0, participation=0.5, delta=1e-6)
    updates = PrivateUpdates(privacy)
    assert (updates.spent.epsilon, updates.spent.delta) == (0, 1e-6)
    with pytest.raises(SpecError, match="nothing was sent yet"):
        _ = updates.release
    for _ in range(3):
        updates.message(np.ones(2))
    stated = Release(
        noise_scale=1.0, clip_norm=0.5, unit="worker", worker_sampling_rate=0.5, steps=3
    )
    assert updates.release == stated == privacy.release(3)
    assert updates.spent.epsilon == epsilon(stated, delta=1e-6)
    assert PrivateUpdates(BARE).spent.epsilon == 0


def test_nothing_leaves_that_the_ledger_refuses(tmp_path):
    allowed = epsilon(NOISY.release(2))
    with Ledger(tmp_path / "ledger.db", "client 3", max_epsilon=allowed) as ledger:
        updates = PrivateUpdates(NOISY, ledger)
        for _ in range(2):
            updates.message(np.ones(3))
        with pytest.raises(SpecError, match="update: list is not accepted"):
            updates.message([1.0])  # costs nothing
        huge = PrivateUpdates(UpdatePrivacy(clip_norm=1.0, noise_scale=1e30), ledger)
        with pytest.raises(SpecError, match="too large for a grid"):
            huge.message(np.ones(3))
        for another in (updates, PrivateUpdates(NOISY, ledger)):
            with pytest.raises(BudgetExhausted):
                another.message(np.ones(3))
        assert updates.release.steps == len(ledger.entries) == 2
        assert ledger.spent.epsilon == updates.spent.epsilon == allowed


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"clip_norm": 0}, "clip_norm: 0 is not a finite number above 0"),
        ({"clip_norm": None}, "clip_norm: None is not"),
        ({"noise_scale": -1}, "noise_scale: -1 is not"),
        ({"noise_scale": math.nan}, "noise_scale: nan is not"),
        ({"noise": "cauchy"}, "noise: unknown name 'cauchy'"),
        ({"message": "signs"}, "message: 'signs' is not one of vector, sign"),
        ({"participation": 0}, r"participation: 0 is not in \(0, 1\]"),
        ({"participation": 1.5}, "participation: 1.5 is not"),
        ({"delta": 0}, "delta: 0 is not between"),
        ({"accountant": "pdl"}, "accountant: unknown name 'pdl'"),
        ({"accountant": "rdp", "noise": "laplace"}, "accountant: rdp does not support"),
    ],
)
def test_bad_settings(settings, told):
    with pytest.raises(SpecError, match=told) as raised:
        UpdatePrivacy(**{"clip_norm": 1.0, "noise_scale": 1.0} | settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("update", "told"),
    [
        (np.ones((2, 2)), r"update: shape \(2, 2\) is not accepted"),
        (torch.ones(()), r"update: shape \(\) is not accepted"),
        (np.ones(0), r"update: shape \(0,\) is not accepted"),
        (np.ones(2, dtype=int), "update: ndarray of int64 is not accepted"),
        (torch.ones(2).to_sparse(), "update: Tensor of torch.float32 is not accepted"),
        ("text", "update: str is not accepted"),
        (None, "update: NoneType is not accepted"),
    ],
)
def test_bad_updates(update, told):
    updates = PrivateUpdates(NOISY)
    with pytest.raises(SpecError, match=told) as raised:
        updates.message(update)
    assert "\n" not in str(raised.value)
    assert updates.spent.epsilon == 0


def test_bad_helpers(tmp_path):
    with pytest.raises(SpecError, match="privacy: a dict is not accepted"):
        PrivateUpdates({"clip_norm": 1.0})
    with pytest.raises(SpecError, match="ledger: a str is not accepted: a Ledger"):
        PrivateUpdates(NOISY, str(tmp_path / "ledger.db"))
    with pytest.raises(SpecError, match="seed: -1 is not"):
        PrivateUpdates(NOISY, seed=-1)
