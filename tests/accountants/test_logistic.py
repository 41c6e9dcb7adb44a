"""Logistic noise: its Rényi moments in closed form, and no exact divergence above the claim."""

import math
from dataclasses import replace
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_releases import release
from scipy import stats

from privrobust.accountants import Release, delta, epsilon, noise_scale, spend
from privrobust.errors import SpecError

WORKER = {"clip_norm": 1.0, "unit": "worker", "noise": "logistic"}


def log_moment(order, v):
    """log E[L^a] of one coordinate that is shifted by v, in 60 digits."""
    with mp.workdps(60):
        half = (2 * mp.mpf(order) - 1) / 2
        return mp.log(mp.sinh(half * v) / (2 * half * mp.sinh(mp.mpf(v) / 2)))


@pytest.mark.parametrize("order", [1.5, 2, 3, 7.3])
@pytest.mark.parametrize("v", [0.01, 0.7, 3.0])
def test_the_moment_is_the_integral_of_the_density(order, v):
    def density(x):
        return mp.sech(x / 2) ** 2 / 4

    with mp.workdps(30):
        found = mp.quad(
            lambda x: density(x - v) ** order * density(x) ** (1 - mp.mpf(order)),
            [-mp.inf, -20, 0, v, v + 20, mp.inf],
        )
        assert abs(mp.log(found) - log_moment(order, v)) < 1e-12


@given(order=st.floats(1.0001, 1000), v=st.floats(1e-6, 100), share=st.floats(0.001, 1))
def test_the_moment_is_at_most_that_of_gaussian_noise_of_root_3(order, v, share):
    """Concave in v^2 as well: a shift tells the more, the more coordinates it is spread over."""
    with mp.workdps(60):
        whole = log_moment(order, v)
        assert whole <= mp.mpf(order) * (mp.mpf(order) - 1) * mp.mpf(v) ** 2 / 6
        part = log_moment(order, v * mp.sqrt(share)) / share
        assert whole <= part * (1 + mp.mpf(10) ** -20)


def test_the_constant_is_the_best_for_many_coordinates():
    spread = log_moment(5, 1 / mp.sqrt(10**6)) * 10**6
    assert float(spread) == pytest.approx(5 * 4 / 6, rel=1e-5)


def cells(sigma, count=60):
    """Probabilities of cells without the unit, and how much likelier they are with it."""
    ends = stats.logistic.ppf(np.linspace(0, 1, count + 1))
    far = 12.0  # tails of their own
    ends = np.unique(np.concatenate([ends, [-far, far, far + 1 / sigma]]))
    without = np.diff(stats.logistic.cdf(ends))
    # of the upper half by the other tail: no difference of numbers next to 1
    within = np.where(
        ends[:-1] > 1 / sigma,
        -np.diff(stats.logistic.sf(ends - 1 / sigma)),
        np.diff(stats.logistic.cdf(ends - 1 / sigma)),
    )
    return without, within


def hockey_stick(p, q, epsilon, steps):
    """E[(1 - e^(epsilon - L))^+] under p of so many independent cells: exact, by enumeration."""
    joint_p, joint_q = np.ones(1), np.ones(1)
    for _ in range(steps):
        joint_p, joint_q = np.outer(joint_p, p).ravel(), np.outer(joint_q, q).ravel()
    return float(np.maximum(joint_p - math.exp(epsilon) * joint_q, 0).sum())


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(("sigma", "q"), list(product([0.3, 0.7, 1.5, 5.0], [0.05, 0.3, 0.8, 1.0])))
def test_no_exact_divergence_is_above_the_claim(sigma, q, steps):
    """Of a coarser view of one coordinate, in both directions: less than what is sent tells."""
    without, within = cells(sigma)
    mixture = (1 - q) * without + q * within
    of = release(q, sigma, steps, noise="logistic")
    for at in (0.1, 0.5, 1.0, 2.0, 4.0):
        claimed = delta(of, at)
        assert hockey_stick(mixture, without, at, steps) <= claimed
        assert hockey_stick(without, mixture, at, steps) <= claimed


@pytest.mark.parametrize(("sigma", "q"), list(product([0.4, 1.0, 2.5], [0.1, 0.5, 1.0])))
def test_nor_of_two_coordinates_that_share_the_shift(sigma, q):
    without, within = cells(sigma * math.sqrt(2))
    unmoved, moved = (np.outer(each, each).ravel() for each in (without, within))
    mixture = (1 - q) * unmoved + q * moved
    for at in (0.1, 0.5, 1.0, 2.0, 4.0):
        claimed = delta(release(q, sigma, 1, noise="logistic"), at)
        assert hockey_stick(mixture, unmoved, at, 1) <= claimed
        assert hockey_stick(unmoved, mixture, at, 1) <= claimed


def test_the_claim_is_not_empty():
    """Spread over many coordinates, losses are normal: those of Gaussian noise of root 3."""
    sigma, steps = 30.0, 200
    mu = math.sqrt(steps / 3) / sigma
    gaussian = epsilon(Release(noise_scale=1 / mu, clip_norm=1.0, unit="worker", steps=1))
    assert gaussian < epsilon(Release(noise_scale=sigma, steps=steps, **WORKER)) < 1.2 * gaussian


@pytest.mark.parametrize("q", [0.05, 1.0])
def test_it_is_charged_as_gaussian_noise_of_root_3_by_rdp(q):
    logistic = spend(release(q, 1.0, 100, noise="logistic"), 1e-6)
    gaussian = epsilon(release(q, math.sqrt(3), 100), 1e-6, "rdp")
    assert (logistic.accountant, logistic.is_upper_bound) == ("rdp", True)
    assert gaussian * (1 - 1e-12) <= logistic.epsilon < 1.05 * gaussian  # of whole orders alone


def test_steps_of_other_laws_compose_with_it():
    logistic = Release(noise_scale=3.0, steps=10, **WORKER)
    gaussian = Release(noise_scale=3.0, steps=10, clip_norm=1.0, unit="worker")
    both = spend([logistic, gaussian], 1e-5)
    assert both.accountant == "rdp"
    as_one = replace(gaussian, noise_scale=3 * math.sqrt(0.75))  # 1/3 + 1 of 1 / sigma^2
    assert both.epsilon == pytest.approx(epsilon(as_one, 1e-5, "rdp"), rel=1e-9)


def test_b_is_found_for_a_target_and_signs_are_charged_as_vectors():
    of = release(0.1, 1.0, 100, noise="logistic")
    b = noise_scale(of, 2.0)
    assert 0.999 * 2 <= epsilon(release(0.1, b * 1000, 100, noise="logistic")) <= 2
    assert epsilon(release(0.1, 1.0, 100, noise="logistic", message="sign")) == epsilon(of)


@pytest.mark.parametrize("name", ["pld", "prv", "moments", "gdp", "strong", "basic"])
def test_others_refuse_it(name):
    with pytest.raises(SpecError, match=rf"^accountant: {name} does not support logistic noise"):
        epsilon(release(0.1, 1.0, 10, noise="logistic"), accountant=name)


def test_what_is_not_proven_is_refused():
    replaced = release(0.1, 1.0, 10, noise="logistic", adjacency="replace-one")
    with pytest.raises(SpecError, match="Poisson sampling of logistic noise"):
        epsilon(replaced)
    with pytest.raises(SpecError, match="sign does not support logistic noise"):
        epsilon(release(0.1, 1.0, 10, noise="logistic", message="sign"), accountant="sign")
    unsampled = release(1.0, 2.0, 10, noise="logistic", adjacency="replace-one")
    assert epsilon(unsampled) == epsilon(release(1.0, 1.0, 10, noise="logistic"))


def test_dp_accounting_vouches_for_nothing():
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    event = release(0.1, 1.0, 10, noise="logistic").dp_event()
    assert not any(accountant().supports(event) for accountant in (PLDAccountant, RdpAccountant))
