"""Laws of the best learning rate: their fit, and the verdicts on made-up runs with known ones."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from frames import frame
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from study import r4_learning_rate_law as study
from study.power_law import CONSTANT, fitted, predicted, through
from study.rate_laws import PRESCRIBED, THEORY, parts_of, prescriptions
from study.rates import accuracy_at, best_rate, is_at_edge
from study.verdicts import FAILS, HOLDS, UNDECIDED

SEEDS = range(5)
RATES = [10.0**power for power in np.arange(-2.5, 2.6, 0.5)]
SIZES = {"mlp(hidden=16)": 1210, "mlp(hidden=45)": 3385, "mlp(hidden=128)": 9610}


def trained(law, methods=("median",), top=0.9, **axes):
    """Make runs whose accuracy is a parabola in log10 of the rate around that of a law."""
    grid = {"noise_scale": (0.03, 0.1, 0.3), "steps": (30, 100, 300, 1000), "honest": (5, 15, 45)}
    grid |= {"model": ("logistic",), "heterogeneity": (1,), **axes}
    random = np.random.default_rng(0)
    rows = []
    for method in methods:
        for values in itertools.product(*grid.values()):
            spec = dict(zip(grid, values, strict=True))
            for seed in SEEDS:
                best = law(method, spec) + random.normal(0, 0.02)
                rows += [
                    (
                        {**spec, "aggregator": method, "seed": seed, "learning_rate": rate},
                        top - 0.1 * (math.log10(rate) - best) ** 2,
                    )
                    for rate in RATES
                ]
    return frame(*rows)


def power(exponents, constant=-0.9):
    """Return log10 of a rate by theory's names of settings."""

    def law(method, spec):
        at = {
            "b": spec["noise_scale"],
            "T": spec["steps"],
            "n": spec["honest"],
            "d": SIZES.get(spec["model"], 1),
        }
        return constant + sum(each * math.log10(at[axis]) for axis, each in exponents.items())

    return law


def of(verdicts, *words):
    """Return the outcome of the one verdict whose claim has all these words."""
    (found,) = [verdict for verdict in verdicts if all(word in verdict.claim for word in words)]
    return found.outcome


def test_the_best_rate_is_the_top_of_a_parabola_or_the_edge():
    rates = pd.Index([0.1, 0.3, 1.0, 3.0])
    curve = pd.Series(80 - 7 * (np.log10(rates) + 0.2) ** 2, rates)
    assert best_rate(curve) == pytest.approx(-0.2)
    assert not is_at_edge(curve)
    assert best_rate(curve.iloc[:2]) == pytest.approx(math.log10(0.3))
    assert is_at_edge(curve.iloc[:2])
    failed = curve.where(curve.index != 1.0)
    assert best_rate(failed) == pytest.approx(np.log10(0.3))
    assert math.isnan(best_rate(curve * math.nan))
    assert not is_at_edge(curve * math.nan)


def test_what_a_rate_costs_lies_between_its_neighbours_and_is_unknown_beyond_them():
    curves = pd.DataFrame({0: [50.0, 80.0], 1: [40.0, 90.0]}, index=[0.1, 10.0])
    assert accuracy_at(curves, 0.0).tolist() == [65, 65]
    assert accuracy_at(curves, 0.5).tolist() == [72.5, 77.5]
    for beyond in (-1.01, 1.01, math.nan):
        assert np.isnan(accuracy_at(curves, beyond)).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_a_power_law_is_found_again(law):
    at = pd.MultiIndex.from_product([[0.03, 0.1, 1], [30, 1000], [5, 45]], names=["b", "T", "n"])
    known = pd.Series(law, [CONSTANT, "b", "T", "n"])
    rates = pd.Series(
        [law[0] + np.dot(law[1:], np.log10(np.array(each, dtype=float))) for each in at], at
    )
    found = fitted(rates.to_frame(0), ["b", "T", "n"])[0]
    assert found.to_numpy() == pytest.approx(known.to_numpy(), abs=1e-9)
    assert predicted(known, at).to_numpy() == pytest.approx(rates.to_numpy(), abs=1e-9)
    one = through(rates.iloc[3], at[[3]], known.drop(CONSTANT))
    assert one.to_numpy() == pytest.approx(known.to_numpy(), abs=1e-9)


def test_settings_that_determine_no_exponent_have_none():
    at = pd.MultiIndex.from_tuples([(0.1, 30), (0.1, 300)], names=["b", "T"])
    rates = pd.DataFrame({0: [0.0, 1.0]}, at)
    assert fitted(rates, ["T"])[0].tolist() == pytest.approx([-math.log10(30), 1])
    assert fitted(rates, ["b", "T"]).isna().all(axis=None)
    assert fitted(rates.mask(rates == 1), ["T"]).isna().all(axis=None)


def least(bound, start):
    """Return the logarithms at which a bound of logarithms is least."""
    return optimize.minimize(bound, start, method="Nelder-Mead", tol=1e-12).x


def exponent_of(at, low, high):
    """Return the slopes of what is least between two values of a setting."""
    return (at(high) - at(low)) / math.log(high / low)


@pytest.mark.parametrize(
    ("method", "bound"),
    [
        ("median", lambda lr, b, t, n, d: 1 / (t * lr) + d / b**2 + lr * d * b**2 / n),
        (
            "majority_vote",
            lambda lr, b, t, n, d: b / n**0.5 * (1 / (t * lr) + lr * d) + d / b,
        ),
    ],
)
def test_exponents_are_those_of_the_rate_at_which_a_bound_is_least(method, bound):
    """Theorem 6 with n, and our bound of a vote: at a given b, and over b as well."""
    usual = {"b": 3.0, "t": 1e4, "n": 15.0, "d": 650.0}
    for axis, exponent in THEORY[method].items():
        name = axis.lower()

        def best(value, name=name):
            at = usual | {name: value}
            return least(lambda x: bound(math.exp(x[0]), **at), [-5.0])[0]

        assert exponent_of(best, usual[name], 7 * usual[name]) == pytest.approx(exponent, abs=1e-4)

    def both(steps):
        at = {"t": steps, "n": 15.0, "d": 650.0}
        return least(lambda x: bound(math.exp(x[0]), math.exp(x[1]), **at), [-5.0, 1.0])

    rate, noise = exponent_of(both, 1e6, 1e8)
    assert rate == pytest.approx(PRESCRIBED[method]["rate"], abs=1e-3)
    assert noise == pytest.approx(PRESCRIBED[method]["b"], abs=1e-3)


def test_theorys_own_law_is_upheld():
    runs = trained(lambda method, spec: power(THEORY[method], {"median": -0.6}.get(method, -0.4))(
        method, spec), methods=("median", "majority_vote"))  # fmt: skip
    found = study.claims(runs)
    for method in ("median", "majority_vote"):
        for axis in ("b", "T", "n"):
            assert of(found, method, f"as {axis}^") == HOLDS
        assert of(found, method, "law fitted", "at T = 1000 or n = 45") == HOLDS
        assert of(found, method, "theory's law") == HOLDS
    text = study.table(runs)
    assert "| logistic, heterogeneity 1 | median | 650 | " in text
    assert "| -1.0" in text
    assert text.count("T = 1000, n = 45 | 18 | 1.0") == 2


def test_another_law_is_found_and_theory_costs():
    runs = trained(power({"b": -0.4, "T": 0.2, "n": 0.0}, -0.4))
    found = study.claims(runs)
    for axis in ("b", "T", "n"):
        assert of(found, f"as {axis}^") == FAILS
    assert of(found, "law fitted") == HOLDS
    assert of(found, "theory's law") == FAILS


def test_the_exponent_of_d_is_that_of_networks():
    runs = trained(
        power({"b": -1.0, "T": -0.5, "d": -0.5}, 1.0),
        model=tuple(SIZES), honest=(15,), noise_scale=(0.03, 0.1), steps=(100, 300),
    )  # fmt: skip
    (part,) = parts_of(runs)
    assert part.axes == ["b", "T", "d"]
    assert set(part.rates.index.unique("d")) == set(SIZES.values())
    found = study.claims(runs)
    assert of(found, "as d^-0.5") == HOLDS
    assert of(found, "law fitted", "at d = 9610") == HOLDS


@pytest.mark.parametrize(("exponent", "outcome"), [(-0.5, HOLDS), (0.4, FAILS)])
def test_prescriptions_are_those_of_theorem_6(exponent, outcome):
    """At any b as good: the rate follows b and T as Theorem 6 has it, or it does not."""
    law = power({"b": -1.0, "T": exponent}, -0.9 - 2.5 * (exponent + 0.5))
    runs = pd.concat(
        [
            trained(law, honest=(15,), noise_scale=(0.03, 0.1)),
            trained(law, noise_scale=(0.0681,), steps=(30,), honest=(15,)),
            trained(law, noise_scale=(0.1222,), steps=(1000,), honest=(15,)),
        ]
    )
    (part,) = parts_of(runs)
    told = {each.steps: each for each in prescriptions(part)}
    assert list(told) == [30, 300, 1000]  # no b was run that T = 100 asks for
    start, end = told[30], told[1000]
    assert start.noise_scale == 0.0681
    assert end.log_rate - start.log_rate == pytest.approx(-2 / 3 * math.log10(1000 / 30))
    found = study.claims(runs)
    assert of(found, "T = 1000: what Theorem 6 prescribes") == outcome
    assert of(found, "T = 30: what Theorem 6 prescribes") == outcome


def test_what_teaches_nothing_is_left_out_and_failed_runs_decide_nothing():
    law = power(THEORY["median"], -0.6)
    runs = trained(law)
    nothing = runs.assign(accuracy=runs["accuracy"].where(runs["noise_scale"] < 0.3, 0.12))
    (part,) = parts_of(nothing)
    assert set(part.rates.index.unique("b")) == {0.03, 0.1}
    assert "| 24 | 12 |" in study.table(nothing)
    at_chance = runs.assign(accuracy=0.1)
    assert {verdict.outcome for verdict in study.claims(at_chance)} == {UNDECIDED}
    assert study.figure(at_chance)
    large = (runs["steps"] == 1000) & (runs["seed"] == 3)
    found = study.claims(runs.assign(accuracy=runs["accuracy"].mask(large)))
    assert of(found, "law fitted") == UNDECIDED
    assert of(found, "as T^") == UNDECIDED


def test_a_figure_has_a_panel_a_method_and_law():
    drawn = study.figure(trained(power(THEORY["median"], -0.6), methods=("mean", "median")))
    assert len(drawn.axes) == 4
    assert [panel.get_title() for panel in drawn.axes[:2]] == ["mean", "median"]


def test_a_law_that_leads_beyond_the_rates_tried_costs_nobody_knows_what():
    runs = trained(power(THEORY["median"], -0.6))
    few = runs[(runs["learning_rate"] > 0.2) | (runs["honest"] != 45) | (runs["steps"] < 1000)]
    assert of(study.claims(few), "theory's law") == UNDECIDED
    assert "| unknown | a rate beyond those tried |" in study.table(few)
    assert "(b = " in study.table(runs)
