"""What observers get out: verdicts on made-up audits, what is known of a mean, kept audits."""

import math
from statistics import mean

import answer
import numpy as np
import pandas as pd
import pytest
from study import audited, observers
from study.audited import Audits
from study.verdicts import FAILS, HOLDS, UNDECIDED

from privrobust import RunSpec
from privrobust.audit import f_dp_bound, guess_by_score
from privrobust.audit.lower_bound import gaussian_epsilon
from privrobust.audit.verdict import GUESSED
from privrobust.errors import PrivRobustError
from privrobust.sweeps import load_sweep
from privrobust.sweeps.grid import Sweep
from privrobust.training.privacy_plan import PrivacyPlan

RULES = ("mean", "median", "krum(f=2)", "majority_vote")
FOUND = {
    ("messages", 0): (5.0, 5.0, 5.0, 4.3),
    ("aggregates", 0): (1.0, 0.8, 0.0, 1.2),
    ("model", 0): (1.0, 0.7, 0.0, 1.1),
    ("aggregates", 2): (3.0, 2.9, 4.9, 1.3),
    ("model", 2): (2.5, 2.5, 4.6, 1.2),
}


def made_up(found=FOUND):
    """Make audits of every rule and observer, of five seeds that differ by a little."""
    return pd.DataFrame(
        {
            "aggregator": rule,
            "observer": observer,
            "helpers": helpers,
            "seed": seed,
            "epsilon_if_gaussian": value + 0.01 * ((seed + at) % 5 - 2) * (value > 0),
            "epsilon_lower_bound": value / 2,
            "claimed": 6.9 if rule == "majority_vote" else 8.0,
            "delta": 1e-5,
            "runs": 45,
            "per_run": 100,
            "honest": 10,
            "is_refuted": False,
            "seconds": 6.0,
            "versions": "made up",
        }
        for (observer, helpers), values in found.items()
        for at, (rule, value) in enumerate(zip(RULES, values, strict=True))
        for seed in range(5)
    )


def of(verdicts, *words):
    (found,) = [verdict for verdict in verdicts if all(word in verdict.claim for word in words)]
    return found.outcome


def test_rules_are_judged_against_the_mean_their_claim_and_no_helpers():
    found = observers.claims(made_up())
    assert len(found) == 4 + 2 * 3 + 4 + 1 + 4
    assert of(found, "messages of vectors", "half") == HOLDS  # 5.0 of 8
    assert of(found, "messages of majority_vote", "half") == HOLDS  # 4.3 of 6.9
    assert of(found, "less is found than in vectors") == HOLDS
    assert of(found, "as large a share") == HOLDS  # 62.5 and 62.3 %
    for rule, alone, helped, gains, half in (
        ("median", FAILS, FAILS, HOLDS, FAILS),
        ("krum(f=2)", FAILS, HOLDS, HOLDS, HOLDS),
        ("majority_vote", FAILS, FAILS, FAILS, FAILS),
    ):
        assert of(found, f"{rule}, no helpers", "the mean's") == alone
        assert of(found, f"{rule}, two helpers", "the mean's") == helped
        assert of(found, f"{rule}: two helpers get more") == gains
        assert of(found, f"{rule}, two helpers", "over half") == half
    assert of(found, "some rule, no helpers") == FAILS


def test_that_nothing_is_found_of_two_rules_does_not_make_them_equal():
    none = FOUND | {("aggregates", 0): (0.0, 0.0, 0.0, 1.2)}
    found = observers.claims(made_up(none))
    assert of(found, "median, no helpers", "the mean's") == UNDECIDED
    assert of(found, "majority_vote, no helpers", "the mean's") == HOLDS


def test_the_claim_for_messages_is_the_truth_of_vectors():
    """The accountant, a grid of privacy losses, and the closed form of a Gaussian agree."""
    sweep = load_sweep(answer.HERE / "observers.yaml")
    spec = sweep.runs()[0]
    assert spec.aggregator == "mean"
    claimed = PrivacyPlan(spec).spent.epsilon
    mu = math.sqrt(spec.steps) * spec.clip_norm / (spec.batch_size * spec.noise_scale)
    assert observers.mu_of(claimed, spec.delta) == pytest.approx(mu, rel=1e-3)


@pytest.mark.parametrize(("honest", "helpers"), [(10, 0), (10, 2), (3, 1)])
def test_what_a_mean_tells_follows_from_its_weights(honest, helpers):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200_000, honest))
    sent = np.concatenate([noise, np.repeat(noise[:, :1], helpers, axis=1)], axis=1)
    moved = (1 + helpers) / (honest + helpers)  # by a message that is 1 larger
    spread = sent.mean(axis=1).std()
    # the standard deviation of so many is off by 0.16 %: this is six of those
    assert observers.mean_tells(1.0, honest, helpers) == pytest.approx(moved / spread, rel=0.01)


@pytest.mark.parametrize("mu", [0.53, 1.18, 1.67])
def test_at_best_is_what_the_best_attack_finds_on_average(mu):
    rng, canaries = np.random.default_rng(1), 2700

    def audit(share):
        included = rng.random(canaries) < 0.5
        scores = rng.normal(size=canaries) + mu * included
        each = int(share * canaries)
        return f_dp_bound(guess_by_score(scores, included, each, each), 1e-5).epsilon_lower_bound

    found = max(mean(audit(share) for _ in range(30)) for share in GUESSED)
    expected = observers.at_best(mu, 1e-5, 4500)
    assert expected == pytest.approx(found, abs=0.25)
    assert 0 < expected < gaussian_epsilon(mu, 1e-5)


def test_the_least_that_is_seen_is_seen_and_less_is_not():
    least = observers.least_seen(1e-5, 1000)
    below = observers.mu_of(least - 0.1, 1e-5)
    assert observers.at_best(observers.mu_of(least, 1e-5), 1e-5, 1000) > 0
    assert observers.at_best(below, 1e-5, 1000) == 0


def test_the_table_tells_what_is_claimed_true_and_found():
    lines = observers.table(made_up()).splitlines()
    assert "| krum(f=2) | 8.00 | 5.00 ± 0.02 | 0.00 ± 0.00 |" in lines[4]
    assert lines[6].startswith("| *truth of the mean* |  | 8.00 | ")
    assert "Refuted: 0 of 100 claims" in lines[-1]


def test_a_page_of_audits_says_so(tmp_path):
    runs = made_up()
    answer.write("observers", runs, runs.iloc[:0], tmp_path, {})
    page = (tmp_path / "observers.md").read_text()
    assert page.startswith("# Which rules does an auditor get most out of?\n\n<!-- measured -->")
    assert "The 100 audits took 10.0 minutes of one process (made up)." in page
    assert "```\npython experiments/answer.py observers\n```" in page
    assert len(pd.read_csv(tmp_path / "observers.csv")) == len(runs)


def test_what_people_wrote_is_kept_and_a_page_that_does_not_say_what_that_is_is_refused(tmp_path):
    runs = made_up().assign(seconds=0.01)
    page = tmp_path / "observers.md"
    page.write_text("# Ours\n\nYes.\n\n<!-- measured -->\n\nOld.\n")
    answer.write("observers", runs, runs.iloc[:0], tmp_path, {})
    assert page.read_text().startswith("# Ours\n\nYes.\n\n<!-- measured -->\n\n![")
    assert "Old." not in page.read_text()
    assert "The 100 audits took under 0.1 minutes" in page.read_text()
    page.write_text("# Ours\n\nYes.\n")
    with pytest.raises(PrivRobustError, match=r"observers\.md: has no <!-- measured -->; put it"):
        answer.write("observers", runs, runs.iloc[:0], tmp_path, {})
    assert page.read_text() == "# Ours\n\nYes.\n"


SMALL = Sweep.from_settings(
    {
        "honest": 3,
        "clip_norm": 1.0,
        "noise_scale": 0.01,
        "batch_size": 400,
        "sampling_rate": 1.0,
        "steps": 1,
        "attack": "mimic",
        "grid": {"byzantine": [0, 1], "seed": [0, 1]},
    }
)


def test_audits_that_are_kept_are_not_made_again(tmp_path, monkeypatch):
    """Whether made in one go or resumed, alone or among others, they are the same."""
    kept, asked, made = tmp_path / "some.csv", Audits(runs=2, canaries=60), []

    def counted(specs, *arguments, **settings):
        made.extend(specs)
        return audits(specs, *arguments, **settings)

    audits = audited.audits
    monkeypatch.setattr(audited, "audits", counted)
    whole = audited.audited(SMALL, asked, kept)
    assert [spec.key for spec in made] == [spec.key for spec in SMALL.runs()]
    helped = whole["helpers"] == 1
    assert (
        whole["observer"].tolist()
        == ["messages", "aggregates", "model"] * 2
        + [
            "aggregates",
            "model",
        ]
        * 2
    )
    assert helped.tolist() == [False] * 6 + [True] * 4

    again = audited.audited(SMALL, asked, kept)
    assert len(made) == 4
    pd.testing.assert_frame_equal(again, whole)

    whole[whole["seed"] == 1].to_csv(kept, index=False)
    resumed = audited.audited(SMALL, asked, kept)
    assert [spec.seed for spec in made[4:]] == [0, 0]
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), whole.drop(columns="seconds"))

    more = audited.audited(SMALL, Audits(runs=3, canaries=60), kept)
    assert len(made) == 10
    assert set(more["runs"]) == {3}


def test_an_audit_is_of_the_run_and_its_seed(tmp_path):
    asked = Audits(runs=2, canaries=60)
    rows = audited.audited(SMALL, asked, tmp_path / "all.csv")
    spec = RunSpec.model_validate(SMALL.runs()[1].model_dump())
    (found,) = audited.audits([spec], ["model"], runs=2, per_run=60, seed=1, confidence=0.85)
    (row,) = rows[(rows["key"] == spec.key) & (rows["observer"] == "model")].to_dict("records")
    assert row["epsilon_if_gaussian"] == pytest.approx(found.epsilon_if_gaussian, rel=1e-5)
    assert row["claimed"] == pytest.approx(found.claimed, rel=1e-5)
