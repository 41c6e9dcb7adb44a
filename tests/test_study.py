"""The verdicts of experiments/ on made-up runs with known answers, and one quick experiment."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answer import NAMES, shortened
from frames import frame
from scipy import stats
from study import (
    backdoors,
    correlated_noise,
    generalisation,
    local_steps,
    minority_classes,
    r1_iid,
    r1_noise_vs_robustness,
    r1_tradeoff,
    r2_clipping,
    r2_known_bound,
    r4_bias_variance,
    r4_learning_rate,
    real_workers,
    sign_vs_median,
    trilemma,
)
from study.outcomes import outcomes, slopes
from study.probe import gradients
from study.verdicts import FAILS, HOLDS, UNDECIDED, all_of, any_of, judge, markdown, tally

from privrobust import RunSpec
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustError
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.planning import planned
from privrobust.sweeps.runner import check

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
SEEDS = range(5)


def made_up(accuracy, **axes):
    """Make runs of every combination, of `accuracy` and a little of each seed's own."""
    settings = [{}]
    for field, values in axes.items():
        settings = [each | {field: value} for each in settings for value in values]
    rows = []
    for each in settings:
        if not each.get("byzantine") and each.get("attack") != axes.get("attack", [None])[0]:
            continue  # without attackers there is one run
        for seed in SEEDS:
            spec = {"workers": 15, **each, "seed": seed}
            spec.pop("honest", None)
            fields = {name: value for name, value in spec.items() if name != "workers"}
            fields["honest"] = 15 - spec.get("byzantine", 0)
            rows.append((fields, accuracy(each) + 0.001 * seed))
    return frame(*rows)


def of(verdicts, *words):
    """Return the outcome of the one verdict whose claim has all these words."""
    (found,) = [verdict for verdict in verdicts if all(word in verdict.claim for word in words)]
    return found.outcome


def test_intervals_are_those_of_scipy():
    sample = np.array([1.3, 2.1, 0.7, 1.9, 2.5])
    verdict = judge("", sample, (0, math.inf), level=0.9)
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.9)
    assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))
    shared = judge("", sample, (0, math.inf), comparisons=4)
    expected = stats.ttest_1samp(sample, 0).confidence_interval(1 - 0.05 / 4)
    assert (shared.low, shared.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("sample", "accepted", "outcome"),
    [
        ([2, 2.1, 1.9], (1, math.inf), HOLDS),
        ([0.2, 0.1, 0.3], (1, math.inf), FAILS),
        ([0.5, 1.5, 1.0], (1, math.inf), UNDECIDED),
        ([0.2, -0.1, 0.1], (-1, 1), HOLDS),
        ([3, 3.1, 3.2], (-1, 1), FAILS),
        ([0.9, 1.1, 1.0], (-1, 1), UNDECIDED),
        ([5, 5, 5], (1, math.inf), HOLDS),
        ([5], (1, math.inf), UNDECIDED),
        ([5, math.nan, 5], (1, math.inf), UNDECIDED),
        ([], (1, math.inf), UNDECIDED),
    ],
)
def test_a_claim_holds_where_the_whole_interval_is_accepted(sample, accepted, outcome):
    assert judge("", sample, accepted).outcome == outcome


def test_claims_that_are_just_false_are_seldom_upheld():
    """In 2.5 % of samples at the margin; 3.75 % of 5,000 is 5.6 standard deviations off."""
    samples = np.random.default_rng(0).normal(1, 1, (5_000, 5))
    upheld = np.mean([judge("", sample, (1, math.inf)).outcome == HOLDS for sample in samples])
    assert 0.0125 < upheld < 0.0375


def test_any_and_all():
    yes, no, open_ = (
        judge(name, sample, (1, math.inf))
        for name, sample in (("yes", [2, 2.1]), ("no", [0, 0.01]), ("open", [0, 2]))
    )
    assert any_of("", [no, yes, open_]).outcome == HOLDS
    assert any_of("", [no, no]).outcome == FAILS
    assert any_of("", [no, open_]).outcome == UNDECIDED
    assert all_of("", [yes, no, open_]).outcome == FAILS
    assert all_of("", [yes, yes]).outcome == HOLDS
    assert all_of("", [yes, open_]).outcome == UNDECIDED
    assert "(yes)" in any_of("", [no, yes]).claim
    assert markdown([yes]).count("\n") == 2


def test_the_worst_attack_of_each_seed_and_nothing_where_a_run_failed():
    runs = frame(
        ({"seed": 0}, 0.9),
        ({"seed": 0, "byzantine": 2, "attack": "alie"}, 0.5),
        ({"seed": 0, "byzantine": 2, "attack": "sign_flip"}, 0.4),
        ({"seed": 1}, 0.8),
        ({"seed": 1, "byzantine": 2, "attack": "alie"}, 0.3),
        ({"seed": 1, "byzantine": 2, "attack": "sign_flip"}, 0.6),
    )
    found = outcomes(runs, ["aggregator"])
    assert found.loc[("median", 0)].tolist() == pytest.approx([90, 80])
    assert found.loc[("median", 2)].tolist() == pytest.approx([40, 30])
    runs.loc[2, "accuracy"] = None
    assert math.isnan(outcomes(runs, ["aggregator"]).loc[("median", 2), 0])


def test_slopes_are_least_squares():
    values = pd.DataFrame({0: [1.0, 3.0, 4.0], 1: [0.0, 0.0, 1.0]})
    expected = [np.polyfit([0, 1, 3], values[column], 1)[0] for column in values]
    assert slopes(values, [0, 1, 3]).tolist() == pytest.approx(expected)
    assert slopes(values.mask(values == 3), [0, 1, 3]).isna().all()


def test_noise_vs_robustness():
    """The median loses 20 points a decade and breaks sooner with more f; the vote loses nothing."""

    def accuracy(run):
        f, b = run["byzantine"], run["noise_scale"]
        if run["aggregator"] == "majority_vote" or not f:
            return 0.9
        return 0.9 - 0.1 * f - 0.2 * (math.log10(b) + 3 if b else 0)

    runs = made_up(
        accuracy,
        aggregator=["median", "majority_vote"],
        noise_scale=[0, 0.001, 0.01, 0.1],
        byzantine=[0, 1, 2, 3, 4],
        attack=["alie", "sign_flip"],
    )
    found = r1_noise_vs_robustness.claims(runs)
    assert of(found, "median", "f = 2", "damage") == HOLDS
    assert of(found, "median", "breaks") == HOLDS
    assert of(found, "majority_vote", "f = 2", "damage") == FAILS
    assert of(found, "majority_vote", "breaks") == FAILS  # at no b, whatever f
    broken = r1_noise_vs_robustness.breaks(runs)
    assert broken.loc[("median", 0, 1)].tolist() == [0.1] * 5  # 0.4 of 0.9
    assert broken.loc[("median", 0, 2)].tolist() == [0.1] * 5
    assert broken.loc[("median", 0, 3)].tolist() == [0.01] * 5
    assert broken.loc[("majority_vote", 0, 4)].tolist() == [math.inf] * 5
    assert "| 0.1 |" in r1_noise_vs_robustness.table(runs)
    assert "| median | 0 | alie | 30 | 40 | 50 | 60 |" in r1_noise_vs_robustness.table(runs)

    lost = runs.assign(accuracy=runs["accuracy"].where(runs["byzantine"] < 2))
    found = r1_noise_vs_robustness.claims(lost)
    assert of(found, "median", "f = 1", "damage") == HOLDS
    assert of(found, "median", "f = 2", "damage") == UNDECIDED
    assert of(found, "median", "breaks") == UNDECIDED  # failed runs say nothing
    chance = runs.assign(accuracy=0.1)
    found = r1_noise_vs_robustness.claims(chance)
    assert of(found, "median", "f = 2", "damage") == UNDECIDED


def test_tradeoff():
    """Some noise is better on heterogeneous data with f = 1 alone; b = 0.1 is best there."""

    def accuracy(run):
        is_helped = run["heterogeneity"] and run["byzantine"] == 1 and run["noise_scale"] == 0.1
        return 0.6 + 0.1 * is_helped - 0.1 * (run["noise_scale"] == 1)

    runs = made_up(
        accuracy,
        aggregator=["median"],
        heterogeneity=[0, 1],
        noise_scale=[0, 0.1, 1],
        byzantine=[0, 1, 2],
        attack=["alie"],
    )
    found = r1_tradeoff.claims(runs)
    assert of(found, "heterogeneity 1, f = 1") == HOLDS
    assert of(found, "heterogeneity 1, f = 2") == FAILS
    assert of(found, "heterogeneity 0, f = 1") == FAILS
    settings = dict(r1_tradeoff._settings(outcomes(runs, r1_tradeoff._FIELDS)))
    assert r1_tradeoff.best_noise(settings[("median", 1, 1)]) == (0.1, 0.1, 0.1)
    assert "0.1 (0.1 to 0.1) \\*" in r1_tradeoff.table(runs)
    failed = settings[("median", 1, 1)].copy()
    failed.loc[0.1, 0] = math.nan
    assert r1_tradeoff.best_noise(failed) == (0, 0, 0)
    assert np.isnan(r1_tradeoff.best_noise(failed * math.nan)).all()
    runs.loc[runs["byzantine"] == 1, ["accuracy", "failure"]] = [math.nan, "no memory"]
    assert "| median | 1 | 0 (0 to 0) | failed |" in r1_tradeoff.table(runs)


def test_iid():
    runs = made_up(
        lambda run: 0.9 - 0.05 * (run["noise_scale"] > 0.03),
        aggregator=["median"],
        noise_scale=[0, 0.003, 0.01, 0.1],
        byzantine=[0, 2],
        attack=["alie"],
    )
    assert {verdict.outcome for verdict in r1_iid.claims(runs)} == {HOLDS}
    flat = made_up(
        lambda run: 0.9 - 0.05 * (run["noise_scale"] == 0.01),
        aggregator=["median"],
        noise_scale=[0, 0.003, 0.01, 0.1],
        byzantine=[0],
    )
    assert [verdict.outcome for verdict in r1_iid.claims(flat)] == [FAILS, FAILS]


@pytest.mark.parametrize(("exponent", "outcome"), [(-1.0, HOLDS), (-0.4, FAILS)])
def test_the_exponent_of_the_best_rate_is_found_between_the_rates_tried(exponent, outcome):
    rates = [10.0**power for power in np.arange(-3, 2, 0.5)]

    def accuracy(run):
        best = exponent * math.log10(run["noise_scale"]) - 1.2
        return 0.9 - 0.05 * (math.log10(run["learning_rate"]) - best) ** 2

    runs = made_up(
        accuracy, aggregator=["median"], noise_scale=[0.03, 0.1, 0.3, 1], learning_rate=rates
    )
    best = r4_learning_rate.best_rates(runs).loc[("median", 0, 0.1)]
    assert best.tolist() == pytest.approx([-exponent - 1.2] * 5)
    found = r4_learning_rate.claims(runs)
    assert of(found, "b^-1") == outcome
    assert of(found, "falls") == HOLDS
    all_failed = (runs["noise_scale"] == 1) & (runs["seed"] == runs["seed"].max())
    found = r4_learning_rate.claims(runs.assign(accuracy=runs["accuracy"].mask(all_failed)))
    assert {verdict.outcome for verdict in found} == {UNDECIDED}


def test_sign_vs_median():
    runs = made_up(
        lambda run: 0.8 - 0.05 * (run["aggregator"] == "majority_vote" and run["byzantine"] == 2),
        aggregator=["median", "majority_vote"],
        target_epsilon=[4.0],
        clip_norm=[1.0],
        byzantine=[0, 2],
        attack=["alie"],
    )
    found = sign_vs_median.claims(runs)
    assert of(found, "clean") == HOLDS
    assert of(found, "worst case") == FAILS
    assert "| majority_vote | 1 | 650 |" in sign_vs_median.table(runs)
    broken = runs.assign(accuracy=runs["accuracy"].where(runs["byzantine"] == 0, 0.1))
    assert of(sign_vs_median.claims(broken), "worst case") == UNDECIDED
    assert tally(sign_vs_median.claims(broken)) == (
        "Of 2 claims 1 holds, 0 do not, and 1 is undecided."
    )


def test_local_steps():
    """Ten steps are worth 5 points without noise, and nothing with it; attacks break the mean."""

    def accuracy(run):
        if run["byzantine"]:
            return 0.1
        return 0.8 + 0.05 * (run["steps"] * run["local_steps"] == 300 and not run["target_epsilon"])

    runs = pd.concat(
        made_up(
            accuracy,
            target_epsilon=[4.0, None],
            clip_norm=[1.0],
            aggregator=["mean"],
            steps=[steps],
            local_steps=local,
            byzantine=[0, 2],
            attack=["alie"],
        )
        for steps, local in ((30, [1, 3, 10]), (300, [1]))
    )
    found = local_steps.claims(runs)
    assert len(found) == 2 * 2 * 3
    assert of(found, "without noise", "clean", "10 local steps are better") == HOLDS
    assert of(found, "without noise", "clean", "3 local steps are better") == FAILS
    assert of(found, "epsilon 4", "clean", "10 local steps are better") == FAILS
    for privacy in ("epsilon 4", "without noise"):
        assert of(found, privacy, "clean", "30 messages of 10") == HOLDS
        assert of(found, privacy, "f = 2", "30 messages of 10") == UNDECIDED
    assert "local_steps" in local_steps.table(runs)


def test_correlated_noise():
    """The mean gains 3 points by much of it, the median loses 3; under attack both are broken."""

    def accuracy(run):
        if run["byzantine"]:
            return 0.1
        gain = 0.03 if run["aggregator"] == "mean" else -0.03
        return 0.8 + gain * (run["pairwise_noise"] == 2)

    runs = made_up(
        accuracy,
        aggregator=["mean", "median"],
        pairwise_noise=[None, 0.5, 2.0],
        target_epsilon=[2.0],
        clip_norm=[1.0],
        byzantine=[0, 2],
        attack=["alie"],
    )
    found = correlated_noise.claims(runs)
    assert len(found) == 8
    assert [of(found, "mean", "clean", verb) for verb in ("gains", "costs")] == [HOLDS, FAILS]
    assert [of(found, "median", "clean", verb) for verb in ("gains", "costs")] == [FAILS, HOLDS]
    assert of(found, "median", "worst case", "gains") == UNDECIDED
    table = correlated_noise.table(runs)
    assert "| median | 80.2 ± 0.2 | 80.2 ± 0.2 | 77.2 ± 0.2 | 10.2 ± 0.2 |" in table


def test_what_pairs_take_is_what_messages_have():
    """The mean of honest messages, by the covariance that is drawn: pairs with f are left in it."""
    honest, f, r = 13, 2, 0.5
    whole = np.eye(honest + f) + r**2 * ((honest + f) * np.eye(honest + f) - 1)
    of_honest = whole[:honest, :honest]
    runs = frame(({"honest": honest, "byzantine": f, "attack": "alie", "pairwise_noise": r,
                   "noise_scale": 1.0, "clip_norm": 1.0}, 0.5))  # fmt: skip
    (row,) = correlated_noise.noise_rows(runs)
    message, mean = math.sqrt(of_honest[0, 0]), math.sqrt(of_honest.mean())
    assert row == f"| 2 | 0.5 | 1.000 | {message:.3f} | {mean:.4f} |"


def test_trilemma():
    def accuracy(run):
        if not run["byzantine"]:
            return 0.9
        return 0.1 if run["target_epsilon"] else 0.8 + 0.05 * (run["aggregator"] != "median")

    runs = made_up(
        accuracy,
        aggregator=["median", "nnm + trimmed_mean"],
        target_epsilon=[1.0, 8.0, None],
        clip_norm=[1.0],
        byzantine=[0, 2],
        attack=["alie"],
    )
    found = trilemma.claims(runs)
    assert of(found, "median, f = 2", "wider") == HOLDS
    assert of(found, "without noise, f = 2: some method") == HOLDS
    assert of(found, "epsilon 8, f = 2: some method") == FAILS
    assert of(found, "without noise, f = 2, worst case: nnm") == HOLDS
    assert of(found, "epsilon 1, f = 2, worst case: nnm") == UNDECIDED  # both are broken there


def test_backdoors():
    """One that clipping removes, one that noise does, one that neither does, one that it opens."""

    def success(run):
        attack, noise = run["attack"], run["noise_scale"]
        if "share" in str(attack):
            return 0.02
        bare = math.isnan(run["clip_norm"])
        return {
            "mean": 0.9 if bare else 0.05,
            "arc + mean": 0.05 if noise else 0.9,
            "median": 0.9,
            "nnm + trimmed_mean": 0.95 if noise else 0.03,
        }[run["aggregator"]]

    runs = made_up(
        lambda run: 0.9,
        aggregator=["mean", "arc + mean", "median", "nnm + trimmed_mean"],
        clip_norm=[None, 1.0],
        noise_scale=[0.0, 0.1, 0.3],
        byzantine=[0, 2],
        attack=["backdoor(share=0)", "backdoor", "backdoor(boost=5)"],
    )
    won = [success(run) if run["byzantine"] else math.nan for run in runs.to_dict("records")]
    runs["attack_success_rate"] = won
    runs = pd.concat([runs, runs.assign(seed=runs["seed"] + 5)])  # which judge what opens
    found = backdoors.claims(runs)
    assert len(found) == 4 * 2 * 4
    for rule, outcomes_ in {
        "mean": (HOLDS, HOLDS, HOLDS, FAILS),
        "arc + mean": (HOLDS, FAILS, HOLDS, FAILS),
        "median": (HOLDS, FAILS, FAILS, FAILS),
        "nnm + trimmed_mean": (FAILS, UNDECIDED, UNDECIDED, HOLDS),
    }.items():
        claims = ("works", "clipping removes", "noise remove it", "opens")
        for claim, outcome in zip(claims, outcomes_, strict=True):
            one = [each for each in found if each.claim.startswith(f"{rule}, f = 2, backdoor:")]
            assert of(one, claim) == outcome, (rule, claim)
    dear = runs.assign(accuracy=runs["accuracy"].where(runs["noise_scale"] == 0, 0.8))
    judged = [each for each in backdoors.claims(dear) if each.claim.startswith("arc + mean, f = 2")]
    assert of(judged[:4], "noise remove it") == FAILS
    assert "f=2" in backdoors.table(runs)


def test_bias_and_variance(monkeypatch):
    """Skewed messages follow theory's variance; of symmetric ones no noise removes bias."""
    draws = np.random.default_rng(0).normal(size=(8, 20))
    symmetric = np.concatenate([draws, -draws[:7]])
    messages = {0: symmetric, 1: np.exp(np.random.default_rng(1).normal(size=(15, 20)))}
    monkeypatch.setattr(r4_bias_variance, "_messages", lambda spec: messages[spec.heterogeneity])
    monkeypatch.setattr(r4_bias_variance, "_DRAWS", 3000)
    r4_bias_variance._curve.cache_clear()
    runs = made_up(lambda run: 0.9, heterogeneity=[0, 1])
    found = r4_bias_variance.claims(runs)
    r4_bias_variance._curve.cache_clear()
    for heterogeneity in (0, 1):
        assert of(found, f"heterogeneity {heterogeneity}", "variance goes as") == HOLDS
        assert of(found, f"heterogeneity {heterogeneity}", "pi b^2") == HOLDS
    assert of(found, "heterogeneity 0", "less squared error") == FAILS
    assert of(found, "heterogeneity 1", "less squared error") == HOLDS


def test_known_bound_and_clipping():
    bound = pd.concat(
        made_up(
            lambda run: 0.8 + 0.1 * ("clip_norm" in run),
            **{field: [value]}, aggregator=["mean"], target_epsilon=[4.0],
        )
        for field, value in (("grad_norm_bound", 2.0), ("clip_norm", 0.1))
    ).assign(model="bounded_logistic", dataset="digits")  # fmt: skip
    (verdict,) = r2_known_bound.claims(bound)
    assert verdict.outcome == HOLDS
    assert "C = 0.1" in verdict.claim

    clipped = made_up(
        lambda run: 0.8 - 0.1 * (run["clip_norm"] == 0.1),
        aggregator=["median"], noise_scale=[0.1], clip_norm=[0.1, 1.0, 10.0],
    )  # fmt: skip
    found = r2_clipping.claims(clipped)
    assert of(found, "worse") == HOLDS
    assert of(found, "better") == FAILS


def test_the_table_of_a_known_bound_shows_the_b_of_each_budget():
    rows = [
        ({field: value, "target_epsilon": 4.0, "model": "bounded_logistic"}, 0.8)
        for field, value in (("grad_norm_bound", 2.0), ("clip_norm", 0.1))
    ]
    text = r2_known_bound.table(frame(*rows).assign(noise_scale=[0.5, 0.025]))
    assert "| epsilon | bound G = 2 | C = 0.1 |" in text
    assert "| 4 | 0.5 | 0.025 |" in text


STEPS = (30, 100, 300)


def trained(rules, gap_of, speed_of=lambda rule, attack: 1.0, attacks=()):
    """Runs whose train loss falls as 2 / (1 + speed steps / 30), and whose gap of the loss grows.

    That is by `gap_of` nats for each halving of the train loss; the gap in points is ten times it.
    """
    rows, fits = [], []
    settings = [{"byzantine": 0}] + [{"byzantine": 4, "attack": name} for name in attacks]
    for rule in rules:
        for attacked in settings:
            for steps in STEPS:
                for seed in SEEDS:
                    attack = attacked.get("attack")
                    loss = 2 / (1 + speed_of(rule, attack) * steps / 30) * (1 + 0.001 * seed)
                    gap = gap_of(rule, attack) * math.log2(2.1 / loss)
                    rows.append(
                        ({"aggregator": rule, "steps": steps, "seed": seed, **attacked}, 0.5)
                    )
                    fits.append((loss, loss + gap, 0.5 + gap / 10))
    train_loss, final_loss, train_accuracy = zip(*fits, strict=True)
    return frame(*rows).assign(
        train_loss=train_loss, final_loss=final_loss, train_accuracy=train_accuracy
    )


def test_a_rule_that_learns_less_by_heart_at_equal_steps_may_learn_more_at_equal_loss():
    """Two questions: a slow rule has the narrower gap, and the wider one once it is as far."""
    runs = trained(
        ["mean", "median"],
        gap_of=lambda rule, attack: {"mean": 0.1, "median": 0.15}[rule],
        speed_of=lambda rule, attack: {"mean": 1.0, "median": 0.3}[rule],
    )
    verdicts = [each for each in generalisation.claims(runs) if "median has a wider" in each.claim]
    assert of(verdicts, "as many steps") == FAILS
    assert of(verdicts, "same train loss") == HOLDS
    (at_loss,) = [each for each in verdicts if "same train loss" in each.claim]
    values = generalisation.by_seed(runs)
    target = values["train_loss"].loc[(0.0, "median", "none"), 0].iloc[-1]
    assert at_loss.effect == pytest.approx(0.05 * math.log2(2.1 / target), rel=0.01)


def test_the_attack_that_widens_a_gap_is_named_and_what_learnt_nothing_says_nothing():
    gaps = {None: 0.1, "alie": 0.2, "sign_flip": 0.1}
    runs = trained(["mean"], lambda rule, attack: gaps[attack], attacks=("alie", "sign_flip"))
    verdicts = generalisation.claims(runs)
    assert of(verdicts, "mean: some attack", "as many steps", "(alie)") == HOLDS
    assert of(verdicts, "mean: some attack", "same train loss", "(alie)") == HOLDS
    at_chance = runs.assign(train_accuracy=0.1 + runs["train_accuracy"] / 10)
    for verdict in generalisation.claims(at_chance):
        assert verdict.outcome == UNDECIDED
        assert "not tested: under 50% of the training examples are learnt" in verdict.test
    same = trained(["mean"], lambda rule, attack: 0.1, attacks=("alie",))
    assert of(generalisation.claims(same), "some attack", "same train loss") == FAILS


def test_a_loss_that_was_passed_before_the_first_look_is_not_guessed():
    runs = trained(["mean", "median"], lambda rule, attack: 0.1,
                   lambda rule, attack: {"mean": 1.0, "median": 0.01}[rule])  # fmt: skip
    values = generalisation.by_seed(runs)
    excess = generalisation.excess_at_equal_loss(
        values, (0.0, "median", "none"), (0.0, "mean", "none")
    )
    assert np.isnan(excess).all()


def served(worst):
    """Make runs of two rules, clean, with and without noise; `worst` tells the worst class."""
    targets = (None, 1)
    axes = {"aggregator": ["mean", "median"], "target_epsilon": targets, "clip_norm": [1.0]}
    runs = made_up(lambda run: 0.7 if run["aggregator"] == "mean" else 0.65, **axes)
    of_run = [
        worst(rule, target) + 0.001 * seed
        for rule, target, seed in zip(
            runs["aggregator"], runs["target_epsilon"].notna(), runs["seed"], strict=True
        )
    ]
    return runs.assign(worst_class_accuracy=of_run)


@pytest.mark.parametrize(
    ("worst", "starves", "is_worse"),
    [
        ({("mean", True): 0.5, ("median", True): 0.2}, HOLDS, HOLDS),
        # as far behind as accuracy is: all classes suffer
        ({("mean", True): 0.5, ("median", True): 0.45}, FAILS, HOLDS),
        # far behind, but no further than without noise
        ({("mean", True): 0.5, ("median", True): 0.2, ("median", False): 0.2}, HOLDS, FAILS),
        # there is nothing to take
        ({("mean", True): 0.03, ("median", True): 0.0}, UNDECIDED, UNDECIDED),
    ],
)
def test_minorities_starve_where_the_worst_class_pays_more_than_all(worst, starves, is_worse):
    verdicts = minority_classes.claims(
        served(lambda rule, is_noisy: worst.get((rule, is_noisy), 0.5))
    )
    assert of(verdicts, "median, iid, epsilon 1: its worst class") == starves
    assert of(verdicts, "median, iid: epsilon 1 puts the worst class further") == is_worse


def test_real_workers():
    """A median that learns little from real workers without noise, and breaks there."""

    def accuracy(run):
        if run["aggregator"] == "mean":
            return 0.1 if run["byzantine"] else 0.8 - 0.1 * (run.get("batch_size") == 23)
        if run["partition"] == "iid":
            return 0.78
        if run["byzantine"]:
            return 0.3
        return 0.75 if run["target_epsilon"] else 0.61

    shared = {
        "target_epsilon": [None, 4.0],
        "aggregator": ["mean", "median"],
        "clip_norm": [1.0],
        "byzantine": [0, 3],
        "attack": ["alie"],
    }
    runs = pd.concat(
        [
            made_up(accuracy, dataset=["insteval"], partition=["iid", "natural"], **shared),
            made_up(accuracy, dataset=["flights"], partition=["iid"], **shared),
            made_up(
                accuracy,
                dataset=["flights"],
                partition=["natural"],
                sampling_rate=[0.002],
                **shared,
            ),
            made_up(
                accuracy, dataset=["flights"], partition=["natural"], batch_size=[23], **shared
            ),
        ]
    )
    found = real_workers.claims(runs)
    assert len(found) == 2 * (2 * 3 + 1) + 2
    for data in ("insteval", "flights"):
        assert of(found, data, "without noise, clean", "cost median") == HOLDS
        assert of(found, data, "epsilon 4, clean: real workers cost median") == HOLDS
        assert of(found, data, "without noise, iid", "median keeps over half") == HOLDS
        assert of(found, data, "epsilon 4, real", "median keeps over half") == FAILS
        assert of(found, data, "epsilon 4 is better for median") == HOLDS
    assert of(found, "flights", "mean is better with one sampling rate") == HOLDS
    assert of(found, "flights", "median is better with one sampling rate") == FAILS
    nothing = runs.assign(accuracy=0.55)
    assert of(real_workers.claims(nothing), "insteval", "without noise, iid") == UNDECIDED


def test_what_a_limit_does_to_gradients():
    """A tiny C takes away next to all of a mean, a huge one nothing."""
    rows = [
        ({"clip_norm": c, "noise_scale": 0.0, "aggregator": "mean", "steps": 4, "seed": 0}, 0.9)
        for c in (1e-6, 1.0, 1e6)
    ]
    found = r2_clipping.effect_on_gradients(frame(*rows), every=3)
    assert found["clipped"].iloc[[0, 2]].tolist() == [1, 0]
    assert found["mean"].tolist() == sorted(found["mean"], reverse=True)
    assert found["mean"].iloc[[0, 2]].tolist() == pytest.approx([1, 0], abs=1e-4)
    assert found["median"].iloc[2] == 0


def test_bias_is_looked_for_where_workers_are_most_skewed():
    spec = RunSpec(steps=40, heterogeneity=1, clip_norm=1.0)
    found = r4_bias_variance._messages(spec)
    (*_, last) = gradients(spec.model_copy(update={"steps": 31}), [spec.clip_norm], every=30)
    whole = last.clipped[0].double().numpy()
    third = abs(stats.moment(whole, 3))
    assert found.shape == (10, 20)
    assert sorted(abs(stats.moment(found, 3))) == pytest.approx(sorted(third)[-20:])


def test_gradients_before_noise_are_those_that_a_limit_leaves():
    spec = RunSpec(workers=4, steps=7, learning_rate=0.5)
    looked = list(gradients(spec, [0.1, 1e9], every=3))
    assert [look.step for look in looked] == [1, 4, 7]
    for look in looked:
        clipped, loosely = look.clipped
        assert (clipped.norm(dim=-1) < look.whole.norm(dim=-1)).all()
        assert loosely.tolist() == look.whole.tolist()
        assert (look.norms > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_sweep_is_one_that_runs(name):
    """Of one seed, to be quick; without its data where that is not installed."""
    path = EXPERIMENTS / f"{name}.yaml"
    assert path.read_text().startswith("# ")
    load_sweep(path)
    short = [change for change in shortened(name) if not change.startswith("grid.seed")]
    runs = planned(load_sweep(path, [*short, "grid.seed=[0]"]))
    assert runs
    if runs[0].dataset == "digits":
        check(runs)


def quickly(name, folder):
    """Return the page of an answer from few runs, and its cells."""
    command = [sys.executable, str(EXPERIMENTS / "answer.py"), name, "--quick", "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / f"{name}.svg").read_text().startswith("<?xml")
    return (folder / f"{name}.md").read_text(), pd.read_csv(folder / f"{name}.csv")


def test_an_experiment_answers_quickly(tmp_path):
    """What people wrote above the marker stays, what was measured before does not."""
    old = "# Which?\n\nThe vote, by 2 points.\n\n<!-- measured -->\n\nmeasured before\n"
    (tmp_path / "sign_vs_median.md").write_text(old)
    page, cells = quickly("sign_vs_median", tmp_path)
    assert page.startswith("# Which?\n\nThe vote, by 2 points.\n\n<!-- measured -->\n\n![")
    assert "measured before" not in page
    assert "to tune them" in page
    assert page.count("worse than the median by at most") == 2 * 4 * 3
    assert cells["seeds"].max() == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sign_vs_median"])
def test_every_experiment_answers_quickly(name, tmp_path):
    try:
        for dataset in {run.dataset for run in planned(load_sweep(EXPERIMENTS / f"{name}.yaml"))}:
            get_dataset(dataset)
    except PrivRobustError as error:
        pytest.skip(str(error))
    page, cells = quickly(name, tmp_path)
    assert page.splitlines()[0] == (EXPERIMENTS / f"{name}.yaml").read_text().splitlines()[0]
    assert "| claim | verdict | effect | interval | test |" in page
    assert len(cells)


def test_an_unknown_experiment_is_one_line():
    command = [sys.executable, str(EXPERIMENTS / "answer.py"), "r1_idd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "r1_iid" in done.stderr
    assert "Traceback" not in done.stderr
