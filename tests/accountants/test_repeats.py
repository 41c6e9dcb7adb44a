"""What the best of a random number of runs spends: other code, exact mechanisms, counts."""

import math
from dataclasses import replace

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr

from privrobust.accountants import (
    Release,
    available_accountants,
    delta,
    epsilon,
    get_accountant,
    max_clip_norm,
    max_steps,
    noise_scale,
    spend,
)
from privrobust.accountants.mechanism import composition
from privrobust.accountants.renyi import conversion
from privrobust.accountants.repeats import NegativeBinomial, Poisson, canonical_repeats, get_repeats
from privrobust.errors import SpecError

TRAINING = Release(noise_scale=0.4, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
SHAPES = {"geometric": 1.0, "logarithmic": 0.0, "half": 0.5, "three": 3.0}
NEGATIVE = [NegativeBinomial(mean, shape) for mean in (1.5, 10.0) for shape in SHAPES.values()]
THEIRS = [*NEGATIVE, Poisson(2.0), Poisson(10.0)]
LAWS = [*THEIRS, Poisson(0.5)]
"""dp-accounting has none of a mean below 1."""
ORDERS = np.array([1.01, 1.1, 1.3, 1.6, 2, 2.5, 3, 4, 6, 8, 12, 20, 40, 100.0])
DELTA = 1e-5
SURELY = 1e-6


def of(law, release=TRAINING):
    name = "poisson" if isinstance(law, Poisson) else "negative_binomial"
    shape = "" if name == "poisson" else f", shape={law.shape}"
    return replace(release, repeats=f"{name}(mean={law.mean}{shape})")


def probabilities(law, most):
    """P(K = 0), P(K = 1), ..., by SciPy's laws."""
    k = np.arange(most + 1)
    if isinstance(law, Poisson):
        return stats.poisson.pmf(k, law.mean)
    gamma = theirs._gamma_truncated_negative_binomial(law.shape, law.mean)
    if law.shape == 0:
        return stats.logser.pmf(k, 1 - gamma)
    whole = stats.nbinom(law.shape, gamma)
    return np.where(k > 0, whole.pmf(k), 0.0) / (1 - whole.pmf(0))


# --- other code ------------------------------------------------------------------------------


@pytest.mark.parametrize("law", THEIRS, ids=repr)
@pytest.mark.parametrize("b", [0.1, 0.4, 2.0])
def test_it_is_what_dp_accounting_says_of_the_same_divergences(law, b):
    release = replace(TRAINING, noise_scale=b)
    orders, curve = get_accountant("rdp").divergences(composition([release]))

    def spent(at):
        return float(np.min(curve + conversion(orders, at)))

    found = law.epsilon(orders, curve, spent, DELTA)
    if isinstance(law, NegativeBinomial):  # s = 1, at which there is no divergence, as an order
        orders, curve = np.insert(orders, 0, 1.0), np.insert(curve, 0, 0.0)
    shape = getattr(law, "shape", math.inf)
    selected = theirs._compute_rdp_repeat_and_select(orders, curve, law.mean, shape)
    with np.errstate(all="ignore"):  # of order 1
        selected = np.nan_to_num(selected + conversion(orders, DELTA), nan=math.inf)
    expected = float(np.min(selected))
    if isinstance(law, NegativeBinomial):
        assert math.isclose(found, expected, rel_tol=1e-9)
        return
    # that something is published is ours alone
    more = selected - math.log(-math.expm1(-law.mean)) / (orders - 1)
    assert math.isclose(found, float(np.nanmin(more)), rel_tol=1e-9)


@pytest.mark.parametrize("mean", [1e-3, 0.01, 0.1, 1.0, 10.0])
def test_a_selection_costs_no_less_than_a_run(mean):
    """Which is what is published where the number is 1, however seldom anything is."""
    once = Release(noise_scale=1.0, clip_norm=1.0, unit="worker", steps=1)
    exact = brentq(lambda e: ndtr(0.5 - e) - math.exp(e) * ndtr(-0.5 - e) - DELTA, 0.1, 20)
    assert math.isclose(exact, 4.377, abs_tol=1e-3)
    found = epsilon(replace(once, repeats=f"poisson(mean={mean})"))
    assert found >= exact
    assert found >= get_accountant("rdp").epsilon(once, DELTA) * (1 - 1e-9)


@pytest.mark.parametrize("law", THEIRS, ids=repr)
def test_it_is_what_dp_accounting_says_of_its_event(law):
    release = of(law, Release(noise_scale=30.0, clip_norm=1.0, unit="worker", steps=100))
    orders, _ = get_accountant("rdp").divergences(composition([release]))
    judge = dp.rdp.RdpAccountant(list(orders), dp.NeighboringRelation.REPLACE_SPECIAL)
    judge.compose(release.dp_event())
    found, expected = epsilon(release), judge.get_epsilon(DELTA)
    # fractional orders between the list's are ours alone, and that something is published
    most = 1 + 1e-9
    if isinstance(law, Poisson):
        most = 1.02 - 2 * math.log(-math.expm1(-law.mean))
    assert expected * 0.98 <= found <= expected * most


def test_a_constant_number_composes():
    for name in ("pld", "rdp", "basic", "gdp"):
        once = get_accountant(name).epsilon(replace(TRAINING, steps=1500), DELTA)
        several = get_accountant(name).epsilon(
            replace(TRAINING, repeats="constant(count=5)"), DELTA
        )
        assert several == once
    assert spend([replace(TRAINING, repeats="constant(count=2)"), TRAINING]) == spend(
        [TRAINING] * 3
    )
    event = replace(TRAINING, repeats="constant(count=2)").dp_event()
    assert event == dp.SelfComposedDpEvent(TRAINING.dp_event(), 2)


# --- mechanisms whose privacy is known exactly ------------------------------------------------


def generating(law, x):
    """E[x^K]."""
    if isinstance(law, Poisson):
        return np.exp(law.mean * (x - 1))
    gamma = theirs._gamma_truncated_negative_binomial(law.shape, law.mean)
    if law.shape == 0:
        return np.log1p(-(1 - gamma) * x) / np.log(gamma)
    return np.expm1(-law.shape * np.log1p(-(1 - gamma) * x)) / (gamma**-law.shape - 1)


def test_the_generating_functions_are_of_the_laws():
    for law in LAWS:
        mass = probabilities(law, 2000)
        assert math.isclose(mass.sum(), 1, rel_tol=1e-9)
        assert math.isclose(mass @ np.arange(2001), law.mean, rel_tol=1e-6)
        for x in (0.0, 0.3, 0.9, 1.0):
            assert math.isclose(
                generating(law, x), (mass * x ** np.arange(2001)).sum(), abs_tol=1e-9
            )


def best_of(law, mass):
    """The law of the best of K outcomes, which are sorted from the worst; the first is of K = 0."""
    up_to = np.concatenate([[0.0], np.cumsum(mass)])
    chosen = np.diff(generating(law, np.minimum(up_to, 1.0)))
    return np.concatenate([[generating(law, 0.0)], chosen])


def exceeding(one, other, epsilon):
    """The delta at which these are within epsilon: the hockey-stick divergence."""
    return max(
        np.maximum(one - math.exp(epsilon) * other, 0).sum(),
        np.maximum(other - math.exp(epsilon) * one, 0).sum(),
    )


def curve_of(one, other):
    """Rényi divergences of `ORDERS`, the larger of both directions."""

    def towards(p, q):
        logs = ORDERS[:, None] * np.log(p) + (1 - ORDERS[:, None]) * np.log(q)
        return logsumexp(logs, axis=1) / (ORDERS - 1)

    return np.maximum(towards(one, other), towards(other, one))


MASSES = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=6)


@settings(max_examples=300)
@given(st.sampled_from(LAWS), MASSES, st.data(), st.sampled_from([1e-1, 1e-3, 1e-6]))
def test_no_finite_mechanism_spends_more(law, weights, data, at):
    """Outcomes of any two neighbours in any order of their scores, ties by lot among them."""
    others = data.draw(
        st.lists(st.floats(0.001, 1.0), min_size=len(weights), max_size=len(weights))
    )
    one, other = (np.array(each) / np.sum(each) for each in (weights, others))
    curve = curve_of(one, other)

    def spent(at):
        return max(0.0, float(np.min(curve + conversion(ORDERS, at))))

    claimed = max(0.0, law.epsilon(ORDERS, curve, spent, at))
    assert exceeding(best_of(law, one), best_of(law, other), claimed) <= at * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("sigma", [0.8, 3.0, 20.0])
@pytest.mark.parametrize("way", [1, -1])
def test_no_gaussian_step_whose_output_is_its_score_spends_more(law, sigma, way):
    """The best of K draws from N(0, sigma^2) against N(+-1, sigma^2), cut into fine cells."""
    release = of(law, Release(noise_scale=sigma, clip_norm=1.0, unit="worker", steps=1))
    edges = np.linspace(-12 * sigma - 1, 12 * sigma + 1, 40_001)
    one, other = (np.diff(stats.norm.cdf(edges, shift, sigma)) for shift in (0, way))
    claimed = epsilon(release, delta=1e-4)
    assert exceeding(best_of(law, one), best_of(law, other), claimed) <= 1e-4
    if law.mean >= 10 and sigma > 1:  # and what one run spends is no bound
        alone = epsilon(replace(release, repeats=None), delta=1e-4)
        assert exceeding(best_of(law, one), best_of(law, other), alone) > 1e-4


def test_as_many_runs_for_certain_tell_more_than_a_random_number():
    """Of pure privacy epsilon a random number makes (2 + shape) epsilon (Corollary of Theorem 2).

    The worst of two outcomes is the best of 500 with 0.99^500 or 0.98^500, e^5 apart.
    """
    one, other, law = np.array([0.99, 0.01]), np.array([0.98, 0.02]), NegativeBinomial(500.0, 0.0)
    fixed = [np.diff(np.cumsum(mass) ** 500, prepend=0) for mass in (one, other)]
    assert exceeding(*fixed, 2 * math.log(2)) > 1e-3
    assert exceeding(best_of(law, one), best_of(law, other), 2 * math.log(2)) <= 1e-12


# --- the law of K ----------------------------------------------------------------------------


@pytest.mark.parametrize("law", [*LAWS, Poisson(200.0), NegativeBinomial(100.0, 50.0)], ids=repr)
def test_numbers_are_of_the_law(law):
    draws = 20_000
    drawn = np.array([law.at(u) for u in np.random.default_rng(5).random(draws)])
    expected = draws * probabilities(law, 20_000)
    cells, start = [], 0
    while expected[start:].sum() >= 20:  # cells of ten and more
        end = start + 1
        while expected[start:end].sum() < 10:
            end += 1
        cells.append((start, end))
        start = end
    counts = [((drawn >= low) & (drawn < high)).sum() for low, high in cells]
    masses = [expected[low:high].sum() for low, high in cells]
    rest = draws - sum(counts), draws - sum(masses)
    if rest[1] > 5:
        counts, masses = [*counts, rest[0]], [*masses, rest[1]]
    assert stats.chisquare(counts, np.array(masses) / sum(masses) * sum(counts)).pvalue > SURELY


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_quantiles_rise_and_end(law):
    at = [law.at(u) for u in np.linspace(0, 1 - 2**-53, 200)]
    assert at == sorted(at)
    assert at[0] == (0 if isinstance(law, Poisson) else 1)
    mass = np.cumsum(probabilities(law, 10_000))
    for u in (0.1, 0.5, 0.9):
        assert law.at(u) == np.searchsorted(mass, u, side="right")


@given(st.floats(1.0001, 500), st.floats(0, 100))
def test_gamma_gives_the_mean(mean, shape):
    law = NegativeBinomial(mean, shape)
    assert law.log_gamma <= 0
    assert math.isclose(law._mean_at(law.log_gamma), mean, rel_tol=1e-9)


# --- what a release says ---------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_more_noise_fewer_runs_and_a_larger_delta_spend_less(law):
    here = epsilon(of(law))
    assert epsilon(of(law, replace(TRAINING, noise_scale=0.8))) < here
    assert epsilon(of(law), delta=1e-4) < here
    assert epsilon(of(replace(law, mean=law.mean + 5))) > here
    if law.mean > 1:
        assert here > epsilon(TRAINING, accountant="rdp")


def test_there_and_back():
    release = replace(TRAINING, repeats="negative_binomial(mean=10)")
    b = noise_scale(release, epsilon=2.0)
    assert 0.999 * 2 <= epsilon(replace(release, noise_scale=b)) <= 2
    assert epsilon(replace(release, clip_norm=max_clip_norm(release, epsilon=2.0))) <= 2
    most = max_steps(release, epsilon=3.0)
    assert epsilon(replace(release, steps=most)) <= 3 < epsilon(replace(release, steps=most + 1))
    at = delta(release, epsilon=4.0)
    assert epsilon(release, delta=at) <= 4 < epsilon(release, delta=at * 0.99)


def test_signs_are_charged_for_what_they_tell():
    signs = replace(TRAINING, message="sign", repeats="negative_binomial(mean=10)")
    spent = spend(signs)
    assert (spent.accountant, spent.is_upper_bound) == ("sign", True)
    assert spent.epsilon < epsilon(replace(signs, message="vector"))
    assert spent.epsilon > spend(replace(signs, repeats=None)).epsilon


@pytest.mark.parametrize("name", available_accountants())
def test_accountants_without_divergences_refuse(name):
    accountant = get_accountant(name)
    release = replace(TRAINING, message="sign", repeats="poisson(mean=2)")
    if name in ("rdp", "sign"):
        assert accountant.epsilon(release, DELTA) > accountant.epsilon(
            replace(release, repeats=None), DELTA
        )
        return
    for ask in (accountant.epsilon, accountant.delta):
        with pytest.raises(SpecError, match=f"{name} does not support a random number of repeats"):
            ask(release, 0.5)


def test_what_is_not_private_or_not_known_stays_so():
    bare = replace(TRAINING, noise_scale=0.0, repeats="poisson(mean=2)")
    assert spend(bare).epsilon == math.inf
    laplace = Release(noise_scale=1.0, clip_norm=1.0, unit="worker", steps=1, noise="laplace")
    with pytest.raises(SpecError, match="does not support"):
        spend(replace(laplace, repeats="poisson(mean=2)"))


def test_a_selection_composes_with_nothing():
    release = replace(TRAINING, repeats="poisson(mean=2)")
    with pytest.raises(
        SpecError, match=r"repeats: poisson\(mean=2.0\) of one release among several"
    ):
        epsilon([release, TRAINING])
    assert epsilon([release]) == epsilon(release)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("poison(mean=2)", "unknown name 'poison'.*did you mean 'poisson'"),
        ("math:inf", "unknown name 'math:inf'"),
        ("poisson(mean=0)", "Poisson.mean: 0.* is not a finite number above 0 and at most 500"),
        ("poisson(mean=.inf)", "is not accepted"),
        ("negative_binomial(mean=1)", "NegativeBinomial.mean: 1"),
        ("negative_binomial(shape=-0.5)", "NegativeBinomial.shape: -0.5"),
        ("constant(count=2.5)", "Constant.count: 2.5 is not a whole number"),
        ("constant(count=0)", "Constant.count: 0"),
        ("constant(runs=2)", "no parameter 'runs'"),
        (3, "text"),
    ],
)
def test_what_is_no_law_is_one_line(text, says):
    with pytest.raises(SpecError, match=says) as raised:
        replace(TRAINING, repeats=text)
    assert "\n" not in str(raised.value)


def test_equal_laws_are_written_alike():
    assert canonical_repeats("poisson") == canonical_repeats(" poisson( mean = 10 )")
    assert canonical_repeats("negative_binomial(shape=1, mean=3)") == "negative_binomial(mean=3.0)"
    assert get_repeats("negative_binomial(mean=3.0)") == NegativeBinomial(3.0)
    assert canonical_repeats(None) is None


def test_too_many_steps_in_all():
    with pytest.raises(SpecError, match="steps: 10000000 of 500 runs"):
        replace(TRAINING, steps=10_000_000, repeats="constant(count=500)")
