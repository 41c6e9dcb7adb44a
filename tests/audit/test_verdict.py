"""Verdicts on trials whose law is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from privrobust.audit.trade_offs import Gaussian
from privrobust.audit.trials import Trials
from privrobust.audit.verdict import judge
from privrobust.errors import SpecError

RARE = 1e-6


def gaussian_trials(rng, count, mu, steps=3, parts=2, per_run=1):
    """Tell N(0, 1) from N(mu, 1), spread over steps."""
    included = rng.random(count) < 0.5
    amplitudes = np.full((count, steps), mu / math.sqrt(steps))
    values = rng.normal(size=(count, steps, parts))
    values[:, :, 0] += included[:, None] * amplitudes
    return Trials.of(
        values,
        parts=np.zeros(count, int),
        amplitudes=amplitudes,
        included=included,
        rates=np.ones(count),
        noise_scale=1.0,
        law="gaussian",
        per_run=per_run,
    )


def test_sound_claim_is_refuted_no_more_often_than_stated():
    audits, confidence, delta, mu = 150, 0.9, 1e-3, 1.0
    epsilon, claimed = Gaussian(mu).epsilon(delta), Gaussian(mu)
    wrong = np.zeros(3, int)
    for seed in range(audits):
        rng = np.random.default_rng(seed)
        trials = gaussian_trials(rng, 400, mu, per_run=1 + seed % 2)
        found = judge(trials, delta, confidence, claimed, rng)
        wrong += (
            found.p_value < 1 - confidence,
            found.proven.epsilon_lower_bound > epsilon,
            found.if_gaussian.epsilon_lower_bound > epsilon,
        )
    assert (wrong <= binom.isf(RARE, audits, 1 - confidence)).all()


# one run cannot reject as surely as many: its bound is on a sum of tails, not on a count
@pytest.mark.parametrize(("per_run", "rare"), [(1, RARE), (100, 1e-2)])
def test_claim_of_half_the_noise_is_refuted(per_run, rare):
    rng = np.random.default_rng(1)
    found = judge(gaussian_trials(rng, 4000, 2.0, per_run=per_run), 1e-5, 0.95, Gaussian(1.0), rng)
    assert found.p_value < rare
    assert 0.6 * 9.99 < found.if_gaussian.epsilon_lower_bound < 9.99  # epsilon of mu = 2 at 1e-5


def test_noise_that_cancels_between_workers_is_found_by_the_difference():
    rng = np.random.default_rng(2)
    trials = gaussian_trials(rng, 300, 0.1)
    shared = (
        trials.values - trials.included[:, None, None] * np.array([1, 0]) * trials.amplitudes[0, 0]
    )
    shared[:, :, 1] = shared[:, :, 0]
    shared[:, :, 0] += trials.included[:, None] * trials.amplitudes
    found = judge(replace(trials, values=shared), 1e-5, 0.95, Gaussian(0.1), rng)
    assert found.p_value < RARE
    assert "differences between workers" in found.attack


def test_values_that_are_not_finite_tell():
    rng = np.random.default_rng(3)
    trials = gaussian_trials(rng, 300, 0.01)
    values = np.where(trials.included[:, None, None], np.nan, trials.values)
    seen = Trials.of(
        values,
        parts=trials.parts,
        amplitudes=trials.amplitudes,
        included=trials.included,
        rates=trials.rates,
    )
    found = judge(seen, 1e-5, 0.95, Gaussian(0.1), rng)
    assert found.p_value < RARE


def test_huge_and_constant_values_break_nothing():
    rng = np.random.default_rng(4)
    trials = gaussian_trials(rng, 300, 1.0)
    for values in (trials.values * 1e200, trials.values * 0.0, trials.values * 0.0 + 7.0):
        seen = replace(trials, values=values, noise_scale=0.0)
        found = judge(seen, 1e-5, 0.95, Gaussian(2.0), rng)
        assert 0 <= found.proven.epsilon_lower_bound < 10


def test_too_few_trials_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(SpecError, match=r"^runs: 99 canaries in all; accepted: at least 100$"):
        judge(gaussian_trials(rng, 99, 1.0), 1e-5, 0.95, None, rng)
