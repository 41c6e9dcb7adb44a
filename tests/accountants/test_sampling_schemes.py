"""Batches that are shuffled, of fixed size, or balls in bins: bounds against what they bound."""

import math
from contextlib import suppress
from itertools import combinations, pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, ndtr

from privrobust.accountants import (
    Release,
    budget_table,
    delta,
    epsilon,
    max_steps,
    noise_scale,
    spend,
)
from privrobust.accountants import balls_in_bins as bins
from privrobust.accountants import fixed_batches as fixed
from privrobust.accountants.mechanism import Mechanism
from privrobust.accountants.protocol import NoValue
from privrobust.errors import SpecError

SCHEMES = ("shuffled", "fixed", "balls_in_bins")


def drawn(sampling: str, n: int, batch: float, sigma: float, steps: int, **fields: Any) -> Release:
    return Release(
        noise_scale=sigma / batch,
        clip_norm=1.0,
        batch_size=batch,
        dataset_size=n,
        steps=steps,
        sampling=sampling,  # type: ignore[arg-type]
        **fields,
    )


def unsampled(sigma: float, steps: int, **fields: Any) -> Release:
    return Release(noise_scale=sigma, clip_norm=1.0, unit="worker", steps=steps, **fields)


# --- shuffled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("accountant", ["pld", "rdp", "moments", "basic", "prv"])
@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 2), (300, 100)])
def test_a_shuffled_epoch_is_one_step_that_all_join(
    accountant: str, steps: int, epochs: int
) -> None:
    """n = 95, B = 32: three steps an epoch, the last of 31."""
    spent = epsilon(drawn("shuffled", 95, 32, 3.2, steps), accountant=accountant)
    assert spent == pytest.approx(epsilon(unsampled(3.2, epochs), accountant=accountant), rel=1e-9)


def test_a_shuffled_epoch_of_laplace_noise_and_of_replacement() -> None:
    laplace = drawn("shuffled", 95, 32, 3.2, 30, noise="laplace")
    assert epsilon(laplace) == pytest.approx(epsilon(unsampled(3.2, 10, noise="laplace")))
    replaced = drawn("shuffled", 95, 32, 3.2, 30, adjacency="replace-one")
    assert epsilon(replaced) == pytest.approx(epsilon(unsampled(1.6, 10)))


def test_shuffled_signs_are_charged_as_signs_that_all_join() -> None:
    signs = drawn("shuffled", 95, 32, 10.0, 300, message="sign")
    assert spend(signs).accountant == "sign"
    assert epsilon(signs) == pytest.approx(epsilon(unsampled(10.0, 100, message="sign")))


def shuffled_delta_below(sigma: float, length: int, spent: float) -> float:
    """At most the delta of one epoch: Chua et al. 2024 (arXiv:2403.17673).

    All others have the opposite gradient. One bin of the k then differs from -B by 2, or by 1
    without the example; "the largest is above C" tells.
    """
    c = np.linspace(-2, 20 * sigma, 4000)
    others = ndtr(c / sigma) ** (length - 1)
    with_it, without = 1 - ndtr((c - 2) / sigma) * others, 1 - ndtr((c - 1) / sigma) * others
    return float((with_it - math.exp(spent) * without).max())


@pytest.mark.parametrize("sigma", [0.4, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("length", [2, 10, 1000])
def test_a_shuffled_epoch_keeps_what_is_claimed_and_not_what_poisson_claims(
    sigma: float, length: int
) -> None:
    shuffled = drawn("shuffled", 32 * length, 32, sigma, length)
    for spent in (0.5, 1.0, 2.0, 4.0):
        assert shuffled_delta_below(sigma, length, spent) <= delta(shuffled, spent) + 1e-13
    if (length, sigma) == (1000, 0.5):  # the gap of the paper
        poisson = drawn("poisson", 32 * length, 32, sigma, length)
        assert shuffled_delta_below(sigma, length, 4.0) > 2 * delta(poisson, 4.0)


# --- batches of fixed size ------------------------------------------------------------------------


def hockey_stick(
    p: list[tuple[float, float]], q: list[tuple[float, float]], sigma: float, spent: float
) -> float:
    """Of two mixtures of shares and means on the line, by a sum on a fine grid."""
    means = [mean for _, mean in (*p, *q)]
    x = np.linspace(min(means) - 9 * sigma, max(means) + 9 * sigma, 40_001)

    def density(mixture: list[tuple[float, float]]) -> Any:
        return sum(share * np.exp(-0.5 * ((x - mean) / sigma) ** 2) for share, mean in mixture) / (
            sigma * math.sqrt(2 * math.pi)
        )

    excess = np.maximum(0.0, density(p) - math.exp(spent) * density(q))
    return float(excess.sum() * (x[1] - x[0]))


def batches_of(others: list[float], batch: int, one: float) -> list[tuple[float, float]]:
    """Every batch of so many of these and one more: its probability and its sum."""
    values = [*others, one]
    sums = [sum(values[i] for i in taken) for taken in combinations(range(len(values)), batch)]
    return [(1 / len(sums), each) for each in sums]


def profile(found: fixed.Masses, spent: float) -> float:
    above = found.losses > spent
    return found.infinite + float(found.weights[above] @ -np.expm1(spent - found.losses[above]))


FINE = {"spacing": 0.01, "cells": 4000}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=5),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.floats(-2, 2),
    st.integers(1, 5),
)
def test_no_batch_of_fixed_size_tells_more_than_is_claimed(
    others: list[float], one: float, other: float, sigma: float, spent: float, batch: int
) -> None:
    """Whatever the others are, in both directions and at every alpha, below 1 too."""
    batch = min(batch, len(others))
    with_it, zeroed, exchanged = (batches_of(others, batch, each) for each in (one, 0.0, other))
    q = batch / (len(others) + 1)
    step = Mechanism("gaussian", sigma, q, False, "vector", "fixed")
    for side, p, mixture in (("removed", with_it, zeroed), ("added", zeroed, with_it)):
        claimed = profile(fixed.masses(step, side, **FINE), spent)
        assert hockey_stick(p, mixture, sigma, spent) <= claimed + 1e-9
    replaced = Mechanism("gaussian", sigma, q, True, "vector", "fixed")
    claimed = profile(fixed.masses(replaced, "removed", **FINE), spent)
    assert hockey_stick(with_it, exchanged, sigma, spent) <= claimed + 1e-9


@pytest.mark.parametrize("spent", [-1.0, -0.1, 0.0, 0.3, 1.5])
def test_the_worst_batch_of_fixed_size_is_as_bad_as_is_claimed(spent: float) -> None:
    """Others that all pull the other way, or the same way, reach the claim."""
    step = Mechanism("gaussian", 1.0, 2 / 5, False, "vector", "fixed")
    against, along = ([sign] * 4 for sign in (-1.0, 1.0))
    worst = against if spent >= 0 else along
    p, q = batches_of(worst, 2, 1.0), batches_of(worst, 2, 0.0)
    claimed = profile(fixed.masses(step, "removed", **FINE), spent)
    assert hockey_stick(p, q, 1.0, spent) == pytest.approx(claimed, rel=2e-5)
    worst = along if spent >= 0 else against
    p, q = batches_of(worst, 2, 0.0), batches_of(worst, 2, 1.0)
    claimed = profile(fixed.masses(step, "added", **FINE), spent)
    assert hockey_stick(p, q, 1.0, spent) == pytest.approx(claimed, rel=2e-5)


@pytest.mark.parametrize("adjacency", ["zero-out", "replace-one"])
def test_two_steps_of_fixed_size_by_integration(adjacency: str) -> None:
    """n = 4, B = 2, on a square of messages; the claim is reached to 1 % where it is tight."""
    sigma, spent = 1.5, 1.0
    worst = [-1.0] * 3
    other = 0.0 if adjacency == "zero-out" else -1.0
    x = np.linspace(-12, 12, 1201)
    one_p, one_q = (
        sum(
            share * np.exp(-0.5 * ((x - mean) / sigma) ** 2)
            for share, mean in batches_of(worst, 2, one)
        )
        for one in (1.0, other)
    )
    p, q = (np.outer(each, each) for each in (one_p, one_q))
    cell = ((x[1] - x[0]) / (sigma * math.sqrt(2 * math.pi))) ** 2
    true = float(np.maximum(0.0, p - math.exp(spent) * q).sum() * cell)
    release = drawn("fixed", 4, 2, sigma, 2, adjacency=adjacency)
    assert 0.99 * spent < epsilon(release, true, "pld") < 1.15 * spent
    assert epsilon(release, true, "pld") >= spent * (1 - 1e-4)
    assert epsilon(release, true, "rdp") >= epsilon(release, true, "pld")


def test_fixed_batches_by_wang_balle_and_kasiviswanathan() -> None:
    """dp-accounting has their bound on Rényi divergences, of replace-one: it is looser."""
    import dp_accounting as dp
    from dp_accounting.rdp import RdpAccountant

    for n, batch, sigma, steps in [(1000, 10, 2.0, 100), (95, 32, 8.0, 30)]:
        release = drawn("fixed", n, batch, sigma, steps, adjacency="replace-one")
        orders = [float(order) for order in range(2, 64)]
        theirs = RdpAccountant(orders, dp.NeighboringRelation.REPLACE_ONE)
        # their noise multiplier is of the distance between neighbours
        theirs.compose(
            dp.SelfComposedDpEvent(
                dp.SampledWithoutReplacementDpEvent(n, batch, dp.GaussianDpEvent(sigma / 2)), steps
            )
        )
        for accountant in ("pld", "rdp"):
            assert epsilon(release, 1e-5, accountant) <= theirs.get_epsilon(1e-5) * 1.001


@pytest.mark.parametrize(("q", "sigma"), [(0.01, 1.0), (0.3, 3.0), (0.7, 0.6)])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("order", [2, 8, 32])
def test_divergences_of_fixed_size_are_the_integrals_of_their_pairs(
    q: float, sigma: float, replace: bool, order: int
) -> None:
    """int over P > Q of one pair, and over P < Q of the other; what is left is an atom at 0."""
    s = sigma / 2 if replace else sigma
    x = np.linspace(0.5, order + 2 + 30 * s, 400_001)

    def logs(rest: int) -> tuple[Any, Any]:
        """Of P and Q to the right of where they are equal, without N(0)'s own factor."""
        common = math.log1p(-q) + (2 * rest * x - rest**2) / (2 * s**2)
        return (
            np.logaddexp(common, math.log(q) + (2 * x - 1) / (2 * s**2)),
            np.logaddexp(common, math.log(q)),
        )

    noise = -0.5 * (x / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) + math.log(x[1] - x[0])
    ends = np.where((x == x[0]) | (x == x[-1]), math.log(0.5), 0.0)

    def moment(top: int, bottom: int) -> float:
        (p, r), (under_q, under_p) = logs(top), logs(bottom)
        above = logsumexp(noise + ends + r + order * (p - r))
        below = logsumexp(noise + ends + under_q + order * (under_p - under_q))
        masses = [logsumexp(noise + ends + each) for each in (p, under_p)]
        return float(logsumexp([above, below, math.log1p(-sum(map(math.exp, masses)))]))

    opposed = 0 if replace else -1
    exact = max(moment(opposed, 0), moment(0, opposed)) / (order - 1)
    found = fixed.divergence(Mechanism("gaussian", sigma, q, replace, "vector", "fixed"), order)
    assert exact * (1 - 1e-6) - 1e-9 <= found <= exact * 1.01 + 1e-9


# --- balls in bins --------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "sigma"), [(2, 1.0), (3, 0.6), (4, 3.0)])
def test_moments_of_bins_are_sums_over_all_ways_to_throw(length: int, sigma: float) -> None:
    for order in (2, 3, 5):
        total = mpmath.mpf(0)
        for ways in np.ndindex(*[length] * order):
            counts = np.bincount(ways, minlength=length)
            total += mpmath.exp(float((counts * (counts - 1)).sum()) / (2 * sigma**2))
        exact = float(mpmath.log(total / mpmath.mpf(length) ** order))
        assert bins.removed(length, sigma, 64)[order - 2] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 4.0])
def test_moments_of_an_added_ball_by_integration(sigma: float) -> None:
    """Two bins, on a square; x of both bins from -12 to 12 deviations."""
    x = np.linspace(-14, 14, 2801)
    weight = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    ratio = np.exp(x / sigma - 0.5 / sigma**2)
    mean = (ratio[:, None] + ratio) / 2
    for order in (2, 3, 8):
        exact = math.log(float(weight @ mean ** (1.0 - order) @ weight))
        assert bins.added(2, sigma, 64)[order - 2] == pytest.approx(exact, rel=1e-9)


def test_one_bin_is_no_sampling() -> None:
    for order in (2, 17, 200):
        assert bins.divergence(1, 2.0, order) == pytest.approx(order / 8, rel=1e-9)
    one = drawn("balls_in_bins", 10, 10, 5.0, 7)
    assert epsilon(one) == pytest.approx(epsilon(unsampled(5.0, 7)))


@pytest.mark.parametrize(("length", "sigma"), [(2, 0.5), (7, 1.0), (40, 2.0), (1000, 0.7)])
def test_bins_hide_no_less_than_fewer_bins_and_no_sampling(length: int, sigma: float) -> None:
    for order in (2, 8, 60, 256, 300, 1024):
        many = bins.divergence(length, sigma, order)
        assert 0 < many <= bins.divergence(length - 1, sigma, order) <= order / (2 * sigma**2)


def test_a_ball_that_is_added_is_bounded_by_jensen_where_that_is_sharp() -> None:
    """At much noise both directions are about a / (2 k sigma^2)."""
    for order in (2, 10):
        expected = order * (order - 1) / (2 * 20 * 50**2)
        assert bins.added(20, 50.0, 64)[order - 2] == pytest.approx(expected, rel=2e-3)
        assert bins.removed(20, 50.0, 64)[order - 2] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("sigma", [1e-100, 1e-3, 0.1, 0.2, 30.0, 1e6, 1e100])
def test_extreme_noise_has_a_sound_value_or_none(sampling: str, sigma: float) -> None:
    """Ten epochs, of which one alone tells of little noise about what one step tells."""
    release = drawn(sampling, 10**4, 100, sigma, 1000)
    for accountant in ("rdp",) if sampling == "balls_in_bins" else ("pld", "rdp"):
        with suppress(NoValue):
            spent = epsilon(release, 1e-5, accountant)
            assert spent >= 0
            if sigma <= 0.1:
                assert spent >= epsilon(unsampled(sigma, 1), 1e-5, "pld")


# Between PLD_accounting 2.0's (Feldman, Shenfeld 2026) lower and upper end:
# gaussian_allocation_epsilon_range(delta=..., sigma=..., num_steps=k, num_epochs=E).
ALLOCATION = [
    (3, 3.2, 100, 1e-5, 8.941867990786585, 9.036214580923428),
    (100, 1.0, 1, 1e-5, 0.6085096057915768, 0.635651976706838),
    (100, 0.8, 10, 1e-6, 3.3951086385119593, 3.4774046382375587),
    (20, 1.0, 25, 1e-5, 6.894743659745814, 6.984632228758304),
]


@pytest.mark.parametrize(("length", "sigma", "epochs", "delta", "low", "high"), ALLOCATION)
def test_bins_are_above_the_truth_and_not_far(
    length: int, sigma: float, epochs: int, delta: float, low: float, high: float
) -> None:
    release = drawn("balls_in_bins", 32 * length, 32, sigma, epochs * length)
    spent = spend(release, delta)
    assert (spent.accountant, spent.is_upper_bound) == ("rdp", True)
    assert low < spent.epsilon < high * (1.2 if epochs > 1 else 2)


@pytest.mark.parametrize("side", ["removed", "added"])
@pytest.mark.parametrize("spent", [0.2, 1.0])
def test_two_bins_and_two_epochs_by_drawing(side: str, spent: float) -> None:
    """An importance-free estimate of delta with 4 10^6 draws; 6 standard errors are 1e-9."""
    sigma, epochs = 1.5, 2
    rng = np.random.default_rng(5)
    x = sigma * rng.standard_normal((4_000_000 // epochs, epochs, 2))
    if side == "removed":
        x[..., 0] += 1  # which bin is alike
    losses = np.log(np.exp((2 * x - 1) / (2 * sigma**2)).mean(-1)).sum(-1)
    if side == "added":
        losses = -losses
    excess = np.maximum(0.0, -np.expm1(spent - losses))
    estimate = float(excess.mean() - 6 * excess.std() / math.sqrt(len(excess)))
    assert estimate > 0
    assert estimate <= delta(drawn("balls_in_bins", 4, 2, sigma, 4), spent)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SCHEMES)
def test_no_scheme_hides_more_than_its_epochs_or_less_than_no_sampling(sampling: str) -> None:
    spent = epsilon(drawn(sampling, 320, 32, 4.0, 100))
    alone = epsilon(unsampled(4.0, 10))
    if sampling == "shuffled":
        assert spent == pytest.approx(alone)
    else:
        assert spent < (alone if sampling == "balls_in_bins" else epsilon(unsampled(4.0, 100)))


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("accountant", ["auto", "rdp"])
def test_less_data_never_spends_less(sampling: str, accountant: str) -> None:
    found = [
        epsilon(drawn(sampling, n, 16, 3.0, 40), accountant=accountant)
        for n in (16, 17, 31, 32, 33, 100, 400)
    ]
    assert all(more >= less * (1 - 1e-6) for more, less in pairwise(found))


@pytest.mark.parametrize("sampling", ["shuffled", "balls_in_bins"])
def test_steps_are_allowed_by_whole_epochs(sampling: str) -> None:
    release = drawn(sampling, 95, 32, 3.2, 1)
    allowed = max_steps(release, 4.0)
    assert allowed % 3 == 0
    assert epsilon(drawn(sampling, 95, 32, 3.2, allowed)) <= 4.0
    assert epsilon(drawn(sampling, 95, 32, 3.2, allowed + 1)) > 4.0


@pytest.mark.parametrize("sampling", SCHEMES)
def test_a_target_is_met(sampling: str) -> None:
    release = drawn(sampling, 320, 32, 1.0, 30)
    b = noise_scale(release, 3.0)
    spent = epsilon(drawn(sampling, 320, 32, 32 * b, 30))
    assert 3.0 * 0.998 <= spent <= 3.0 * (1 + 1e-12)


def test_releases_of_several_schemes_compose() -> None:
    parts = [drawn(sampling, 320, 32, 6.0, 10) for sampling in ("poisson", "shuffled", "fixed")]
    together = epsilon(parts)
    assert max(map(epsilon, parts)) < together < sum(map(epsilon, parts))
    assert epsilon([*parts, drawn("balls_in_bins", 320, 32, 6.0, 10)]) > together


def test_small_deltas_have_a_value_of_fixed_size() -> None:
    """Where an FFT would not do, Rényi divergences do."""
    spent = spend(drawn("fixed", 320, 32, 6.0, 30), 1e-14)
    assert (spent.accountant, spent.is_upper_bound) == ("rdp", True)


def test_tables_say_which_scheme_nobody_accounts_for() -> None:
    table = budget_table(
        noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=30,
        sampling=["poisson", "balls_in_bins"], accountants=["pld", "rdp"],
    )  # fmt: skip
    assert table["pld"].isna().tolist() == [False, True]
    assert table["note"][1].startswith("accountant: pld does not support sampling 'balls_in_bins'")


def test_events() -> None:
    import dp_accounting as dp

    step = dp.GaussianDpEvent(3.2)
    assert drawn("shuffled", 95, 32, 3.2, 4).dp_event() == dp.SelfComposedDpEvent(step, 2)
    for sampling in ("fixed", "balls_in_bins"):
        assert isinstance(drawn(sampling, 95, 32, 3.2, 4).dp_event(), dp.UnsupportedDpEvent)


@pytest.mark.parametrize(
    ("sampling", "change", "message"),
    [
        ("shuffled", {"batch_size": 31.5}, "batch_size: 31.5 with sampling 'shuffled'; accepte"),
        ("fixed", {"batch_size": 31.5}, "batch_size: 31.5 with sampling 'fixed'; accepted"),
        ("fixed", {"batch_size": None}, "batch_size: sampling 'fixed' needs it"),
        ("shuffled", {"dataset_size": None}, "dataset_size: sampling 'shuffled' needs it"),
        ("balls_in_bins", {"batch_size": 96}, "batch_size: 96 exceeds dataset_size, 95"),
        ("shuffled", {"sampling_rate": 0.1}, "sampling_rate: 0.1 with sampling 'shuffled', which"),
        ("shuffled", {"adjacency": "add-or-remove"}, "adjacency: 'add-or-remove' with sampling"),
        ("balls_in_bins", {"adjacency": "replace-one"}, "adjacency: 'replace-one' with sampling"),
        ("fixed", {"unit": "worker"}, "sampling: 'fixed' is of examples; for the unit 'worker'"),
        ("rain", {}, "sampling: 'rain' is not one of poisson, full, shuffled, fixed, balls_in_b"),
    ],
)  # fmt: skip
def test_refusals(sampling: str, change: dict[str, Any], message: str) -> None:
    fields = {
        "noise_scale": 0.1, "clip_norm": 1.0, "batch_size": 32, "dataset_size": 95, "steps": 3
    }  # fmt: skip
    with pytest.raises(SpecError) as error:
        Release(**{**fields, "sampling": sampling, **change})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("sampling", ["fixed", "balls_in_bins"])
def test_laplace_noise_is_refused_where_nothing_is_proven(sampling: str) -> None:
    with pytest.raises(SpecError, match=f"does not support sampling '{sampling}' of laplace noise"):
        epsilon(drawn(sampling, 95, 32, 3.2, 3, noise="laplace"))
    assert epsilon(drawn(sampling, 95, 32, 0.0, 3, noise="laplace")) == math.inf
