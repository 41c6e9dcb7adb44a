"""Faults of mechanisms are found; sound ones are let be at the stated rate."""

import math

import mechanisms
import numpy as np
import pytest
import torch
from scipy.stats import binom

from privrobust.accountants import Release, spend
from privrobust.audit import Gaussian, audit_mechanism, claim
from privrobust.audit.neighbours import ADJACENCIES, pairs
from privrobust.errors import SpecError
from privrobust.noise import add_noise, derived_keys

DELTA = 1e-5
EPSILON = Gaussian(1 / 2).epsilon(DELTA)  # of noise multiplier 2
SLOW = pytest.mark.slow
SAMPLED = claim(
    Release(noise_scale=0.5, clip_norm=1.0, batch_size=4, sampling_rate=0.5, steps=1), DELTA
)


def audited(fn, epsilon=EPSILON, delta=DELTA, trials=2000, **settings):
    return audit_mechanism(fn, epsilon, delta, trials=trials, **settings)


@pytest.mark.parametrize("fault", mechanisms.FAULTS)
def test_faults_are_found(fault):
    result = audited(fault())
    assert result.is_refuted
    assert result.p_value < 1e-6
    assert result.epsilon_lower_bound > EPSILON or result.p_value < 1e-10


@pytest.mark.parametrize(
    ("fn", "settings"),
    [
        (mechanisms.WrongDivisor, {"curve": Gaussian(1 / 2)}),
        (mechanisms.ClippedByCoordinate, {"curve": Gaussian(1 / 2)}),
        (mechanisms.MeanSubtracted, {"curve": Gaussian(1 / 2)}),
        (mechanisms.RealisedCount, {"adjacency": "add-or-remove"}),
        pytest.param(
            mechanisms.RealisedBatch,
            {
                "adjacency": "add-or-remove",
                "curve": SAMPLED,
                "epsilon": SAMPLED.epsilon(DELTA),
                "trials": 8000,
            },
            marks=SLOW,
        ),
        # an epsilon of zero-out quoted for replace-one
        (mechanisms.Gaussian, {"adjacency": "replace-one", "curve": Gaussian(1 / 2)}),
        # an epsilon of one call quoted for four
        pytest.param(mechanisms.Gaussian, {"calls": 4, "curve": Gaussian(1 / 2)}, marks=SLOW),
        (mechanisms.NoiseEveryTwo, {"calls": 2, "epsilon": 4.0}),
    ],
)
def test_false_claims_are_found(fn, settings):
    result = audited(fn(), **({"trials": 4000} | settings))
    assert result.is_refuted
    assert result.p_value < 1e-6


def of_this_package(rows):
    average = mechanisms.clipped(rows).sum(0) / mechanisms.B
    key = derived_keys(of_this_package.calls, "audit", 1, 1)[0].tobytes()
    of_this_package.calls += 1
    return add_noise(average, scale=0.5, sensitivity=0.25, key=key)


SOUND = [
    (mechanisms.Gaussian, {"curve": Gaussian(1 / 2)}),
    (mechanisms.Laplace, {"epsilon": 1.0, "delta": 0.0}),
    (mechanisms.Sampled, {"epsilon": SAMPLED.epsilon(DELTA), "curve": SAMPLED}),
    (lambda: mechanisms.Unclipped(), {"rows": "bounded", "curve": Gaussian(1 / 2)}),
    *(
        pytest.param(fn, settings, marks=SLOW)
        for fn, settings in (
            (mechanisms.Gaussian, {"adjacency": "add-or-remove", "curve": Gaussian(1 / 2)}),
            (
                mechanisms.Gaussian,
                {
                    "adjacency": "replace-one",
                    "epsilon": Gaussian(1).epsilon(DELTA),
                    "curve": Gaussian(1),
                },
            ),
            (
                mechanisms.Gaussian,
                {"calls": 4, "epsilon": Gaussian(1).epsilon(DELTA), "curve": Gaussian(1)},
            ),
            (
                mechanisms.Sampled,
                {
                    "adjacency": "add-or-remove",
                    "epsilon": SAMPLED.epsilon(DELTA),
                    "curve": SAMPLED,
                },
            ),
            (lambda: mechanisms.RaisesOnBroken(), {"rows": "finite", "curve": Gaussian(1 / 2)}),
        )
    ),
]


@pytest.mark.parametrize(("fn", "settings"), SOUND)
def test_sound_mechanisms_are_let_be(fn, settings):
    result = audited(fn(), **({"trials": 3000} | settings))
    assert not result.is_refuted
    assert result.epsilon_lower_bound <= result.claimed


def test_noise_of_this_package_is_let_be():
    of_this_package.calls = 0
    assert not audited(of_this_package, curve=Gaussian(1 / 2)).is_refuted


@pytest.mark.slow
def test_a_sound_mechanism_is_refuted_at_most_at_the_stated_rate():
    """Exactly at its claim, at 50 %: pilots choose, and fresh trials are counted."""
    tries, confidence = 20, 0.5
    refuted = sum(
        audited(
            mechanisms.Gaussian(seed=seed),
            curve=Gaussian(1 / 2),
            trials=500,
            examples=2,
            dim=2,
            confidence=confidence,
            seed=seed,
        ).is_refuted
        for seed in range(tries)
    )
    assert refuted <= binom.isf(1e-4, tries, 1 - confidence)
    assert refuted < tries * (1 - confidence)


def test_much_of_a_sound_epsilon_is_found():
    """Gaussian noise of mu = 1/2: the curve's mu, within what 4000 trials tell."""
    result = audited(mechanisms.Gaussian(), trials=4000)
    truth = Gaussian(1 / 2).epsilon(DELTA)
    assert 0.2 * truth < result.epsilon_if_gaussian < truth
    assert result.ratio == result.epsilon_lower_bound / EPSILON


def test_the_same_seed_gives_the_same_result():
    one, two = (audited(mechanisms.Gaussian(), trials=500, seed=3) for _ in range(2))
    assert one == two


def test_the_result_says_what_it_is_of():
    result = audited(mechanisms.NanComesThrough(), trials=500)
    assert (result.rule, result.accountant) == ("NanComesThrough", "stated")
    assert any(word in result.canaries for word in ("infinity", "NaN"))
    assert any(result.canaries in sentence for sentence in result.assumed)
    assert result.as_record()["is_refuted"]


def test_messages_may_be_of_any_type():
    rng = np.random.default_rng(0)

    def mixed(rows):
        sent = float(torch.nan_to_num(rows).clamp(-1, 1)[:, 0].sum()) + rng.normal()
        return {"a": [sent, 1], "b": (np.float32(sent), torch.tensor([sent + 1j])), "c": None}

    assert audited(mixed, epsilon=20.0, trials=500).epsilon_lower_bound < 20


def test_mechanisms_that_change_what_they_are_given_harm_nobody():
    def in_place(rows):
        rows.nan_to_num_(0, 0, 0).zero_()
        return rows.sum(0)

    assert audited(in_place, epsilon=0.1, trials=500).epsilon_lower_bound == 0


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize(("dim", "examples"), [(1, 1), (1, 3), (5, 1), (7, 4)])
def test_pairs_are_neighbours(adjacency, dim, examples):
    found = list(pairs(dim, examples, 0.7, adjacency, "any"))
    assert len({pair.says for pair in found}) == len(found) > 5
    for pair in found:
        inside, outside = pair.inside, pair.outside
        alone = "alone" in pair.says
        assert inside.dtype == torch.float32
        assert len(inside) == (1 if alone else examples)
        if adjacency == "add-or-remove":
            assert len(outside) == len(inside) - 1
            continue
        differ = (~torch.isclose(inside, outside, rtol=0, atol=0, equal_nan=True)).any(1)
        assert differ.sum() == 1
    for pair in pairs(dim, examples, 0.7, adjacency, "bounded"):
        for rows in (pair.inside, pair.outside, pair.opposite, pair.opposite_outside, pair.rest):
            assert (rows.double().norm(dim=1) <= np.float32(0.7)).all()
    for pair in pairs(dim, examples, 0.7, adjacency, "finite"):
        assert pair.inside.isfinite().all()


def fails(rows):
    raise RuntimeError("no\nway")


@pytest.mark.parametrize(
    ("fn", "settings", "message"),
    [
        (3, {}, "fn: 3 is not a function of gradients"),
        (fails, {}, "fn: RuntimeError: no; accepted"),
        (lambda rows: None, {}, "fn: messages without numbers; accepted"),
        (lambda rows: "text", {}, "fn: it returned 'text'; accepted: numbers"),
        (torch.sum, {"epsilon": -1}, "epsilon: -1 is not a finite number from 0 up"),
        (torch.sum, {"delta": 1}, "delta: 1 is not"),
        (torch.sum, {"confidence": 1}, "confidence: 1 is not"),
        (torch.sum, {"dim": 0}, "dim: 0 is not a whole number from 1 up"),
        (torch.sum, {"examples": 1.5}, "examples: 1.5 is not"),
        (torch.sum, {"calls": 0}, "calls: 0 is not"),
        (torch.sum, {"trials": 10}, "trials: 10 is not a whole number from 500 up"),
        (torch.sum, {"norm": math.inf}, "norm: inf is not"),
        (torch.sum, {"seed": -1}, "seed: -1 is not"),
        (torch.sum, {"adjacency": "swap"}, "adjacency: 'swap' is not one of zero-out, add-or"),
        (torch.sum, {"rows": "all"}, "rows: 'all' is not one of any, finite, bounded"),
    ],
)
def test_what_is_refused(fn, settings, message):
    with pytest.raises(SpecError, match=message) as raised:
        audited(fn, **settings)
    assert "\n" not in str(raised.value)


def test_the_claims_of_the_tests_are_right():
    release = Release(noise_scale=2.0, clip_norm=1.0, unit="worker", steps=1)
    assert spend(release, DELTA).epsilon == pytest.approx(EPSILON, rel=1e-9)
