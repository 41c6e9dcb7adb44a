"""Bounds on the error of a step, held against exact expectations and against runs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from privrobust import RunSpec, train
from privrobust.accountants import Release
from privrobust.errors import SpecError
from privrobust.theory import (
    error_bound,
    error_of_mean,
    median_bias_bound,
    spectral_error_bound,
)
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.result import second_moment


def expected_median(values, b):
    """E of the median of an odd number of values with noise, from its distribution function."""

    def above(x):
        """P(median > x): of n independent events, more than half happen (Poisson binomial)."""
        counts = np.array([1.0])
        for p in stats.norm.sf((x - values) / b):
            counts = np.convolve(counts, [1 - p, p])
        return counts[len(values) // 2 + 1 :].sum()

    low, high = values.min() - 9 * b, values.max() + 9 * b
    return low + integrate.quad(above, low, high, limit=200)[0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=9).filter(lambda u: len(u) % 2 == 1),
    st.floats(0.05, 10),
)
def test_the_bias_of_a_median_is_within_its_bound(values, b):
    values = np.array(values)
    bias = abs(expected_median(values, b) - values.mean())
    assert bias <= median_bias_bound(values.std(), len(values), b) + 1e-7


def test_the_bias_bound_goes_as_b_to_the_minus_two():
    s, n = 0.3, 9
    for b in (30.0, 300.0):
        assert median_bias_bound(s, n, b) == pytest.approx(n * s**3 / (3 * 2**0.5 * b**2), rel=0.01)
    assert median_bias_bound(s, n, 1e-3) == median_bias_bound(s, n, 0) == s * (n - 1) ** 0.5
    assert median_bias_bound(0, n, 1) == median_bias_bound(s, 1, 1e-3) == 0
    exact = integrate.quad(lambda t: math.sqrt(math.expm1(t**2) - t**2), 0, 1)[0]
    assert exact < median_bias_bound(1.0, 4, 2.0) < 1.01 * exact
    with pytest.raises(SpecError, match="noise_scale: -1"):
        median_bias_bound(s, n, -1)


def test_the_error_of_a_step_is_that_of_the_trilemma():
    assert error_bound(0.0, 10, 650, 0.1, 1.0) == pytest.approx(error_of_mean(10, 650, 0.1))
    assert error_bound(0.5, 10, 650, 0.0, 2.0) == pytest.approx(1.0)  # kappa M
    assert error_bound(math.inf, 10, 650, 0.1, 1.0) == math.inf
    assert math.isnan(error_bound(math.nan, 10, 650, 0.1, 1.0))


@pytest.mark.parametrize(("h", "d"), [(1, 1), (3, 7), (10, 400)])
def test_the_spectral_bound_is_that_of_the_top_singular_value_of_noise(h, d):
    """Of 2,000 matrices: their mean square has a standard error of 3 % or less."""
    noise = np.random.default_rng(0).standard_normal((2_000, h, d))
    square = np.mean(np.linalg.norm(noise, 2, axis=(1, 2)) ** 2)
    allowed = (math.sqrt(spectral_error_bound(1.0, h, d, 1.0, 0.0)) - math.sqrt(d / h)) ** 2 * h
    assert allowed / 6 < square < allowed


def test_the_spectral_bound_has_the_three_prices_too():
    assert spectral_error_bound(0.0, 10, 650, 0.1, 1.0) == pytest.approx(0.65)
    assert spectral_error_bound(0.5, 10, 650, 0.0, 2.0) == pytest.approx(1.0)  # kappa M
    assert spectral_error_bound(math.inf, 10, 650, 0.1, 1.0) == math.inf
    assert spectral_error_bound(0.0, 10, 650, 0.1, math.inf) == pytest.approx(0.65)
    with pytest.raises(SpecError, match="kappa: -1 is not accepted: 0 or more"):
        spectral_error_bound(-1.0, 10, 650, 0.1, 1.0)
    for bound in (spectral_error_bound, error_bound):
        with pytest.raises(SpecError, match=r"noise_std: -0.1 is not accepted: 0 or more"):
            bound(1.0, 10, 650, -0.1, 1.0)
    # of twice the workers half is left, where what looks at coordinates keeps nearly all
    for bound, least, most in ((spectral_error_bound, 0.49, 0.55), (error_bound, 0.8, 1.0)):
        few, many = (bound(1.0, h, 1e6, 0.1, 0.0) for h in (100, 200))
        assert least < many / few < most


def test_smea_stays_below_its_spectral_bound():
    """Which is below the other by far; 8 steps of 650 coordinates are near their expectation."""
    spec = RunSpec(**BASE, aggregator="smea", byzantine=2, attack="alie", noise_scale=0.2)
    result = train(spec)
    moment = second_moment(PrivacyPlan(spec).releases[0])
    bound = spectral_error_bound(result.kappa_bound, 7, 650, 0.2, moment)
    assert 0 < result.error < bound < result.error_bound / 2


def test_the_second_moment_is_that_of_binomial_batches():
    release = Release(noise_scale=0.1, clip_norm=2.0, batch_size=8, dataset_size=40, steps=1)
    batches = stats.binom(40, 0.2)
    assert second_moment(release) == pytest.approx(4 * (batches.var() + 64) / 64)
    fixed = Release(
        noise_scale=0.1, clip_norm=2.0, batch_size=8, dataset_size=40, sampling_rate=0.5, steps=1
    )
    assert second_moment(fixed) == pytest.approx(4 * (stats.binom(40, 0.5).var() + 400) / 64)
    for sampling in ("fixed", "shuffled"):  # of two batches the first is full
        whole = Release(
            noise_scale=0.1, clip_norm=2.0, batch_size=32, dataset_size=33, sampling=sampling,
            steps=1,
        )  # fmt: skip
        assert second_moment(whole) == 4.0
    worker = Release(
        noise_scale=0.1, clip_norm=2.0, unit="worker", worker_sampling_rate=0.25, steps=1
    )
    assert second_moment(worker) == 1.0


BASE = {"honest": 7, "steps": 40, "clip_norm": 1.0, "evaluate_every": 5, "heterogeneity": 1.0}


def test_the_error_of_the_mean_is_that_of_its_noise():
    """8 steps of 650 coordinates: the bound on each side has a false alarm of 1e-9."""
    result = train(RunSpec(**BASE, aggregator="mean", noise_scale=0.2))
    assert result.error_of_mean == pytest.approx(650 * 0.04 / 7)
    assert result.error_bound == pytest.approx(result.error_of_mean)
    law = stats.chi2(8 * 650)
    total = result.error / result.error_of_mean * 8 * 650
    assert law.ppf(1e-9) < total < law.isf(1e-9) * (1 + 2**-10)  # b is enlarged for rounding


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum", "nnm + trimmed_mean", "smea"])
@pytest.mark.parametrize("attack", ["sign_flip", "large_value", "alie"])
@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_runs_stay_below_their_bounds(rule, attack, noise):
    """The expectation does; of 650 coordinates and 8 steps none is near twice its expectation."""
    result = train(
        RunSpec(**BASE, aggregator=rule, byzantine=2, attack=attack, noise=noise, noise_scale=0.05)
    )
    assert 0 < result.kappa <= result.kappa_bound
    assert 0 < result.error <= result.error_bound


def test_what_has_no_bound():
    signs = train(RunSpec(**BASE, aggregator="majority_vote", noise_scale=0.1))
    assert np.isnan([signs.error, signs.kappa_bound]).all()
    unbounded = train(RunSpec(**{**BASE, "clip_norm": None}, aggregator="median"))
    momentum = train(RunSpec(**BASE, aggregator="median", worker_momentum=0.9))
    for result in (signs, unbounded, momentum):
        assert math.isnan(result.error_bound)
    ruined = train(RunSpec(**BASE, aggregator="mean", byzantine=1, attack={"name": "large_value"}))
    assert ruined.kappa_bound == ruined.error_bound == math.inf
