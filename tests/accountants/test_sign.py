"""What noisy signs leak: against enumeration, closed forms and high precision."""

import math
from itertools import product

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few_examples
from hypothesis import strategies as st
from made_releases import release
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri
from sign_certificate import largest_fall

from privrobust.accountants import Release, epsilon, max_steps, noise_scale, spend
from privrobust.accountants import delta as least_delta
from privrobust.accountants.mechanism import Mechanism
from privrobust.accountants.sign import _log_moments
from privrobust.accountants.sign_moments import (
    MARGIN,
    MOST_ORDER,
    log_moment,
    log_moment_at,
    worst_log_moment,
)
from privrobust.errors import SpecError


def signs(q, sigma, steps, **fields):
    return release(q, sigma, steps, message="sign", **fields)


# Integer orders at delta = 1e-5, with the supremum by another search.
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ((0.01, 4.0, 10_000), 0.8056),
        ((0.05, 1.0, 500), 5.9091),
        ((1.0, 20.0, 1000), 6.2352),
        ((32 / 95, 3.2, 300), 7.6119),
        ((0.1, 0.8, 100), 8.94),
    ],
)
def test_settings_that_were_computed_elsewhere(setting, expected):
    found = epsilon(signs(*setting), accountant="sign")
    assert expected * (1 - 1e-4) <= found <= expected * (1 + 5e-4)


@pytest.mark.parametrize("order", [2, 3, 7, 40, MOST_ORDER])
def test_small_shifts_cost_two_pi_ths_of_the_vectors_and_large_ones_all_of_it(order):
    for shift in (1e-12, 1e-6, 1e-4 / order):
        share = log_moment(order, shift) / (order * (order - 1) * shift**2)
        assert share == pytest.approx(1 / math.pi, rel=2 * MARGIN)
    for shift in (1e-3, 0.1, 1.0, 10.0, 1e3, 1e60):
        share = log_moment(order, shift) / (order * (order - 1) * shift**2)
        assert 1 / math.pi <= share <= 1 / 2
    assert log_moment(order, 200.0) == pytest.approx(order * (order - 1) / 2 * 200**2)


@given(
    order=st.integers(2, MOST_ORDER),
    shift=st.floats(-12, 1.5).map(lambda power: 10.0**power),
    place=st.floats(-3, 3),
)
@few_examples(max_examples=200)
def test_no_mean_has_a_larger_moment(order, shift, place):
    """At 60 digits, where it is largest and far from there."""
    worst = worst_log_moment(order, shift)
    with mpmath.workdps(60):
        for mu in (place, place * math.sqrt(order), -order * shift * abs(place), -shift):
            upper, lower = mpmath.mpf(mu) + mpmath.mpf(shift), mpmath.mpf(mu)
            moment = sum(
                mpmath.ncdf(side * upper) ** order * mpmath.ncdf(side * lower) ** (1 - order)
                for side in (1, -1)
            )
            exact = float(mpmath.log(moment))
            assert exact <= worst
            if mu <= -shift / 2:
                assert log_moment_at(order, np.array([mu]), shift)[0] == pytest.approx(
                    exact, rel=1e-5
                )


def test_the_supremum_is_in_the_range_that_is_searched():
    for order, shift in product((2, 5, 32), (1e-3, 0.3, 4.0)):
        mu = np.linspace(-order * shift - 2 * math.sqrt(order) - 5, 9, 20_001)
        plus = order * log_ndtr(mu + shift) - (order - 1) * log_ndtr(mu)
        minus = order * log_ndtr(-mu - shift) - (order - 1) * log_ndtr(-mu)
        best = mu[np.logaddexp(plus, minus).argmax()]
        assert -order * shift - math.sqrt(order) <= best <= -shift / 2 + 1e-3


@pytest.mark.parametrize("order", [9, 20])
def test_the_margin_covers_shifts_that_are_spread(order):
    assert largest_fall(order, slack=5e-5, wide=1.2e-4)[0] < MARGIN - 2e-5  # of rounding


@pytest.mark.slow
@pytest.mark.parametrize("order", range(2, MOST_ORDER + 1))
def test_the_margin_covers_shifts_that_are_spread_at_every_order(order):
    assert largest_fall(order, slack=5e-5, wide=1.2e-4)[0] < MARGIN - 2e-5  # of rounding


@given(st.floats(2, 200), st.floats(0, 1), st.floats(-30, 30))
@few_examples(max_examples=300)
def test_a_unit_that_is_added_costs_no_more(alpha, q, log_ratio):
    """The inequality of the theorem, at 80 digits."""
    with mpmath.workdps(80):
        alpha, q, ratio = mpmath.mpf(alpha), mpmath.mpf(q), mpmath.e ** mpmath.mpf(log_ratio)
        y, z = 1 - q + q * ratio, 1 - q + q / ratio
        theta = 3 * (1 - q) / (3 + 2 * (alpha - 2) * q)
        kappa = -(alpha - 1) * q - theta * alpha * q - (1 - theta) * (1 - alpha * q)
        right = theta * y**alpha + (1 - theta) * ratio * z**alpha + kappa * (ratio - 1)
        assert y ** (1 - alpha) <= right * (1 + mpmath.mpf(10) ** -60)


def laws(mu, shifts):
    """All signs of the coordinates, with the unit and without it: probabilities of each."""
    without, with_unit = np.ones(1), np.ones(1)
    for place, shift in zip(mu, shifts, strict=True):
        p, r = ndtr([place, -place]), ndtr([place + shift, -place - shift])
        without, with_unit = np.outer(without, p).ravel(), np.outer(with_unit, r).ravel()
    return without, with_unit


def draws(seed):
    """A sampling rate, w, coordinates that other units move about, and shifts of norm w."""
    random = np.random.default_rng(seed)
    q = random.choice([1.0, random.uniform(0.001, 1)])
    w = float(10 ** random.uniform(-1.5, 0.7))
    many, others = random.integers(1, 4), random.integers(1, 5)
    direction = random.standard_normal(many) * 10 ** random.uniform(-2, 0, many)
    shifts = w * direction / np.linalg.norm(direction)
    mu = random.choice([-1, 1], (others, many)) * random.uniform(0, 3 + 4 * w, (others, many))
    weights = random.dirichlet(np.ones(others))
    return q, w, mu, shifts, weights


@pytest.mark.parametrize("seed", range(150))
def test_no_signs_have_a_larger_moment_in_either_direction(seed):
    q, w, mu, shifts, weights = draws(seed)
    bounds = _log_moments(Mechanism("gaussian", 1 / w, q, False, "sign"), 24)
    without = sum(p * laws(each, shifts)[0] for p, each in zip(weights, mu, strict=True))
    with_unit = sum(p * laws(each, shifts)[1] for p, each in zip(weights, mu, strict=True))
    sampled = (1 - q) * without + q * with_unit
    for order, bound in enumerate(bounds, start=2):
        removed = logsumexp(order * np.log(sampled) + (1 - order) * np.log(without))
        added = logsumexp(order * np.log(without) + (1 - order) * np.log(sampled))
        assert max(removed, added) <= bound * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("seed", range(60))
def test_no_signs_tell_more_in_several_steps(seed):
    """Exact hockey-stick divergences, of steps whose means were chosen one after the other."""
    q, w, mu, shifts, _ = draws(1000 + seed)
    steps = min(len(mu), 4)
    without, sampled = np.ones(1), np.ones(1)
    for place in mu[:steps]:
        no, yes = laws(place, shifts)
        without, sampled = (
            np.outer(without, no).ravel(),
            np.outer(sampled, (1 - q) * no + q * yes).ravel(),
        )
    r = signs(q, 1 / w, steps)
    for spent in (0.01, 0.3, 1.0, 3.0, 8.0):
        true = max(
            np.maximum(p - math.exp(spent) * other, 0).sum()
            for p, other in ((sampled, without), (without, sampled))
        )
        assert true <= least_delta(r, spent, "sign")


@pytest.mark.parametrize("sigma", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_a_single_step_leaks_what_the_vector_does(sigma, delta):
    """The best event of the vector is a half-line, which is one of the worst sign's two."""
    from dp_accounting import get_epsilon_gaussian

    of_vector = get_epsilon_gaussian(sigma, delta)
    mu = ndtri(np.logspace(-12, -0.2, 4001))
    p, r = ndtr(mu), ndtr(mu + 1 / sigma)
    tells = np.log(np.maximum(r - delta, 1e-300) / p).max()
    assert tells == pytest.approx(of_vector, rel=1e-3)
    assert epsilon(signs(1.0, sigma, 1), delta, "sign") >= of_vector


@given(
    sigma=st.floats(0.3, 50),
    q=st.floats(0.001, 1),
    steps=st.integers(1, 10_000),
    more=st.floats(1.05, 4),
)
@few_examples(max_examples=40)
def test_less_noise_more_batches_and_more_steps_never_cost_less(sigma, q, steps, more):
    spent = epsilon(signs(q, sigma, steps), accountant="sign")
    same = spent * (1 - 1e-3)  # of a grid of means, whose points move
    assert epsilon(signs(q, sigma / more, steps), accountant="sign") >= same
    assert epsilon(signs(min(1.0, q * more), sigma, steps), accountant="sign") >= same
    assert epsilon(signs(q, sigma, math.ceil(steps * more)), accountant="sign") >= same


def test_auto_reports_the_lesser_of_the_sign_and_the_vector():
    found = spend(signs(0.05, 1.0, 500))
    assert (found.accountant, found.is_upper_bound) == ("sign", True)
    assert found.epsilon == epsilon(signs(0.05, 1.0, 500), accountant="sign")
    vector = spend(release(0.05, 1.0, 500))
    assert vector.accountant == "pld"
    assert found.epsilon < 0.85 * vector.epsilon
    one = spend(signs(0.05, 1.0, 1))
    assert (one.accountant, one.epsilon) == ("pld", epsilon(release(0.05, 1.0, 1)))


def test_orders_end_and_so_does_what_noise_saves():
    """What the conversion leaves of a divergence of 0, at the last order."""
    floor = math.log1p(-1 / MOST_ORDER) - math.log(1e-5 * MOST_ORDER) / (MOST_ORDER - 1)
    assert floor == pytest.approx(0.0195, abs=5e-5)
    assert epsilon(signs(1.0, 1e6, 1), accountant="sign") == pytest.approx(floor, rel=1e-6)
    assert spend(signs(1.0, 1e4, 1)).accountant == "pld"


def test_vectors_and_signs_compose():
    both = [signs(0.05, 1.0, 250), release(0.05, 1.0, 250)]
    found = epsilon(both, accountant="sign")
    of_signs = epsilon(signs(0.05, 1.0, 500), accountant="sign")
    of_vectors = epsilon(release(0.05, 1.0, 500), accountant="rdp")
    assert of_signs < found < of_vectors
    assert epsilon(both) <= found
    assert epsilon(both, accountant="rdp") == of_vectors


def test_a_target_is_met_and_is_cheaper_to_meet():
    b = noise_scale(signs(0.05, 1.0, 500), 3.0)
    assert 2.99 < epsilon(signs(0.05, b * 500, 500)) <= 3.0
    assert b < noise_scale(release(0.05, 1.0, 500), 3.0)
    steps = max_steps(signs(0.05, 1.0, 500), 3.0, accountant="sign")
    assert epsilon(signs(0.05, 1.0, steps), accountant="sign") <= 3.0
    assert epsilon(signs(0.05, 1.0, steps + 1), accountant="sign") > 3.0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "messages that are no signs"),
        ({"message": "sign", "noise": "laplace"}, "laplace noise"),
        ({"message": "sign", "adjacency": "replace-one"}, "adjacency 'replace-one'"),
    ],
)
def test_it_speaks_of_nothing_that_is_not_proven(fields, reason):
    r = release(0.05, 1.0, 500, **fields)
    with pytest.raises(SpecError, match=f"^accountant: sign does not support {reason}"):
        epsilon(r, accountant="sign")
    assert spend(r).accountant == "pld"


def test_whole_workers_are_covered_sampled_or_not():
    for rate in (None, 0.1):
        r = Release(
            noise_scale=5.0, clip_norm=1.0, steps=200, unit="worker", worker_sampling_rate=rate,
            message="sign",
        )  # fmt: skip
        assert epsilon(r) == epsilon(signs(rate or 1.0, 5.0, 200))
        assert spend(r).accountant == "sign"


@pytest.mark.parametrize("sigma", [1e-140, 1e-6, 1e-2, 1e4, 1e140])
def test_extreme_noise_is_no_less_than_nothing_and_no_more_than_the_vectors(sigma):
    found = epsilon(signs(1.0, sigma, 10), accountant="sign")
    assert found >= 0
    moments = _log_moments(Mechanism("gaussian", sigma, 1.0, False, "sign"), 10)
    i = np.arange(2, 11)
    assert (moments <= i * (i - 1) / 2 / sigma**2 * (1 + 1e-12)).all()
    assert (moments > 0).all() or sigma > 1e100
