"""What pairs' noise hides: the published covariance, limits, and attacks that know secrets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privrobust.accountants import Release, effective_noise_scale, epsilon
from privrobust.accountants.gaussian import epsilon as gaussian_epsilon
from privrobust.errors import SpecError

DELTA = 1e-3


def covariance(b, r, workers):
    """That of Allouah et al. 2024: b^2 I and the pairs' variance times the graph's Laplacian."""
    laplacian = workers * np.eye(workers) - np.ones((workers, workers))
    return b**2 * np.eye(workers) + (r * b) ** 2 * laplacian


@pytest.mark.parametrize("workers", [1, 2, 7, 30])
@pytest.mark.parametrize("r", [0.0, 0.2, 1.0, 5.0])
def test_it_is_the_inverse_of_the_published_covariance(r, workers):
    """Their accountant takes the largest diagonal entry, for a divergence of 1/2 of it a unit."""
    entry = np.diag(np.linalg.inv(covariance(0.3, r, workers))).max()
    assert effective_noise_scale(0.3, r, workers) == pytest.approx(entry**-0.5, rel=1e-9)


@given(
    b=st.floats(1e-30, 1e30),
    r=st.floats(0, 1e50),
    hidden=st.integers(1, 10**6),
    more=st.floats(1, 9),
)
def test_it_is_between_a_message_alone_and_a_trusted_server(b, r, hidden, more):
    found = effective_noise_scale(b, r, hidden)
    assert b <= found <= b * math.sqrt(hidden)
    assert found * (1 - 1e-14) <= effective_noise_scale(b, r * more, hidden)
    assert found <= effective_noise_scale(b, r, hidden + 1) * (1 + 1e-14)
    assert found == pytest.approx(b * math.sqrt((1 + hidden * r**2) / (1 + r**2)))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"noise_scale": -1.0}, "noise_scale: -1"),
        ({"noise_scale": math.nan}, "noise_scale: nan"),
        ({"pairwise_noise": math.inf}, "pairwise_noise: inf"),
        ({"pairwise_noise": -0.1}, "pairwise_noise: -0.1"),
        ({"hidden": 0}, "hidden: 0"),
        ({"hidden": 1.5}, "hidden: 1.5"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, problem):
    usual = {"noise_scale": 1.0, "pairwise_noise": 1.0, "hidden": 3}
    with pytest.raises(SpecError, match=f"^{problem}"):
        effective_noise_scale(**usual | settings)


def certified(seen, unseen, trials):
    """Epsilon from below, of an event's counts with and without the unit (Clopper and Pearson).

    The claim is broken by chance once in 10^6.
    """
    low = stats.beta.ppf(5e-7, seen, trials - seen + 1) if seen else 0.0
    high = stats.beta.ppf(1 - 5e-7, unseen + 1, trials - unseen)
    return math.log(max(low - DELTA, 1e-300) / high)


@pytest.mark.parametrize("colluding", [0, 2])
def test_an_observer_with_secrets_gets_out_what_is_claimed_and_no_more(colluding):
    """Pairs drawn one by one, a likelihood ratio of all messages less what colluders know.

    A claim that forgets the colluders is refuted; ours is not, and is nearly reached.
    """
    b, r, workers, trials = 0.9, 2.0, 6, 1_000_000
    hidden = workers - colluding
    generator = np.random.default_rng(colluding)
    log_ratio = np.empty((2, trials))
    precision = np.linalg.inv(covariance(b, r, hidden))
    for world in (0, 1):  # worker 0 sends 0, or 1
        messages = b * generator.standard_normal((hidden, trials))
        messages[0] += world
        for one in range(hidden):
            for other in range(one + 1, hidden):
                shared = r * b * generator.standard_normal(trials)
                messages[one] += shared
                messages[other] -= shared
        log_ratio[world] = precision[0] @ messages - precision[0, 0] / 2

    def claimed(trusted):
        scale = effective_noise_scale(b, r, trusted)
        return epsilon(Release(noise_scale=scale, clip_norm=1.0, unit="worker", steps=1), DELTA)

    best = 0.0
    for cut in np.linspace(0.5, 1.2, 8) * claimed(hidden):
        counts = (log_ratio > cut).sum(axis=1)
        best = max(best, certified(int(counts[1]), int(counts[0]), trials))
    assert 0.75 * claimed(hidden) < best <= claimed(hidden)
    if colluding:
        assert best > claimed(workers)


def test_steps_and_sampling_are_those_of_one_message():
    scale = effective_noise_scale(2.0, 1.0, 9)
    worker = Release(noise_scale=scale, clip_norm=1.0, unit="worker", steps=50)
    assert epsilon(worker, 1e-5) == pytest.approx(
        gaussian_epsilon(2.0 * math.sqrt(5) / math.sqrt(50), 1e-5), rel=1e-6
    )
