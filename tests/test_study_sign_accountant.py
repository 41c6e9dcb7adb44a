"""The verdicts of the sign's accountant on made-up runs with known answers."""

import math

import pytest
from frames import frame
from study import sign_accountant
from study.verdicts import FAILS, HOLDS, UNDECIDED

SIGNS, VECTORS, MEDIAN = ("majority_vote", "sign"), ("majority_vote", "pld"), ("median", "pld")
NOISE = {SIGNS: 0.4, VECTORS: 0.5, MEDIAN: 0.5}
AT_1 = {SIGNS: (0.5, 0.4), VECTORS: (0.48, 0.1), MEDIAN: (0.52, 0.45)}
AT_8 = {SIGNS: (0.9, 0.1), VECTORS: (0.91, 0.1), MEDIAN: (0.8, 0.1)}
"""Accuracy by rule and accountant, clean and with f = 3."""


def made_up():
    rows, scales = [], []
    for epsilon, table in ((1.0, AT_1), (8.0, AT_8)):
        for rule, accuracies in table.items():
            for f, accuracy in zip((0, 3), accuracies, strict=True):
                for seed in range(5):
                    spec = dict(zip(("aggregator", "accountant"), rule, strict=True))
                    spec |= {"honest": 15 - f, "byzantine": f, "seed": seed, "batch_size": 32}
                    spec |= {"clip_norm": 2.0, "target_epsilon": epsilon}
                    spec |= {"attack": "alie"} if f else {}
                    rows.append((spec, accuracy + 0.001 * seed))
                    scales.append(NOISE[rule] / epsilon)
    return frame(*rows).assign(noise_scale=scales)


def of(verdicts, *words):
    """Return the one verdict whose claim has all these words."""
    (found,) = [verdict for verdict in verdicts if all(word in verdict.claim for word in words)]
    return found


def test_gains_are_paired_and_broken_settings_are_not_compared():
    found = sign_accountant.claims(made_up())
    gain = of(found, "epsilon 1, clean", "gains")
    assert (gain.outcome, gain.effect) == (HOLDS, pytest.approx(2))
    assert (gain.low, gain.high) == pytest.approx((2, 2))  # seeds differ, pairs do not
    assert of(found, "epsilon 1, f = 3", "gains").effect == pytest.approx(30)
    nothing = of(found, "epsilon 8, f = 3", "gains")
    assert nothing.outcome == UNDECIDED
    assert math.isnan(nothing.effect)
    assert of(found, "epsilon 8, clean", "gains").outcome == FAILS


def test_the_median_and_the_breaking_point():
    found = sign_accountant.claims(made_up())
    assert of(found, "epsilon 1, clean", "median").outcome == FAILS
    assert of(found, "epsilon 8, clean", "median").outcome == HOLDS
    later = of(found, "f = 3: at some epsilon")
    assert later.outcome == HOLDS
    assert "(epsilon 1" in later.claim
    assert len(found) == 2 * 2 + 2 * 2 + 1


def test_what_each_charge_takes():
    table = sign_accountant.table(made_up())
    assert f"| 1 | 0 | 0.4 | 0.5 | {0.4 * 32 / 2:g} | {0.5 * 32 / 2:g} | 20.0% |" in table
    assert "| 1 | sign vote, as signs | 50.20±0.20 | 40.20±0.20 |" in table
