"""Accountants against each other, over random settings with a fixed seed."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from made_releases import release

from privrobust.accountants import Release, delta, epsilon
from privrobust.accountants.mechanism import Mechanism
from privrobust.accountants.pld import TOLERANCE
from privrobust.accountants.rdp import _divergence
from privrobust.accountants.registry import accountants_of
from privrobust.accountants.renyi import fractional_log_moment, whole_log_moment
from privrobust.errors import SpecError

UPPER_BOUNDS = ("pld", "prv", "rdp", "moments", "basic", "auto")


def random_releases(count: int, seed: int) -> list[Release]:
    rng = np.random.default_rng(seed)
    return [
        release(
            q=float(10 ** rng.uniform(-3, 0)),
            sigma=float(10 ** rng.uniform(-0.3, 1.2)),
            steps=int(10 ** rng.uniform(0, 3.5)),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("r", random_releases(10, seed=1), ids=str)
def test_pld_and_prv_agree_within_their_stated_errors(r: Release) -> None:
    pld, prv = epsilon(r, accountant="pld"), epsilon(r, accountant="prv")
    assert pld * (1 - 2 * TOLERANCE) <= prv <= pld + 2 * 0.01 + 1e-3 * pld


@pytest.mark.parametrize("r", random_releases(40, seed=2), ids=str)
def test_the_order_of_the_upper_bounds(r: Release) -> None:
    pld, rdp, moments = (epsilon(r, accountant=name) for name in ("pld", "rdp", "moments"))
    assert pld <= rdp * (1 + 2 * TOLERANCE)
    assert rdp <= moments


@pytest.mark.parametrize("r", random_releases(8, seed=6), ids=str)
def test_no_upper_bound_is_below_an_optimistic_estimate(r: Release) -> None:
    """dp-accounting, rounding every loss down on a fine grid: a lower bound, whatever we do."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    losses = pld.from_gaussian_mechanism(
        r.noise_multiplier,
        sampling_prob=r.sampling_rate,
        pessimistic_estimate=False,
        value_discretization_interval=max(2e-4, 1e-3 * r.sampling_rate / r.noise_multiplier),
        use_connect_dots=False,
    )
    lower = losses.self_compose(r.steps).get_epsilon_for_delta(1e-5)
    assert 0 <= lower < math.inf
    for name in UPPER_BOUNDS:
        assert epsilon(r, accountant=name) >= lower


def test_basic_composition_splits_delta() -> None:
    """Where one step alone is within delta at epsilon 0, two are not."""
    from dp_accounting import get_epsilon_gaussian

    twice = release(1.0, 1000.0, 2)
    exact = get_epsilon_gaussian(1000 / math.sqrt(2), 4e-4)
    assert get_epsilon_gaussian(1000, 4e-4) == 0 < exact
    assert epsilon(twice, 4e-4, "basic") >= exact


@pytest.mark.parametrize(("q", "sigma"), [(9.14e-6, 17.8), (3.35e-7, 0.5), (1e-6, 20.0)])
@pytest.mark.parametrize("order", [1.0107, 1.5, 2.0, 3.7, 8.0])
def test_divergence_at_rare_sampling_is_not_rounded_away(
    q: float, sigma: float, order: float
) -> None:
    """To leading order in q it is order q^2 (e^(1/sigma^2) - 1) / 2, and more than that."""
    step = Mechanism("gaussian", sigma, q, replace=False)
    least = order * q**2 * math.expm1(1 / sigma**2) / 2
    assert _divergence(step, order) >= least * (1 - 1e-3)


def test_auto_is_the_least_upper_bound_where_sampling_is_rare() -> None:
    r = release(1e-4, 1.0, 10_000)
    assert epsilon(r) == min(epsilon(r, accountant=name) for name in ("pld", "prv", "rdp", "basic"))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("q", [1e-4, 0.01, 0.3, 0.9])
def test_renyi_moments_are_those_of_opacus_and_of_dp_accounting(q: float, sigma: float) -> None:
    from dp_accounting.rdp.rdp_privacy_accountant import _compute_log_a as of_dp_accounting
    from opacus.accountants.analysis.rdp import _compute_log_a as of_opacus

    for order in (2, 17, 64, 1024):
        ours = whole_log_moment(q, sigma, order)
        assert ours == pytest.approx(of_opacus(q, sigma, order), rel=1e-9, abs=1e-12)
        assert ours == pytest.approx(of_dp_accounting(q, sigma, order), rel=1e-9, abs=1e-12)
    for order in (1.05, 1.5, 7.3, 22.6):  # where dp-accounting's is no value but an upper bound
        ours = fractional_log_moment(q, sigma, order)
        assert ours == pytest.approx(of_opacus(q, sigma, order), rel=1e-9, abs=1e-12)
        assert ours <= of_dp_accounting(q, sigma, order) + 1e-12


@pytest.mark.parametrize(
    ("q", "sigma", "order"), [(0.01, 1.0, 1.5), (0.3, 4.0, 7.3), (0.9, 0.5, 3)]
)
def test_renyi_moments_are_the_integrals_that_define_them(
    q: float, sigma: float, order: float
) -> None:
    def integrand(x: mpmath.mpf) -> mpmath.mpf:
        ratio = 1 - q + q * mpmath.exp((2 * x - 1) / (2 * sigma**2))
        return mpmath.npdf(x, 0, sigma) * ratio**order

    exact = mpmath.log(mpmath.quad(integrand, [-20 * sigma, 0, order, order + 20 * sigma]))
    moment = fractional_log_moment if order % 1 else whole_log_moment
    assert moment(q, sigma, order) == pytest.approx(float(exact), rel=1e-9)


def test_rdp_matches_opacus_own_accountant() -> None:
    from opacus.accountants import RDPAccountant

    for r in random_releases(8, seed=3):
        theirs = RDPAccountant()
        theirs.history = [(r.noise_multiplier, r.sampling_rate, r.steps)]
        ours = epsilon(r, accountant="rdp")
        assert ours <= theirs.get_epsilon(1e-5) * (1 + 1e-3)


@pytest.mark.parametrize("name", accountants_of("vector"))
def test_two_halves_compose_to_the_whole(name: str) -> None:
    whole = release(0.05, 2.0, 500)
    halves = [replace(whole, steps=200), replace(whole, steps=300, message="sign")]
    assert epsilon(halves, accountant=name) == epsilon(whole, accountant=name)


@pytest.mark.parametrize("name", accountants_of("vector"))
def test_changing_settings_cost_between_the_extremes(name: str) -> None:
    quiet, loud = release(0.05, 1.5, 100), release(0.05, 3.0, 100)
    low, high = (epsilon([r, r], accountant=name) for r in (loud, quiet))
    assert low < epsilon([quiet, loud], accountant=name) < high


@pytest.mark.parametrize("name", accountants_of("vector"))
def test_delta_inverts_epsilon(name: str) -> None:
    r = release(0.05, 2.0, 500)
    spent = epsilon(r, 1e-6, name)
    assert delta(r, spent, name) == pytest.approx(1e-6, rel=5e-2 if name == "prv" else 1e-2)


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 300.0])
@pytest.mark.parametrize("q", [1e-4, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 100_000])
@pytest.mark.parametrize("name", ["auto", *accountants_of("vector")])
def test_extremes_give_a_number_or_one_clear_line(
    name: str, q: float, sigma: float, steps: int, recwarn: pytest.WarningsRecorder
) -> None:
    line = f"accountant: {name} has no value for {steps} steps of sigma"
    try:
        outcome: float | str = epsilon(release(q, sigma, steps), 1e-5, name)
    except SpecError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert name in ("pld", "prv", "gdp")
        assert outcome.startswith(line)
        assert "\n" not in outcome
    else:
        assert 0 <= outcome < math.inf
    assert not recwarn.list


def test_replacing_a_unit_costs_at_most_removing_and_adding() -> None:
    removing = release(0.05, 2.0, 200)
    replacing = replace(removing, adjacency="replace-one")
    assert epsilon(removing) < epsilon(replacing)
    unsampled = release(1.0, 8.0, 10, adjacency="replace-one")
    assert epsilon(unsampled) == epsilon(release(1.0, 4.0, 10))
    assert epsilon(replace(removing, adjacency="zero-out")) == epsilon(removing)


@pytest.mark.parametrize("name", ["prv", "rdp", "moments", "gdp", "strong", "basic"])
def test_replacing_a_sampled_unit_is_refused_where_unproven(name: str) -> None:
    r = release(0.05, 2.0, 200, adjacency="replace-one")
    with pytest.raises(SpecError, match=f"^accountant: {name} does not support adjacency 'repl"):
        epsilon(r, accountant=name)


def test_replacing_a_sampled_unit_under_laplace_is_refused() -> None:
    r = release(0.05, 2.0, 200, adjacency="replace-one", noise="laplace")
    with pytest.raises(SpecError, match="pld does not support adjacency 'replace-one'"):
        epsilon(r)


@pytest.mark.parametrize("name", ["prv", "rdp", "moments", "gdp", "strong"])
def test_laplace_is_refused_by_gaussian_accountants(name: str) -> None:
    with pytest.raises(SpecError, match=f"^accountant: {name} does not support laplace noise"):
        epsilon(release(0.05, 2.0, 200, noise="laplace"), accountant=name)
