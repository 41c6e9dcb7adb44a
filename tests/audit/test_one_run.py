"""Bounds from one run: published values, closed forms, and never above a truth that is known."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from exact import p_value_of_appendix_d, right_of_gaussian, right_of_randomised_response, tail
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from privrobust.accountants import Release, spend
from privrobust.audit import (
    Claim,
    Gaussian,
    Guesses,
    claim,
    f_dp_bound,
    f_dp_p_value,
    guess_by_score,
    one_run_bound,
    one_run_p_value,
)
from privrobust.errors import SpecError

# (m, r, v, delta): epsilon by one run, and by its f-DP version, at 95 %. Said by jax_privacy
# 8967688 (2026-08-20), whose searches end within 1e-6:
#   auditing._epsilon_one_run(0, m, r, v, 0.05, delta)
#   auditing._epsilon_one_run_fdp(0, m, r, v, 0.05, delta)
OF_JAX_PRIVACY = [
    (1000, 1000, 600, 1e-5, 0.2972269575896597, 0.5835403679239116),
    (1000, 1000, 800, 1e-5, 1.2539840913064186, 2.3332435930207667),
    (1000, 100, 95, 1e-5, 2.165175787875041, 3.3233004900323655),
    (1000, 100, 100, 1e-5, 3.465376229385333, 5.5490279999429415),
    (5000, 500, 450, 1e-5, 1.9414204321527775, 2.77606619765971),
    (100, 100, 100, 1e-3, 3.2023036589618576, 6.148632040078759),
    (10000, 10000, 7000, 1e-6, 0.8111945193038356, 1.5656008743831304),
]


@pytest.mark.parametrize(("m", "r", "v", "delta", "plain", "f_dp"), OF_JAX_PRIVACY)
def test_bounds_are_those_of_jax_privacy(m, r, v, delta, plain, f_dp):
    seen = Guesses(m, r, v)
    assert one_run_bound(seen, delta).epsilon_lower_bound == pytest.approx(plain, abs=2e-6)
    assert f_dp_bound(seen, delta).epsilon_lower_bound == pytest.approx(f_dp, abs=2e-6)


@pytest.mark.parametrize("m", [1, 5, 20, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_all_right_has_a_closed_form(m, confidence):
    """Every guess is right with probability q^m, which is to be 1 - confidence."""
    bound = one_run_bound(Guesses(m, m, m), 0, confidence).epsilon_lower_bound
    q = (1 - confidence) ** (1 / m)
    assert bound == pytest.approx(max(0.0, math.log(q / (1 - q))), abs=1e-8)


counts = st.integers(1, 80).flatmap(
    lambda m: st.integers(0, m).flatmap(lambda r: st.integers(0, r).map(lambda v: Guesses(m, r, v)))
)
epsilons = st.floats(0, 8)
deltas = st.sampled_from([0.0, 1e-9, 1e-5, 1e-2, 0.3])


@given(counts, epsilons, deltas)
def test_p_values_are_the_theorems(seen, epsilon, delta):
    theirs = p_value_of_appendix_d(seen.canaries, seen.guesses, seen.correct, epsilon, delta)
    assert one_run_p_value(seen, epsilon, delta) == pytest.approx(theirs, rel=1e-9, abs=1e-14)


def test_p_values_of_many_guesses_are_the_theorems():
    """Where only part of the sum is looked at."""
    for v, epsilon in [(5200, 0.0), (5200, 0.06), (5200, 0.5), (9000, 2.0), (300, 1.0)]:
        ours = one_run_p_value(Guesses(10000, 10000, v), epsilon, 1e-6)
        theirs = p_value_of_appendix_d(10000, 10000, v, epsilon, 1e-6)
        assert ours == pytest.approx(theirs, rel=1e-9)


@given(counts, epsilons, deltas)
def test_randomised_response_is_not_rejected_too_often(seen, epsilon, delta):
    """It has a law: so many right guesses or more are at most as likely as is claimed."""
    chance = tail(seen.correct, seen.guesses, right_of_randomised_response(epsilon, delta))
    assert one_run_p_value(seen, epsilon, delta) >= chance - 1e-9
    assert f_dp_p_value(seen, Claim([(epsilon, delta)])) >= chance - 1e-9


@given(counts, epsilons, deltas)
def test_a_run_that_reveals_all_with_probability_delta_is_not_rejected_too_often(
    seen, epsilon, delta
):
    chance = tail(seen.correct, seen.guesses, right_of_randomised_response(epsilon))
    chance = delta + (1 - delta) * chance
    assert one_run_p_value(seen, epsilon, delta) >= chance - 1e-9
    assert f_dp_p_value(seen, Claim([(epsilon, delta)])) >= chance - 1e-9


@given(counts, st.floats(0.01, 6))
def test_a_gaussian_mechanism_is_not_rejected_too_often(seen, mu):
    chance = tail(seen.correct, seen.guesses, right_of_gaussian(mu))
    assert f_dp_p_value(seen, Gaussian(mu)) >= chance - 1e-9


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("m", "truth"), [(7, 0.3), (40, 1.0), (40, 3.0), (300, 0.5)])
def test_the_rate_of_bounds_above_the_truth_is_at_most_the_stated_one(m, truth, confidence):
    """Summed over every outcome, not sampled."""
    outcomes = range(m + 1)
    seen = [Guesses(m, m, v) for v in outcomes]
    wrong = [one_run_bound(each, 0, confidence).epsilon_lower_bound > truth for each in seen]
    law = binom.pmf(outcomes, m, right_of_randomised_response(truth))
    rate = law[wrong].sum()
    assert rate <= 1 - confidence + 1e-6
    assert rate + law[np.argmax(wrong) - 1] > 1 - confidence  # at delta 0 it is exact
    wrong = [f_dp_bound(each, 1e-5, confidence).mu > truth for each in seen]
    assert binom.pmf(outcomes, m, right_of_gaussian(truth))[wrong].sum() <= 1 - confidence + 1e-6


def test_abstaining_by_scores_keeps_the_stated_rate():
    """2000 Gaussian mechanisms, drawn: the least count that is wrong is rarely reached."""
    m, k, mu, alpha, tries = 200, 20, 1.0, 0.05, 2000
    generator = np.random.default_rng(20230515)
    included = generator.random((tries, m)) < 0.5
    scores = generator.normal(size=(tries, m)) + mu * included
    right = [
        guess_by_score(each, was_in, k, k).correct
        for each, was_in in zip(scores, included, strict=True)
    ]
    wrong = {v for v in range(2 * k + 1) if f_dp_bound(Guesses(m, 2 * k, v), 1e-5).mu > mu}
    epsilon = Gaussian(mu).epsilon(1e-5)
    wrong_plain = {
        v
        for v in range(2 * k + 1)
        if one_run_bound(Guesses(m, 2 * k, v), 1e-5).epsilon_lower_bound > epsilon
    }
    assert wrong_plain <= wrong
    rate = np.isin(right, sorted(wrong)).mean()
    assert rate <= alpha + 3 * math.sqrt(alpha / tries)


def test_many_canaries_get_near_the_truth():
    """Of randomised response nearly all of epsilon; of a Gaussian mechanism, most of mu."""
    for epsilon in (0.5, 2.0, 5.0):
        expected = int(20_000 * right_of_randomised_response(epsilon))
        bound = one_run_bound(Guesses(20_000, 20_000, expected), 0).epsilon_lower_bound
        assert 0.94 * epsilon < bound < epsilon
    generator = np.random.default_rng(7)
    included = generator.random(20_000) < 0.5
    seen = guess_by_score(generator.normal(size=20_000) + included, included, 300, 300)
    assert 0.65 < f_dp_bound(seen, 1e-5).mu < 1
    truth = Gaussian(1.0).epsilon(1e-5)
    plain = one_run_bound(seen, 1e-5).epsilon_lower_bound
    assert 0.4 * truth < plain < f_dp_bound(seen, 1e-5).epsilon_lower_bound < truth


@settings(max_examples=50)
@given(counts, st.sampled_from([1e-9, 1e-5, 1e-2]), st.floats(0.5, 0.99))
def test_more_evidence_never_lowers_a_bound(seen, delta, confidence):
    for bound in (one_run_bound, f_dp_bound):
        value = bound(seen, delta, confidence).epsilon_lower_bound
        if seen.correct < seen.guesses:
            more = Guesses(seen.canaries, seen.guesses, seen.correct + 1)
            assert bound(more, delta, confidence).epsilon_lower_bound >= value
            fewer = Guesses(seen.canaries, seen.guesses - 1, seen.correct)
            assert bound(fewer, delta, confidence).epsilon_lower_bound >= value - 1e-8
        surer = bound(seen, delta, (1 + confidence) / 2).epsilon_lower_bound
        assert surer <= value
        assert bound(seen, 2 * delta, confidence).epsilon_lower_bound <= value + 1e-8


def test_p_values_and_bounds_agree():
    seen = Guesses(1000, 100, 95)
    bound = one_run_bound(seen, 1e-5).epsilon_lower_bound
    assert one_run_p_value(seen, bound, 1e-5) == pytest.approx(0.05, rel=1e-6)
    assert f_dp_p_value(seen, Gaussian(f_dp_bound(seen, 1e-5).mu)) == pytest.approx(0.05, rel=1e-6)


@given(st.floats(0.05, 5), st.floats(1e-6, 1 - 1e-6))
def test_gaussian_trade_offs_are_symmetric_and_a_normal_test(mu, x):
    least = Gaussian(mu).least_false_positives(x)
    threshold = norm.isf(x, loc=mu)  # above it, of N(mu, 1), is x
    assert least == pytest.approx(norm.sf(threshold), rel=1e-6)
    if least > 1e-6:  # where 1 - least still holds enough of its digits
        assert Gaussian(mu).least_false_positives(1 - least) == pytest.approx(1 - x, rel=1e-6)


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (6.0, 9)])
def test_the_curve_of_unsampled_noise_is_the_gaussian_trade_off(sigma, steps):
    claimed = claim(Release(noise_scale=sigma, clip_norm=1.0, unit="worker", steps=steps))
    exact = Gaussian(math.sqrt(steps) / sigma)
    for x in (1e-3, 0.05, 0.3, 0.7, 0.99):
        value = claimed.least_false_positives(x)
        assert exact.least_false_positives(x) * 0.97 <= value
        assert value <= exact.least_false_positives(x) * (1 + 1e-9)
    assert claimed.epsilon(1e-5) == pytest.approx(exact.epsilon(1e-5), rel=1e-9)


def test_a_sampled_claim_is_tested_as_a_whole():
    """What it claims at every delta is rejected by fewer right guesses than at one."""
    release = Release(
        noise_scale=2.0, clip_norm=1.0, batch_size=1.0, sampling_rate=0.01, steps=1000
    )
    claimed, seen = claim(release, accountant="pld"), Guesses(1000, 100, 72)
    at_one = Claim([(spend(release).epsilon, 1e-5)])
    assert f_dp_p_value(seen, claimed) < 0.05 < f_dp_p_value(seen, at_one)
    family = f_dp_bound(seen, 1e-5, family=lambda x: Claim([(e * x, d) for e, d in claimed.points]))
    assert family.mu is None
    assert family.epsilon_lower_bound > claimed.epsilon(1e-5)


def test_the_page_on_audits_says_what_is_found():
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    *_, example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(example, names)
    truth = Gaussian(2).epsilon(1e-5)
    assert round(truth, 1) == 10.0
    assert round(names["found"].epsilon_lower_bound, 1) == 5.5
    assert round(names["plain"].epsilon_lower_bound, 1) == 3.4


def test_scores_at_both_ends_are_guessed_about():
    scores = [5, -3, 0.5, 4, -9, 0.1]
    included = np.array([True, False, True, False, True, False])
    assert guess_by_score(scores, included, 2, 2) == Guesses(6, 4, 2)
    assert guess_by_score(scores, included, 1, 0) == Guesses(6, 1, 1)
    assert guess_by_score([math.inf, -math.inf], [True, False], 1, 1) == Guesses(2, 2, 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12), st.data())
def test_ties_never_help(canaries, data):
    """At most what any order of equal scores gives, and the same in whatever order they come."""
    high = data.draw(st.integers(0, len(canaries)))
    low = data.draw(st.integers(0, len(canaries) - high))
    scores, included = map(np.array, zip(*canaries, strict=True))
    seen = guess_by_score(scores, included, high, low)
    order = np.array(data.draw(st.permutations(range(len(canaries)))))
    assert guess_by_score(scores[order], included[order], high, low) == seen
    by_index = included[order][np.argsort(scores[order], kind="stable")]
    right = by_index[len(by_index) - high :].sum() + (~by_index[:low]).sum()
    assert seen.correct <= right


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Guesses(2.5, 1, 1), "canaries: 2.5 is not a whole number of at least 1"),
        (lambda: Guesses(0, 0, 0), "canaries: 0 is not"),
        (lambda: Guesses(9, 10, 1), "guesses: 10 is not a whole number from 0 to 9, the canaries"),
        (lambda: Guesses(9, 5, 6), "correct: 6 is not a whole number from 0 to 5, the guesses"),
        (lambda: Guesses(9, 5, True), "correct: true is not"),
        (lambda: guess_by_score([1, math.nan], [True, False], 1, 0), "scores: nan at 1 is not"),
        (lambda: guess_by_score([], [], 0, 0), "scores: .. is not a list of numbers"),
        (lambda: guess_by_score(["a"], [True], 1, 0), "scores: .'a'. is not a list of numbers"),
        (lambda: guess_by_score([1, 2], [1, 0], 1, 0), "included: .1, 0. is not a list of 2 truth"),
        (lambda: guess_by_score([1, 2], [True], 1, 0), "included: .True. is not a list of 2 truth"),
        (lambda: guess_by_score([1, 2], [True] * 2, 2, 1), "said_out: 1 is not .* 0 to 0"),
        (lambda: one_run_bound(Guesses(9, 5, 5), 1.0), "delta: 1.0 is not a number from 0 up"),
        (lambda: one_run_bound(Guesses(9, 5, 5), -1e-9), "delta: -1e-09 is not"),
        (lambda: one_run_bound(Guesses(9, 5, 5), 0, 1), "confidence: 1 is not a number between"),
        (lambda: one_run_p_value(Guesses(9, 5, 5), math.nan, 0), "epsilon: nan is not"),
        (lambda: f_dp_bound(Guesses(9, 5, 5), 0), "delta: 0 is not a number between 0 and 1"),
        (lambda: f_dp_bound(Guesses(9, 5, 5), 0.1, 0.0), "confidence: 0.0 is not"),
        (lambda: Gaussian(-1), "mu: -1 is not a finite number above 0"),
        (lambda: Claim([(1.0, 2.0)]), "points: .1.0, 2.0. is not a pair"),
        (lambda: Claim([]), "points: .. is not at least one pair"),
        (lambda: Claim([(1.0, 0.1)]).epsilon(0.2), "delta: 0.2 is not a delta of the claim"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(SpecError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
