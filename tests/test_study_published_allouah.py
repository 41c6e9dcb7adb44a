"""The claims of `published_allouah` on made-up runs of a world where costs add, and of theirs."""

import math

import pandas as pd
import pytest
from frames import frame
from study import published_allouah as study
from study.verdicts import FAILS, HOLDS, UNDECIDED

SEEDS = range(1, 6)
DIM = 7850
S = {None: 0.0, 8: 0.02, 1: 0.05}
RULES = ["median", "trimmed_mean", "nnm + trimmed_mean", "smea"]
ATTACKS = ["alie", "label_flip"]


def worst_error(rule, honest, epsilon, f, adds):
    """Have attackers cost f / n of the whole noise, or its share of the mean, or as without any."""
    noise = DIM * S[epsilon] ** 2
    both = noise if rule in ("median", "trimmed_mean") else noise / honest
    return noise / honest + f / (honest + f) * (0.01 if adds else 0.01 + 3 * both)


def accuracy(rule, momentum, epsilon, f):
    """Have momentum and whole vectors help against f attackers, in noise alone."""
    lost = 0.02 * f * (1 + (rule != "smea")) * (1 + (momentum == 0)) * (epsilon is not None)
    return 0.8 - lost


def made_up(adds=False):
    rows, errors = [], []
    for honest, momentum in ((10, 0.0), (10, 0.9), (5, 0.0)):
        for rule in RULES:
            for epsilon in (None, 8, 1):
                for f in (0, 1, 2, 4):
                    if (honest == 5 and (f not in (0, 2) or epsilon != 1)) or (
                        momentum and (f not in (0, 4) or epsilon == 8)
                    ):
                        continue
                    for attack in ATTACKS if f else [None]:
                        for seed in SEEDS:
                            settings = {
                                "honest": honest,
                                "worker_momentum": momentum,
                                "aggregator": rule,
                                "target_epsilon": epsilon,
                                "byzantine": f,
                                "attack": attack,
                                "clip_norm": 1.0,
                                "seed": seed,
                            }
                            worst = attack != "label_flip"
                            error = worst_error(rule, honest, epsilon, f, adds)
                            rows.append(
                                (settings, accuracy(rule, momentum, epsilon, f) + 0.001 * seed)
                            )
                            errors.append(error * (1 + 1e-4 * seed) * (1 if worst else 0.5))
    runs = frame(*rows)
    noise = [S[None if pd.isna(at) else int(at)] for at in runs["target_epsilon"]]
    return runs.assign(error=errors, noise_scale=noise, kappa_bound=1.0, error_bound=100.0)


def outcome(found, beginning):
    (verdict,) = [each for each in found if each.claim.startswith(beginning)]
    return verdict.outcome


def test_where_both_multiply_every_claim_of_theirs_holds():
    runs = made_up()
    found = study.claims(runs)
    assert len(found) == len({each.claim for each in found}) == 2 + 12 + 5 * 4 + 2 + 6 + 2 + 8
    whole = {"nnm + trimmed_mean", "smea"}
    for rule in RULES:
        of_rule = [each for each in found if each.claim.startswith(f"{rule}, ")]
        assert len(of_rule) == 3 + 5
        assert {each.outcome for each in of_rule} == {HOLDS}
        widens = "attackers cost more accuracy"
        assert outcome(found, f"{rule} with momentum 0.9, f = 4: {widens}") == HOLDS
        (power,) = [each for each in of_rule if "goes as s^2" in each.claim]
        assert power.effect == pytest.approx(2, abs=0.2)
        (kept,) = [each for each in of_rule if "keep" in each.claim]
        assert kept.effect == pytest.approx(0.5 if rule in whole else 0.9, abs=0.06)
    theirs = "smea with momentum 0.9 is better than"
    for other in ("median without momentum", "trimmed_mean with momentum 0.9", "smea without"):
        pick = [each for each in found if theirs in each.claim and f"than {other}" in each.claim]
        assert {each.claim.split(",")[0]: each.outcome for each in pick} == {
            "without noise": FAILS,
            "epsilon 1": HOLDS,
        }


def test_where_they_add_the_claims_of_both_fail():
    found = study.claims(made_up(adds=True))
    assert outcome(found, "epsilon 1, no attackers") == HOLDS
    for rule in RULES:
        for f in (1, 2, 4):
            assert outcome(found, f"{rule}, f = {f}: attackers add more") == FAILS
        assert outcome(found, f"{rule}, f = 4: what attackers add goes as s^2") == FAILS
    assert outcome(found, "trimmed_mean, epsilon 1, f = 4: attackers add more than") == FAILS


def test_a_failed_run_and_attackers_that_help_decide_nothing():
    runs = made_up()
    attacked = (runs["aggregator"] == "smea") & (runs["byzantine"] == 4)
    helped = runs.assign(error=runs["error"].mask(attacked, 1e-6))
    found = study.claims(helped)
    assert outcome(found, "smea, f = 4: what attackers add goes as s^2") == UNDECIDED
    assert outcome(found, "smea, f = 4: attackers add more to the error") == FAILS
    failed = runs.assign(error=runs["error"].mask(attacked & (runs["seed"] == 3), math.nan))
    found = study.claims(failed)
    assert outcome(found, "smea, f = 4: attackers add more to the error") == UNDECIDED
    (exponent,) = [each for each in found if "smea, f = 4: what attackers add goes" in each.claim]
    assert exponent.test == "not tested: a run failed"


def test_the_bound_of_smea_is_the_spectral_one():
    runs = made_up()
    price = study.prices(runs)
    assert price[10, 1.0] == pytest.approx((0.05, DIM * 0.05**2 / 10))
    of_smea = study.proven(runs, price, "smea", 1.0, 4)
    assert study.proven(runs, price, "median", 1.0, 4) == 100.0
    both = 1 + 0.05 * math.sqrt(((math.sqrt(10) + math.sqrt(DIM)) ** 2 + 1) / 10)
    assert of_smea == pytest.approx((both + 0.05 * math.sqrt(DIM / 10)) ** 2)


def test_the_page_has_every_rule_and_the_figure_a_line_each():
    runs = made_up()
    table = study.table(runs)
    assert table.count("\n| smea |") == 4 + 2 + 4 + 2
    assert "| smea | 5 | 2 |  |  |" in table
    drawn = study.figure(runs)
    assert len(drawn.axes) == 2
    for panel in drawn.axes:
        heights = {tuple(line.get_ydata().round(2)) for line in panel.get_lines()}
        assert any(at[-1] == pytest.approx(1 + 4 / 14 * 30, rel=0.02) for at in heights)
        assert any(at[-1] == pytest.approx(1 + 4 / 14 * 3, rel=0.02) for at in heights)
