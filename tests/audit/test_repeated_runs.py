"""Bounds from many runs: published values, exact false-alarm rates, thresholds from the scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from privrobust.audit import (
    Detections,
    Gaussian,
    best_of,
    clopper_pearson_bound,
    detect_above,
    detect_at_ranks,
    each_confidence,
    gaussian_bound,
    one_run_bound,
)
from privrobust.errors import SpecError


@pytest.mark.parametrize(
    ("delta", "epsilon"),
    [(0, 3.932504345578566), (1e-5, 3.9324936458656174), (1e-2, 3.9217470369420995)],
)
def test_the_bound_is_that_of_jax_privacy(delta, epsilon):
    """8967688 (2026-08-20): CanaryScoreAuditor of 950 of 1000 and 10 of 1000 scores at 1.

    `_epsilon_clopper_pearson_all_thresholds(0.05, delta, False, 0.5)`.
    """
    bound = clopper_pearson_bound(Detections(1000, 950, 1000, 10), delta)
    assert bound.epsilon_lower_bound == pytest.approx(epsilon, rel=1e-12)


def limits(seen, confidence):
    """By scipy's two-sided interval, whose ends leave out (1 - confidence) / 2 each."""
    missed = binomtest(seen.runs_with - seen.true_positives, seen.runs_with)
    false = binomtest(seen.false_positives, seen.runs_without)
    return [each.proportion_ci(confidence, "exact").high for each in (false, missed)]


detections = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
    lambda runs: st.builds(
        Detections,
        st.just(runs[0]),
        st.integers(0, runs[0]),
        st.just(runs[1]),
        st.integers(0, runs[1]),
    )
)


@given(detections, st.floats(0.5, 0.99), st.sampled_from([1e-9, 1e-5, 0.1]))
def test_bounds_are_those_of_the_limits(seen, confidence, delta):
    false, missed = limits(seen, confidence)
    ratios = [(1 - missed - delta) / false, (1 - false - delta) / missed, 1]
    bound = clopper_pearson_bound(seen, delta, confidence).epsilon_lower_bound
    assert bound == pytest.approx(math.log(max(ratios)), abs=1e-9)
    mu = max(0.0, norm.isf(false) - norm.ppf(missed))
    found = gaussian_bound(seen, delta, confidence)
    assert found.mu == pytest.approx(mu, abs=1e-9)
    assert found.epsilon_lower_bound == pytest.approx(Gaussian(mu).epsilon(delta) if mu else 0.0)


@given(detections)
def test_more_evidence_never_lowers_a_bound(seen):
    better = []
    if seen.true_positives < seen.runs_with:
        better.append(Detections(**{**vars(seen), "true_positives": seen.true_positives + 1}))
    for bound in (clopper_pearson_bound, gaussian_bound):
        value = bound(seen, 1e-5).epsilon_lower_bound
        assert bound(seen, 1e-5, 0.99).epsilon_lower_bound <= value
        assert bound(seen, 1e-3).epsilon_lower_bound <= value
        if bound is gaussian_bound:  # of the other, the ratio of the misses may be the larger one
            for each in better:
                assert bound(each, 1e-5).epsilon_lower_bound >= value


@pytest.mark.parametrize("n", [12, 50])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_rate_of_bounds_above_the_truth_is_at_most_the_stated_one(n, epsilon, confidence):
    """Of randomised response, summed over every pair of counts."""
    right = 1 / (1 + math.exp(-epsilon))
    law = np.outer(binom.pmf(range(n + 1), n, right), binom.pmf(range(n + 1), n, 1 - right))
    wrong = [
        [
            clopper_pearson_bound(Detections(n, hits, n, false), 0, confidence).epsilon_lower_bound
            > epsilon
            for false in range(n + 1)
        ]
        for hits in range(n + 1)
    ]
    assert law[np.array(wrong)].sum() <= 1 - confidence + 1e-6


def test_many_runs_get_near_the_truth():
    hits, false = (round(1e6 * each) for each in (norm.sf(0.5 - 1), norm.sf(0.5)))
    seen = Detections(10**6, hits, 10**6, false)
    assert 0.99 < gaussian_bound(seen, 1e-5).mu < 1
    right = round(1e6 / (1 + math.exp(-2)))
    seen = Detections(10**6, right, 10**6, 10**6 - right)
    assert 1.98 < clopper_pearson_bound(seen, 0).epsilon_lower_bound < 2


def test_thresholds_are_ranks_of_the_scores_without_the_canary():
    seen = detect_at_ranks([0.5, 9.5, 20.0], list(range(10)))
    counts = [(each.false_positives, each.true_positives) for each in seen]
    assert counts == [(0, 2), (1, 2), (2, 2), (4, 2), (5, 2), (7, 2), (8, 2), (9, 3)]
    ties = detect_at_ranks([1.0, 1.0], [1.0, 1.0])
    assert {each.true_positives for each in ties} == {0}
    assert [each.false_positives for each in detect_at_ranks([1.0], [0.0])] == [0]


@pytest.mark.parametrize("bound", [clopper_pearson_bound, gaussian_bound])
@pytest.mark.parametrize("decimals", [None, 0])
def test_the_best_threshold_of_the_scores_keeps_the_stated_rate(bound, decimals):
    """Of 1000 audits of mu = 1, 40 runs each way; rounded scores have ties. At 50 %."""
    mu, tries, generator = 1.0, 1000, np.random.default_rng(1934)
    truth = Gaussian(mu).epsilon(0.05)
    wrong = 0
    for _ in range(tries):
        inside, outside = generator.normal(mu, size=40), generator.normal(size=40)
        if decimals is not None:
            inside, outside = inside.round(decimals), outside.round(decimals)
        best = best_of(
            detect_at_ranks(inside, outside), lambda seen, level: bound(seen, 0.05, level), 0.5
        )
        wrong += best.epsilon_lower_bound > truth
    assert wrong / tries <= 0.5
    assert best.confidence == 0.5
    assert best.tests == 12


def test_one_rank_alone_errs_exactly_as_often_as_is_stated():
    """The proof in `detect_at_ranks`: at a rank of continuous scores the limit is exact.

    Runs with the canary are so many, and so high, that only false positives can go wrong.
    """
    tries, n, rank, alpha = 4000, 20, 2, 0.2
    scores = np.sort(np.random.default_rng(3).normal(size=(tries, n)))[:, ::-1]
    rates = norm.sf(scores[:, rank])  # the true false positive rates of these thresholds
    limit = limits(Detections(1, 1, n, rank), 1 - 2 * alpha)[0]
    assert (rates > limit).mean() == pytest.approx(alpha, abs=0.02)


def test_thresholds_chosen_before():
    assert detect_above([1, 2, 3], [0, 1, 2, 3], 1) == Detections(3, 2, 4, 2)


def test_a_table_is_corrected_for_its_cells():
    assert each_confidence(0.95, 1) == 0.95
    assert each_confidence(0.9, 50) == pytest.approx(0.998)
    seen = Detections(100, 90, 100, 5)
    best = best_of([seen, seen], lambda each, level: clopper_pearson_bound(each, 0, level), 0.95)
    alone = clopper_pearson_bound(seen, 0, 0.975)
    assert best.epsilon_lower_bound == alone.epsilon_lower_bound
    assert (best.confidence, best.tests) == (0.95, 2)
    assert (alone.estimator, alone.observed) == ("clopper_pearson", seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Detections(0, 0, 1, 0), "runs_with: 0 is not a whole number of at least 1"),
        (lambda: Detections(5, 6, 5, 0), "true_positives: 6 is not .* 0 to 5, the runs_with"),
        (lambda: Detections(5, 5, 5, -1), "false_positives: -1 is not .*, the runs_without"),
        (lambda: Detections(5, 5, 5, 0.5), "false_positives: 0.5 is not a whole number"),
        (lambda: detect_above([math.nan], [1], 0), "with_canary: nan at 0 is not a number"),
        (lambda: detect_above([1], [1], math.nan), "threshold: nan is not a finite number"),
        (lambda: detect_at_ranks([1], []), "without_canary: .. is not a list of numbers"),
        (lambda: detect_at_ranks([1], [[1]]), "without_canary: ..1.. is not a list of numbers"),
        (lambda: clopper_pearson_bound(Detections(1, 1, 1, 1), math.nan), "delta: nan is not"),
        (lambda: clopper_pearson_bound(Detections(1, 1, 1, 1), 0, 95), "confidence: 95 is not"),
        (lambda: gaussian_bound(Detections(1, 1, 1, 1), 0), "delta: 0 is not a number between"),
        (lambda: each_confidence(0.95, 0), "tests: 0 is not a whole number from 1 up"),
        (lambda: best_of([], one_run_bound), "observed: .. is not at least one observation"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(SpecError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
