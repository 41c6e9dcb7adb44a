"""What holds of claims, against closed forms, and what one client moves in Flower's strategies."""

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm, trim_mean

from privrobust.errors import SpecError
from privrobust.federated.check.claims import (
    Accounting,
    Adaptive,
    CentralNoise,
    LocalNoise,
    NotPrivate,
    SampleNoise,
    SparseVector,
)
from privrobust.federated.check.sensitivities import moved
from privrobust.federated.check.verdicts import findings

DELTA = 1e-5
LOCAL = LocalNoise(
    where="client.py, line 3",
    what="LocalDpMod",
    clipping_norm=1.0,
    sensitivity=1.0,
    epsilon=1.0,
    delta=DELTA,
    rounds=100,
)
CENTRAL = CentralNoise(
    where="server.py, line 9",
    what="DifferentialPrivacyServerSideFixedClipping",
    rule="FedAvg",
    cut=0.2,
    fraction=1.0,
    least_clients=2,
    noise_multiplier=10.0,
    num_sampled_clients=11,
    delta=DELTA,
    rounds=100,
)
SAMPLES = SampleNoise(
    where="client.py, line 5",
    what="Opacus, make_private",
    noise_multiplier=1.0,
    delta=DELTA,
    dataset_size=400,
    batch_size=32,
    epochs=1,
    rounds=3,
    lasts=False,
)
SVT = SparseVector(where="client, task_result_filters", what="SVTPrivacy", rounds=3)


def gaussian(mu, delta=DELTA):
    """The epsilon of mu-GDP at that delta (Balle, Wang 2018, Theorem 8)."""

    def excess(epsilon):
        tail = epsilon + norm.logcdf(-mu / 2 - epsilon / mu)
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(tail) - delta

    return brentq(excess, 0, mu * mu + 20 * mu)


def rows(claim):
    """Findings by whom they are against and the neighbours."""
    return {(found.against, found.adjacency): found for found in findings([claim])}


def of_models(claim):
    return rows(claim)["clients, outsiders", "zero-out"]


def local(claim, adjacency="zero-out"):
    return rows(claim)["server, clients, outsiders", adjacency]


def sigma(epsilon):
    """LocalDpMod's noise over its sensitivity."""
    return math.sqrt(2 * math.log(1.25 / DELTA)) / epsilon


@pytest.mark.parametrize("rounds", [1, 10, 100])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 8.0])
def test_local_noise_composes_over_rounds(rounds, epsilon):
    claim = replace(LOCAL, rounds=rounds, epsilon=epsilon)
    mu = math.sqrt(rounds) / sigma(epsilon)
    assert local(claim).holds == pytest.approx(gaussian(mu), rel=2e-3)
    assert local(claim, "replace-one").holds == pytest.approx(gaussian(2 * mu), rel=2e-3)


def test_a_nominal_1_is_10_after_100_rounds():
    found = local(LOCAL)
    assert (found.claimed, found.verdict) == (1.0, "does not hold")
    assert found.holds == pytest.approx(10.39, abs=0.01)
    assert "100 rounds compose" in found.why


def test_one_round_of_a_nominal_1_holds_where_sensitivity_is_what_neighbours_move():
    one = replace(LOCAL, rounds=1)
    assert local(one).verdict == "holds"
    assert local(one, "replace-one").verdict == "does not hold"
    assert local(replace(one, sensitivity=2.0), "replace-one").verdict == "holds"


def test_the_classic_formula_fails_for_a_large_epsilon():
    found = local(replace(LOCAL, rounds=1, epsilon=30.0))
    assert found.holds == pytest.approx(gaussian(1 / sigma(30.0)), rel=1e-3)
    assert found.verdict == "does not hold"
    assert "proven for epsilon below 1" in found.why


def test_noise_of_a_mean_of_22_is_a_22nd_for_a_single_message():
    once = replace(LOCAL, rounds=1, epsilon=0.5)
    found = local(replace(once, sensitivity=1 / 22))
    assert found.holds == pytest.approx(gaussian(22 / sigma(0.5)), rel=1e-3)
    assert "an update may move by 1, and sensitivity is 0.0454545" in found.why


def test_a_mod_that_nobody_has_adds_no_noise():
    assert local(replace(LOCAL, is_used=False)).holds == math.inf


@pytest.mark.parametrize("name", ["clipping_norm", "sensitivity", "epsilon", "delta", "rounds"])
def test_what_is_not_stated_is_asked(name):
    found = local(replace(LOCAL, **{name: None}))
    assert (found.verdict, found.holds, found.missing) == ("cannot be told", None, (name,))


def test_a_mean_of_equal_weights_is_what_the_multiplier_says():
    found = of_models(replace(CENTRAL, largest_share=1 / 11))
    assert found.verdict == "holds"
    assert found.claimed == pytest.approx(gaussian(1.0), rel=1e-3)  # sqrt(100) / 10
    assert found.holds == pytest.approx(found.claimed, rel=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_a_client_that_weighs_more_is_hidden_less(share):
    found = of_models(replace(CENTRAL, largest_share=share))
    assert found.holds == pytest.approx(gaussian(11 * share), rel=2e-3)
    assert found.verdict == "does not hold"


def test_weights_that_clients_report_are_asked_for():
    found = of_models(CENTRAL)
    assert (found.verdict, found.missing) == ("cannot be told", ("largest_share",))


def test_an_accountant_of_flowers_sees_to_equal_weights():
    found = of_models(replace(CENTRAL, accounting=Accounting(is_of_wrapper=True)))
    assert found.verdict == "holds"


def test_fewer_clients_than_the_noise_is_for_fail_whatever_they_weigh():
    found = of_models(replace(CENTRAL, clients=20, fraction=0.2))
    assert found.verdict == "does not hold"
    assert "4 clients train in a round and the noise is for 11" in found.why
    assert float(found.why.split("epsilon is ")[1].split()[0]) == pytest.approx(
        gaussian(11 / 4), rel=2e-3
    )


@pytest.mark.parametrize(
    ("rule", "clients", "mu"),
    [
        ("FedMedian", 11, 11),
        ("FedMedian", 22, 11),
        ("FedTrimmedAvg", 11, 11 / 7),
        ("Krum", 11, 22),
        ("MultiKrum", 11, 22),
    ],
)
def test_a_robust_rule_is_no_mean(rule, clients, mu):
    claim = replace(CENTRAL, rule=rule, clients=clients, num_sampled_clients=clients)
    found = of_models(claim)
    assert found.claimed == pytest.approx(gaussian(1.0), rel=1e-3)
    assert found.holds == pytest.approx(gaussian(mu), rel=2e-3)
    assert found.verdict == "does not hold"


def test_krum_accounted_as_a_mean_turns_4_into_335():
    found = of_models(replace(CENTRAL, rule="Krum"))
    assert round(found.claimed, 1) == 4.4
    assert found.holds == pytest.approx(334.9, abs=0.1)


@pytest.mark.parametrize("rule", ["FedAdam", "FedAvgM", "QFedAvg", "Bulyan"])
def test_no_bound_is_made_up(rule):
    found = of_models(replace(CENTRAL, rule=rule))
    assert (found.holds, found.verdict) == (math.inf, "does not hold")


def updates(count):
    """Updates of norm 1 at most."""
    value = st.floats(-1, 1, width=32)
    row = st.lists(value, min_size=3, max_size=3)
    return st.lists(row, min_size=count, max_size=count).map(
        lambda rows: np.array([np.array(row) / max(1.0, np.linalg.norm(row)) for row in rows])
    )


@pytest.mark.parametrize("clients", [5, 6, 11])
@given(data=st.data())
def test_no_update_moves_a_median_or_a_trimmed_mean_by_more(clients, data):
    sent = data.draw(updates(clients))
    other = sent.copy()
    other[data.draw(st.integers(0, clients - 1))] = 0
    for rule, of in [
        ("FedMedian", lambda rows: np.median(rows, axis=0)),
        ("FedTrimmedAvg", lambda rows: trim_mean(rows, 0.2, axis=0)),
    ]:
        bound = moved(replace(CENTRAL, rule=rule, clients=clients)).norms
        assert np.linalg.norm(of(sent) - of(other)) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("clients", [5, 6, 11])
def test_bounds_of_medians_and_trimmed_means_are_attained(clients):
    sent = np.repeat([-1.0, 1.0], [clients // 2, clients - clients // 2])
    other = sent.copy()
    other[-1] = 0
    bound = moved(replace(CENTRAL, rule="FedMedian", clients=clients)).norms
    assert abs(np.median(sent) - np.median(other)) == bound
    cut = int(0.2 * clients)
    sent = np.repeat([-1.0, 0.0, 1.0], [cut, clients - 2 * cut - 1, cut + 1])
    other = sent.copy()
    other[-1] = 0
    bound = moved(replace(CENTRAL, rule="FedTrimmedAvg", clients=clients)).norms
    assert abs(trim_mean(sent, 0.2) - trim_mean(other, 0.2)) == pytest.approx(bound)


def test_nothing_hides_clients_from_a_server_that_adds_the_noise():
    for claim in (CENTRAL, replace(CENTRAL, clips_at="client")):
        found = rows(claim)["server", "zero-out"]
        assert (found.holds, found.verdict) == (math.inf, "no claim")
    asked = rows(replace(CENTRAL, secure_aggregation=None))["server", "zero-out"]
    assert asked.missing == ("secure_aggregation",)
    summed = rows(replace(CENTRAL, secure_aggregation=True))["server", "zero-out"]
    assert (summed.holds, summed.missing) == (math.inf, ())
    assert "rests on secure aggregation" in summed.why


def test_clients_that_should_clip_and_do_not():
    found = of_models(replace(CENTRAL, clips_at="client", is_clipped=False))
    assert (found.holds, found.verdict) == (math.inf, "does not hold")
    asked = of_models(replace(CENTRAL, clips_at="client", is_clipped=None, largest_share=1 / 11))
    assert (asked.verdict, asked.missing) == ("cannot be told", ("clips",))


def test_no_noise_is_no_privacy():
    assert of_models(replace(CENTRAL, noise_multiplier=0.0)).holds == math.inf


def test_a_fixed_number_of_clients_is_not_accounted_as_poisson():
    claim = replace(
        CENTRAL,
        rule="FedAvg",
        clients=110,
        largest_share=1 / 11,
        fraction=None,
        accounting=Accounting(sampling="poisson", population_size=110),
    )
    found = of_models(claim)
    assert found.claimed < 0.6  # q = 0.1
    assert found.holds == pytest.approx(gaussian(1.0), rel=1e-3)
    assert found.verdict == "does not hold"
    assert "fixed number of clients" in found.why
    without = replace(claim, accounting=Accounting(sampling="without-replacement"), epsilon=0.5)
    assert of_models(without).verdict == "cannot be told"


def test_adaptive_clipping_counts_bits_by_half_of_what_they_move():
    adaptive = Adaptive(count_noise=2.0, quantile=0.5, rate=0.0)
    claim = replace(
        CENTRAL, noise_multiplier=1.0, rounds=1, largest_share=1 / 11, adaptive=adaptive
    )
    found = of_models(claim)
    # z^-2 - (2 s)^-2 is the rest of the mean, and s^-2 is the count: 3 / 4 s^-2 more than z^-2
    mu = math.sqrt(1 + 0.75 / 4)
    assert found.holds == pytest.approx(gaussian(mu, DELTA / 2), rel=2e-3)
    assert found.claimed == pytest.approx(gaussian(1.0), rel=1e-3)
    assert found.verdict == "does not hold"


def test_adaptive_clipping_takes_the_norm_of_the_next_round_for_its_noise():
    adaptive = Adaptive(count_noise=2.0, quantile=0.5, rate=0.2)
    claim = replace(CENTRAL, noise_multiplier=1.0, rounds=1, largest_share=1 / 11)
    most = 1 - norm.ppf(DELTA / 2) * 2 / 11
    mean = (1 - 1 / 16) ** -0.5 * math.exp(-0.2 * (most - 0.5))
    mu = math.sqrt(mean**-2 + 1 / 4)
    found = of_models(replace(claim, adaptive=adaptive))
    assert found.holds == pytest.approx(gaussian(mu, DELTA / 2), rel=2e-3)


def test_flowers_accountant_ends_training_of_what_it_counts_only():
    accounting = Accounting(is_of_wrapper=True, max_epsilon=2.0)
    claim = replace(CENTRAL, accounting=accounting, epsilon=2.0)
    assert (of_models(claim).holds, of_models(claim).verdict) == (2.0, "holds")
    for other in (
        replace(claim, rule="FedMedian"),
        replace(claim, largest_share=0.5),
        replace(claim, accounting=replace(accounting, sampling="poisson")),
        replace(claim, accounting=replace(accounting, is_of_wrapper=False), largest_share=1 / 11),
    ):
        assert of_models(other).verdict == "does not hold"
        assert of_models(other).holds > 4


@given(data=st.data())
def test_numbers_at_the_edges_are_a_finding_or_one_clear_line(data):
    edge = st.sampled_from([5e-324, 1e-200, 1e-9, 0.5, 1.0, 3.0, 1e9, 1e200, 1.7e308])
    share = st.sampled_from([0.0, 1e-300, 0.2, 0.5, 1.0])
    whole = st.sampled_from([1, 2, 11, 10**9])
    rule = st.sampled_from(["FedAvg", "FedMedian", "FedTrimmedAvg", "Krum", None])
    adaptive = st.builds(Adaptive, count_noise=edge, quantile=share, rate=edge)
    claim = replace(
        CENTRAL,
        rule=data.draw(rule),
        cut=data.draw(share),
        fraction=data.draw(share),
        least_clients=data.draw(st.sampled_from([-1, 0, 2, 10**9])),
        noise_multiplier=data.draw(edge),
        num_sampled_clients=data.draw(whole),
        clients=data.draw(st.none() | whole),
        largest_share=data.draw(st.none() | st.sampled_from([1e-300, 0.2, 1.0])),
        delta=data.draw(st.sampled_from([1e-300, 1e-5, 0.9])),
        adaptive=data.draw(st.none() | adaptive),
    )
    with suppress(SpecError):
        found = of_models(claim)
        assert found.holds is None or found.holds >= 0


def test_adaptive_clipping_that_flower_refuses():
    adaptive = Adaptive(count_noise=0.5, quantile=0.5, rate=0.2)
    claim = replace(CENTRAL, noise_multiplier=1.0, largest_share=1 / 11, adaptive=adaptive)
    assert "Flower refuses it" in of_models(claim).why


def test_an_engine_made_anew_reports_one_round():
    found = local(SAMPLES)
    one, all_ = local(replace(SAMPLES, rounds=1)), local(replace(SAMPLES, lasts=True))
    assert found.claimed == one.holds < found.holds == all_.holds == all_.claimed
    assert (found.verdict, one.verdict, all_.verdict) == ("does not hold", "holds", "holds")


def test_opacus_counts_the_same():
    """Its accountant by Rényi divergences is an upper bound of the same, and not far above."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in range(3 * 13):
        accountant.step(noise_multiplier=1.0, sample_rate=1 / 13)
    theirs = accountant.get_epsilon(DELTA)
    assert 0.7 * theirs < local(SAMPLES).holds < theirs


def test_noise_that_is_found_for_too_few_epochs():
    claim = replace(
        SAMPLES, noise_multiplier=None, epsilon=2.0, finds_noise=True, claimed_epochs=1, lasts=None
    )
    found = local(claim)
    assert found.holds > 2 * 1.2
    assert "the noise is for 1 epochs, and there are 3" in found.why
    assert local(replace(claim, claimed_epochs=3)).holds == pytest.approx(2.0, rel=2e-3)
    assert local(replace(claim, claimed_epochs=3)).verdict == "holds"


def test_batches_that_are_no_samples_amplify_nothing():
    found = local(replace(SAMPLES, is_poisson=False, lasts=True))
    assert found.holds == pytest.approx(gaussian(math.sqrt(3)), rel=2e-3)
    assert "amplify nothing" in found.why


def test_the_sparse_vector_filter_pays_for_every_value_and_round():
    (found,) = findings([replace(SVT, parameters=1000)])
    c = 100
    threshold = 0.1 / (1 + (2 * c) ** (2 / 3))
    choosing = threshold + (0.1 - threshold) * 1000 / c
    assert found.holds == pytest.approx(3 * (choosing + c * 0.1))
    assert (found.claimed, found.verdict, found.delta) == (0.1, "does not hold", 0.0)
    (asked,) = findings([SVT])
    assert asked.missing == ("parameters",)


def test_what_the_filter_costs_at_most_is_known_without_the_number_of_values():
    (found,) = findings([replace(SVT, epsilon_release=0.2, rounds=1)])
    (exact,) = findings([replace(SVT, epsilon_release=0.2, rounds=1, parameters=1000)])
    assert exact.holds < found.holds == pytest.approx(0.1 / 0.1 + 0.2)


def test_a_filter_that_sends_everything_costs_what_nvflare_counts():
    (found,) = findings(
        [replace(SVT, fraction=1.0, epsilon=1.0, epsilon_release=0.5, rounds=1, parameters=10)]
    )
    assert found.holds == pytest.approx(1.5)


def test_what_adds_no_noise_promises_nothing():
    claim = NotPrivate(where="x", what="PercentilePrivacy", claim="privacy", reason="no noise")
    assert findings([claim])[0].verdict == "does not hold"
    assert findings([replace(claim, is_claim=False)])[0].verdict == "no claim"
