"""The verdicts on Guerraoui et al. 2021 on made-up runs, and what its mechanism hides."""

import math

import numpy as np
import pytest
import torch
from frames import frame
from study import published_guerraoui as study
from study.verdicts import FAILS, HOLDS, UNDECIDED

from privrobust import RunSpec
from privrobust.accountants import gaussian
from privrobust.gradients import get_loss

C, DELTA = 0.01, 1e-6
SIZES = (10, 50, 500)
EPSILONS = (None, 0.5, 0.1)


def b_of(epsilon, size):
    return 2 * C / size * math.sqrt(2 * math.log(1.25 / DELTA)) / epsilon if epsilon else 0.0


def made_up(accuracy):
    """Make runs of every setting, of `accuracy` and a little of each seed's own."""
    rows = []
    for unit in ("worker", "example"):
        for epsilon in EPSILONS:
            for size in SIZES:
                for rule in ("mean", "mda", "nnm + trimmed_mean"):
                    attacks = (None,) if rule == "mean" else ("alie(z=1.6)", "inner_product")
                    for attack in attacks:
                        for seed in range(5):
                            spec = {
                                "honest": 6 if attack else 11, "byzantine": 5 if attack else 0,
                                "attack": attack,
                                "unit": unit, "aggregator": rule, "batch_size": size,
                                "noise_scale": float(f"{b_of(epsilon, size):.6g}"),
                                "clip_norm": C, "delta": DELTA, "seed": seed,
                            }  # fmt: skip
                            found = accuracy(unit, epsilon, size, rule, attack)
                            rows.append((spec, found + 0.001 * seed))
    return frame(*rows)


def broken_by_alie(unit, epsilon, size, rule, attack):
    """MDA breaks under noise below B = 500, NNM below 50; no rule with examples clipped."""
    if attack != "alie(z=1.6)" or not epsilon or unit == "example":
        return 0.9
    return 0.9 if size >= (500 if rule == "mda" else 50) else 0.5


def outcome(verdicts, *words):
    (found,) = [each for each in verdicts if all(word in each.claim for word in words)]
    return found.outcome


def test_verdicts_name_who_survives_noise_and_attackers_together():
    runs = made_up(broken_by_alie)
    found = study.claims(runs)
    assert len(found) == 2 * (2 + 2 * 4)
    assert outcome(found, "batches", "no noise: mda keeps over half at every B") == HOLDS
    assert outcome(found, "batches", "0.1 a step, nobody attacks") == HOLDS
    assert outcome(found, "batches", "0.1 a step: mda keeps over half at some B") == HOLDS
    assert outcome(found, "batches", "0.1 a step: nnm + trimmed_mean beats mda") == HOLDS
    assert outcome(found, "examples", "0.1 a step: nnm + trimmed_mean beats mda") == FAILS
    accuracy = study.accuracies(runs).loc["worker"]
    assert study.kept_from(accuracy, 0.1, "mda") == "500"
    assert study.kept_from(accuracy, 0.1, "nnm + trimmed_mean") == "50"
    assert study.kept_from(accuracy, "none", "mda") == "10"


def test_what_is_lost_at_every_batch_size_is_lost():
    runs = made_up(lambda unit, epsilon, size, rule, attack: 0.5 if attack and epsilon else 0.9)
    assert outcome(study.claims(runs), "batches", "0.5 a step: mda keeps over half") == FAILS
    assert study.kept_from(study.accuracies(runs).loc["worker"], 0.5, "mda") == "none"


def test_a_run_that_failed_decides_nothing():
    runs = made_up(broken_by_alie)
    runs.loc[(runs["aggregator"] == "mda") & (runs["seed"] == 3), "accuracy"] = None
    assert outcome(study.claims(runs), "batches", "no noise: mda keeps") == UNDECIDED
    assert study.kept_from(study.accuracies(runs).loc["worker"], 0.5, "mda") == "undecided"


def test_a_larger_batch_that_fails_is_not_passed_over():
    """What holds at B = 10 and 500 but not at 50 holds from 500 on."""
    runs = made_up(lambda unit, epsilon, size, rule, attack: 0.5 if attack and size == 50 else 0.9)
    assert study.kept_from(study.accuracies(runs).loc["worker"], 0.5, "mda") == "500"


def test_no_gradient_is_longer_than_the_bound_and_one_is_as_long():
    """Of the loss as a run has it, with scores (0, s), over a grid of s; exact at p = 1/3."""
    scores = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    longest = 0.0
    for label in (0, 1):
        errors = get_loss("brier").errors(
            torch.stack([torch.zeros_like(scores), scores], dim=-1),
            torch.full(scores.shape, label),
        )[:, 1]
        longest = max(longest, float(errors.abs().max()) * math.sqrt(2))
    assert longest <= study.GRADIENT_BOUND * (1 + 1e-12)
    assert longest == pytest.approx(study.GRADIENT_BOUND, rel=1e-4)
    (at,) = get_loss("brier").errors(
        torch.tensor([[0.0, -math.log(2)]], dtype=torch.float64), torch.tensor([1])
    )[:, 1]
    assert abs(float(at)) == pytest.approx(8 / 27, rel=1e-12)


def test_one_example_moves_a_clipped_mean_by_35_times_what_the_noise_is_for():
    """At parameters of 0, where p = 1/2: a batch of 100 equal examples, labels half and half."""
    x = np.full(30, 1 / math.sqrt(30))
    with_bias = np.append(x, 1.0)

    def sent(labels):
        mean = np.mean([2 * (0.5 - y) * 0.25 * with_bias for y in labels], axis=0)
        return mean * min(1, C / max(np.linalg.norm(mean), 1e-300))

    moved = np.linalg.norm(sent([0] * 50 + [1] * 50) - sent([0] * 51 + [1] * 49))
    assert moved / (2 * C / 100) == pytest.approx(0.25 * math.sqrt(2) / C)
    assert moved <= min(2 * study.GRADIENT_BOUND / 100, 2 * C)


@pytest.mark.parametrize("size", [10, 50, 500])
def test_what_noise_hides_where_batches_are_clipped(size):
    """Their sensitivity is too small by min(B, G / C), and so is sigma for what it is to hide."""
    spec = RunSpec(clip_norm=C, delta=DELTA, steps=1, batch_size=size)
    (batch,), (example,), batches, examples = study.spent(b_of(0.2, size), size, 1474, spec)
    too_small = min(size, study.GRADIENT_BOUND / C)
    sigma = b_of(0.2, size) * size / (2 * C)
    assert batch == pytest.approx(gaussian.epsilon(sigma / too_small, DELTA), rel=1e-9)
    assert example == pytest.approx(gaussian.epsilon(sigma, DELTA), rel=1e-9)
    assert 0.1 < example < 0.2 < batch  # the classical sigma is more than enough at its own C
    # one step that is sampled spends less than one that is not
    assert examples[0] < example
    assert examples[0] < examples[1]
    assert examples[0] < batches[0] <= batches[1]


def test_epsilon_as_they_count_it_is_that_of_their_noise():
    for size in SIZES:
        assert study.their_epsilon(b_of(0.2, size), size, C, DELTA) == pytest.approx(0.2)
