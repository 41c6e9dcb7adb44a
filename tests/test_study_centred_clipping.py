"""The verdicts of centred clipping's experiments on made-up runs with known answers."""

import math

import pytest
from frames import frame
from study import centred_clipping, centred_clipping_oracle
from study.centred_clipping import THUMB, TUNED
from study.verdicts import FAILS, HOLDS, UNDECIDED

BOUND, RIVAL = "centred_clipping(radius=1.0)", "nnm + trimmed_mean"
OF_NOISE = "centred_clipping(radius=1, unit='noise')"
CHOSEN = "centred_clipping(radius=0.3, unit='noise')"
FS = (0, 2, 4)
AT_1 = {
    BOUND: (0.3, 0.1, 0.1),
    OF_NOISE: (0.6, 0.58, 0.1),
    CHOSEN: (0.62, 0.3, 0.45),
    RIVAL: (0.6, 0.57, 0.5),
}
NO_NOISE = {BOUND: (0.9, 0.2, 0.1), OF_NOISE: (0.95, 0.3, 0.1), RIVAL: (0.95, 0.95, 0.94)}
"""Accuracy by rule, at each f. Without noise the radius that was tuned is that of the noise."""


def made_up(at_1=AT_1, no_noise=NO_NOISE):
    """Make runs of five seeds at epsilon 1, where b is 0.5, and without noise."""
    rows, scales = [], []
    for epsilon, table in ((1.0, at_1), (None, no_noise)):
        for rule, accuracies in table.items():
            for f, accuracy in zip(FS, accuracies, strict=True):
                for seed in range(5):
                    spec = {"aggregator": rule, "honest": 15 - f, "byzantine": f, "seed": seed}
                    spec |= {"clip_norm": 1.0, "target_epsilon": epsilon, "model": "logistic"}
                    spec |= {"attack": "alie"} if f else {}
                    rows.append((spec, accuracy + 0.001 * seed))
                    scales.append(0.5 if epsilon else 0.0)
    return frame(*rows).assign(noise_scale=scales)


def of(verdicts, start):
    """Return the one verdict whose claim starts with that."""
    (found,) = [verdict for verdict in verdicts if verdict.claim.startswith(start)]
    return found


def test_which_radius_is_which():
    named = centred_clipping.by_rule(made_up())
    counts = named.groupby([named["target_epsilon"].notna(), "rule"]).size().to_dict()
    rules = (TUNED, THUMB, "radius C", RIVAL)
    assert counts == {(private, rule): 15 for private in (True, False) for rule in rules}
    tuned = named[named["rule"] == TUNED]
    assert set(tuned["aggregator"]) == {
        "centred_clipping(radius=0.3, unit='noise')", "centred_clipping(radius=1.0, unit='noise')",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "outcome", "effect"),
    [
        (f"epsilon 1, clean: {TUNED} is better than radius C by over 1 point", HOLDS, 32),
        (f"epsilon 1, clean: {THUMB} is better than radius C by over 1 point", HOLDS, 30),
        (f"epsilon 1, f = 4, worst case: {THUMB} is better than radius C", UNDECIDED, math.nan),
        (f"epsilon 1, f = 2: {TUNED} keeps half", FAILS, -1),
        (f"epsilon 1, f = 4: {TUNED} keeps half", HOLDS, 14),
        (f"epsilon 1, f = 2: {THUMB} keeps half", HOLDS, 28),
        (f"epsilon 1, f = 2, worst case: {THUMB} is worse than {RIVAL} by at most 2", HOLDS, 1),
        (f"epsilon 1, f = 4, worst case: {TUNED} is worse than {RIVAL} by at most 2", FAILS, -5),
        (f"without noise, clean: {TUNED} is worse than {RIVAL} by at most 2 points", HOLDS, 0),
        (f"without noise, f = 2: {TUNED} keeps half", FAILS, -17.5),
    ],
)
def test_claims(claim, outcome, effect):
    verdict = of(centred_clipping.claims(made_up()), claim)
    assert verdict.outcome == outcome
    assert verdict.effect == pytest.approx(effect, abs=0.2, nan_ok=True)


def test_every_budget_and_f_is_claimed_of_once_for_either_radius():
    claims = [verdict.claim for verdict in centred_clipping.claims(made_up())]
    assert len(claims) == len(set(claims)) == 2 * 2 * (3 + 2 + 3)


def test_the_oracle():
    found = centred_clipping_oracle.claims(made_up())
    assert of(found, f"epsilon 1, f = 4: {TUNED} keeps half").outcome == HOLDS
    attacked = "epsilon 1, f = 4, worst case:"
    assert of(found, f"{attacked} {TUNED} is better than {THUMB}").outcome == HOLDS
    assert of(found, f"{attacked} {TUNED} is worse than {RIVAL} by at most 2").outcome == FAILS
    assert of(found, f"epsilon 1, clean: {TUNED} is worse than {RIVAL} by at most").effect == (
        pytest.approx(2)
    )
    same = of(found, f"without noise, f = 4, worst case: {TUNED} is better than {THUMB}")
    assert same.outcome == UNDECIDED  # both are broken


def test_the_table_tells_radii_and_what_they_are_multiples_of():
    table = centred_clipping.table(made_up())
    assert f"| 1 | {TUNED} | 0.3 L | 62.20±0.20 | 30.20±0.20 | 45.20±0.20 |" in table
    assert f"| ∞ | {TUNED} | 1 L | 95.20±0.20 | 30.20±0.20 | 10.20±0.20 |" in table
    assert "| 1 | radius C | 1 C |" in table
    length = math.sqrt(650) * 0.5 + 1 + 3 / math.sqrt(32)
    assert f"| 1 | 0.5, {length:.3g} | 0.5, {length:.3g} |" in table
