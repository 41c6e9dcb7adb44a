"""Differences seed by seed, against SciPy; which may be best, by how often that is wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import row, stored, with_failure
from scipy import stats

from privrobust.reporting.paired import by_seed, difference, estimate, leaders
from privrobust.reporting.robustness import Clean, Verdict, is_above, withstands


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
def test_a_difference_is_a_paired_test(pairs):
    one, other = (dict(enumerate(values)) for values in zip(*pairs, strict=True))
    found = difference(one, other)
    theirs = stats.ttest_rel(list(one.values()), list(other.values())).confidence_interval()
    if not math.isnan(theirs.low):  # as it is of differences that are all alike
        assert (found.low, found.high) == pytest.approx(theirs, abs=1e-9)
    assert found.seeds == len(pairs)


def test_a_difference_is_over_the_seeds_that_both_have():
    found = difference({0: 0.9, 1: 0.8, 2: 0.1}, {1: 0.4, 0: 0.5, 7: 0.9})
    assert (found.mean, found.half, found.seeds) == (0.4, 0.0, 2)
    assert math.isnan(difference({0: 1.0}, {1: 1.0}).mean)
    assert math.isnan(estimate([0.5]).half)


def test_a_cell_of_which_a_run_failed_or_lacks_a_metric_has_no_values():
    runs = stored([row(0.5 + seed / 10, seed=seed) for seed in range(3)])
    (values,) = by_seed(runs).values()
    assert values == {0: 0.5, 1: 0.6, 2: 0.7}
    assert by_seed(with_failure(runs, runs.index[1])) == {}
    assert by_seed(runs.assign(train_loss=np.nan), "train_loss") == {}


REPEATS = 2000


def at_most(chance):
    """So many of the repeats, exceeded with a probability of 1e-6 where that is the chance."""
    return stats.binom.isf(1e-6, REPEATS, chance)


def seeds_of(draw, means, spread=0.02):
    """A value of five seeds for each mean; what seeds share is larger than what they do not."""
    common = draw.normal(0, 0.1, 5)
    return [dict(enumerate(mean + common + draw.normal(0, spread, 5))) for mean in means]


@pytest.mark.parametrize("rivals", [1, 5])
def test_the_truly_best_is_seldom_left_out(rivals):
    """Hardest where all are alike: 2.5 % by the docstring, which any one of them stands for."""
    draw = np.random.default_rng(rivals)
    found = [leaders(dict(enumerate(seeds_of(draw, [0.5] * (rivals + 1))))) for _ in range(REPEATS)]
    assert sum(0 not in each for each in found) <= at_most(0.025)
    assert sum(len(each) > 1 for each in found) > 0.8 * REPEATS  # a test that can fail


def test_what_is_better_is_found_however_seeds_differ():
    """By 0.15 where pairs differ by 0.03 and unpaired seeds by 0.1."""
    draw = np.random.default_rng(5)
    found = [
        leaders(dict(zip("abc", seeds_of(draw, [0.5, 0.35, 0.2]), strict=True))) for _ in range(100)
    ]
    assert sum(each == ["a"] for each in found) > 90
    assert leaders({"a": {0: 0.9}, "b": {0: 0.1}}) == ["a", "b"]  # a single seed tells nothing
    assert leaders({"a": {0: 0.9}}) == ["a"]
    assert leaders({}) == []


@pytest.mark.parametrize("attacks", [1, 4])
def test_verdicts_at_the_border_are_seldom_wrong(attacks):
    """Exactly half is left under every attack: both verdicts are wrong, in 2.5 % at most each."""
    draw = np.random.default_rng(attacks)
    verdicts = []
    for _ in range(REPEATS):
        clean, *attacked = seeds_of(draw, [0.8] + [0.4] * attacks)
        verdicts.append(withstands(Clean(clean, clean, 0.01, 0.01), [(of, of) for of in attacked]))
    for verdict in (Verdict.HOLDS, Verdict.BREAKS):
        assert verdicts.count(verdict) <= at_most(0.025)


@pytest.mark.parametrize(
    ("left", "chance", "verdict"),
    [
        ([0.6, 0.61, 0.62], 0.1, Verdict.HOLDS),
        ([0.3, 0.31, 0.32], 0.1, Verdict.BREAKS),
        ([0.2, 0.4, 0.6], 0.1, Verdict.UNDECIDED),
        ([0.6, 0.61, 0.62], 0.7, Verdict.BREAKS),  # half is left, and chance is more
        ([0.6, 0.61, 0.62], 0.605, Verdict.UNDECIDED),
        ([0.6], 0.1, Verdict.UNDECIDED),
        ([], 0.1, Verdict.UNDECIDED),  # a run failed
    ],
)
def test_a_verdict_is_about_half_of_clean_and_chance(left, chance, verdict):
    clean = dict(enumerate([0.9, 0.91, 0.92]))
    easy, hard = dict(enumerate([0.85, 0.86, 0.87])), dict(enumerate(left))
    for attacked in ([hard], [easy, hard]):
        assert (
            withstands(Clean(clean, clean, chance, chance), [(of, of) for of in attacked])
            is verdict
        )


@pytest.mark.parametrize("among", [4, 20])
def test_verdicts_of_many_rules_are_seldom_wrong_of_any(among):
    """Each rule at the border; without the correction, 10 and 40 % of all sweeps would err."""
    draw = np.random.default_rng(among)
    wrong = dict.fromkeys((Verdict.HOLDS, Verdict.BREAKS), 0)
    sweeps = 400
    for _ in range(sweeps):
        found = set()
        for _ in range(among):
            clean, left = seeds_of(draw, [0.8, 0.4])
            found.add(withstands(Clean(clean, clean, 0.01, 0.01), [(left, left)], among=among))
        for verdict in wrong:
            wrong[verdict] += verdict in found
    assert max(wrong.values()) <= stats.binom.isf(1e-6, sweeps, 0.025)


def test_seeds_that_agree_by_accident_decide_nothing():
    """Two of them, a fifth of a point apart, as one of 500 held-out examples makes."""
    assert leaders({"a": {0: 0.802, 1: 0.804}, "b": {0: 0.8, 1: 0.802}}) == ["a", "b"]
    clean = {0: 0.8, 1: 0.804}
    left = {0: 0.402, 1: 0.404}
    verdict = withstands(Clean(clean, clean, 0.1, 0.1), [(left, left)])
    assert verdict is Verdict.UNDECIDED
    assert not is_above({0: 0.102, 1: 0.102}, 0.1)


def test_a_single_seed_at_chance_is_seldom_above_it():
    """Ten points, on 225 examples: three standard errors at a half, 0.2 % of all; here 10^-6."""
    for chance, examples in ((0.5, 600), (0.1, 225), (0.9, 225)):
        most = int(np.ceil((chance + 0.1) * examples))
        assert not is_above({0: (most - 1) / examples}, chance)
        assert stats.binom.sf(most - 1, examples, chance) <= 1e-5
    assert is_above({0: 0.97}, 0.1)


def test_above_chance_is_above_all_that_chance_may_be():
    clean = {seed: 0.8 + 0.01 * seed for seed in range(5)}
    assert Clean(clean, clean, 0.1, 1.0).near_chance
    assert not Clean(clean, clean, 0.1, 0.5).near_chance
    left = {seed: 0.5 + 0.01 * seed for seed in range(5)}
    for most, verdict in ((0.4, Verdict.HOLDS), (0.6, Verdict.UNDECIDED)):
        assert withstands(Clean(clean, clean, 0.1, most), [(left, left)]) is verdict
