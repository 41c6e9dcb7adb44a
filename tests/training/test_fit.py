"""How well runs fit what they were trained on, and whom they serve worst."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call

from privrobust import RunSpec, train
from privrobust.data import Dataset, Split, get_dataset, register_dataset
from privrobust.gradients.layout import Layout
from privrobust.models import build_model
from privrobust.training.fit import fitted_at, fitted_examples
from privrobust.training.loop import train_lanes
from privrobust.training.watch import Watch

STORED = ("train_accuracy", "train_loss", "worst_class_accuracy", "worst_worker_accuracy")
SHORT = {"clip_norm": 1.0, "steps": 12, "honest": 5, "evaluate_every": 4, "learning_rate": 0.5}


class _Parameters(Watch):
    """Keeps the parameters after every step."""

    def __init__(self):
        self.seen = []

    def see(self, step, messages, update, parameters):
        self.seen.append(parameters.clone())


def few(train_examples, held_out, classes=3):
    """Register random examples, so many to train on and so many held out."""
    random = torch.Generator().manual_seed(0)

    def split(count):
        labels = torch.arange(count) % classes
        return Split(torch.randn(count, 6, generator=random) + labels[:, None] / 2, labels)

    name = f"few_{train_examples}_{held_out}"
    parts = [split(count) for count in (train_examples, held_out, held_out)]
    register_dataset(Dataset(name, *parts, classes))
    return name


@pytest.mark.parametrize("final", [1, 2, 3, 9])
def test_the_fit_is_that_of_plain_torch_at_the_last_parameters(final):
    """Of fewer training examples than held-out ones, all; averaged over the last evaluations."""
    name = few(train_examples=40, held_out=60)
    spec = RunSpec(**SHORT, dataset=name, batch_size=8, final_evaluations=final)
    watch = _Parameters()
    (result,) = train_lanes([spec], watch=watch)
    model = build_model(spec.model, get_dataset(name), seed=0)
    accuracies, losses = [], []
    examples = get_dataset(name).train
    for step in (4, 8, 12)[-final:]:
        named = Layout(model).unflatten(watch.seen[step - 1])
        scores = functional_call(
            model, {name: value[0] for name, value in named.items()}, (examples.inputs,)
        )
        accuracies.append((scores.argmax(-1) == examples.labels).double().mean().item())
        losses.append(torch.nn.functional.cross_entropy(scores, examples.labels).item())
    assert result.train_accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert result.train_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.generalisation_gap == result.train_accuracy - result.accuracy
    assert result.loss_gap == result.loss - result.train_loss


def test_what_is_learnt_by_heart_has_a_gap_and_what_is_known_to_all_has_none():
    """Labels at random: nobody can know those held out, so the gap is nearly all of the fit."""
    random = torch.Generator().manual_seed(1)

    def split(count):
        inputs = torch.randn(count, 200, generator=random)
        return Split(inputs, torch.randint(0, 2, (count,), generator=random))

    register_dataset(Dataset("by_heart", split(60), split(400), split(400), 2))
    result = train(RunSpec(dataset="by_heart", honest=3, batch_size=20, steps=200,
                           learning_rate=1.0, aggregator="mean"))  # fmt: skip
    assert result.train_accuracy == 1
    # 400 fair coins: outside of 0.5 +- 0.125 with probability below 1e-6
    assert abs(result.generalisation_gap - 0.5) < 0.125
    assert result.loss_gap > 0.5


def test_a_large_training_split_is_sampled_alike_for_all_and_evenly():
    train_split = get_dataset("digits").train
    some = fitted_examples(train_split, 360)
    assert len(some) == 360
    assert torch.equal(some.inputs, fitted_examples(train_split, 360).inputs)
    rows = {tuple(row) for row in train_split.inputs.tolist()}
    assert {tuple(row) for row in some.inputs.tolist()} <= rows
    assert fitted_examples(train_split, len(train_split)) is train_split
    # fixed, but no worse than chance would be: hypergeometric counts, 5.5 deviations
    share = train_split.labels.bincount() / len(train_split)
    deviation = (360 * share * (1 - share) * (1 - 360 / len(train_split))).sqrt()
    assert ((some.labels.bincount() - 360 * share).abs() < 5.5 * deviation).all()


@pytest.mark.parametrize(
    ("every", "steps", "final", "expected"),
    [
        (10, 300, 3, {280, 290, 300}),
        (10, 305, 3, {290, 300, 305}),
        (10, 5, 3, {5}),
        (1, 4, 2, {3, 4}),
        (7, 14, 1, {14}),
        (10, 30, 2**63 - 1, {10, 20, 30}),
    ],
)
def test_the_fit_is_measured_in_the_last_evaluations(every, steps, final, expected):
    spec = RunSpec(evaluate_every=every, final_evaluations=final)
    assert fitted_at([spec], steps) == expected


def test_lanes_that_average_other_numbers_of_evaluations_are_as_they_are_alone():
    specs = [
        RunSpec(**SHORT, final_evaluations=final, aggregator=rule, seed=final)
        for final, rule in ((1, "mean"), (3, "median"), (2, "mean"))
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        for name in STORED:
            assert getattr(alone, name) == getattr(beside, name), name


def test_a_run_that_max_epsilon_ends_is_measured_at_its_last_steps():
    spec = RunSpec(**SHORT | {"steps": 300}, noise_scale=0.1, max_epsilon=2.0)
    result = train(spec)
    assert result.steps < 300
    same = train(RunSpec(**SHORT | {"steps": result.steps}, noise_scale=0.1))
    assert (result.train_accuracy, result.train_loss) == (same.train_accuracy, same.train_loss)


def test_a_run_without_a_result_has_no_fit():
    kept, broken = (
        RunSpec(**SHORT | {"clip_norm": None}, grad_norm_bound=bound) for bound in (1e3, 1e-3)
    )
    for specs in ([broken], [kept, broken]):
        result = train_lanes(specs)[-1]
        assert result.failure
        for name in (*STORED, "generalisation_gap", "loss_gap"):
            assert math.isnan(getattr(result, name)), name


def test_a_run_that_diverged_is_wrong_on_all_and_has_no_loss():
    result = train(RunSpec(**SHORT, byzantine=1, attack="nan", aggregator="mean"))
    assert result.diverged
    assert (result.train_accuracy, result.worst_class_accuracy, result.worst_worker_accuracy) == (
        0, 0, 0,
    )  # fmt: skip
    assert result.generalisation_gap == 0
    assert math.isnan(result.train_loss)
    assert math.isnan(result.loss_gap)


def test_the_worst_class_and_the_worst_worker_are_the_least():
    spec = RunSpec(**SHORT, partition="labels(k=2)")
    result = train(spec)
    labels = get_dataset("digits").test.labels.numpy()
    of_class = [result.correct[labels == label].mean() for label in range(10)]
    assert result.worst_class_accuracy == pytest.approx(min(of_class))
    assert result.worst_class_accuracy < result.accuracy
    assert result.worst_worker_accuracy == result.accuracy_by_worker.min()
    assert result.worst_class_accuracy <= result.worst_worker_accuracy <= result.accuracy + 1e-12
    perfect = replace(result, correct=np.ones_like(result.correct))
    assert perfect.worst_worker_accuracy <= 1  # however shares round


def test_a_class_that_is_not_held_out_is_nobody_s_worst():
    whole = get_dataset("digits")
    known = whole.test.labels != 3
    register_dataset(replace(whole, name="without_3", test=whole.test.only(known.nonzero()[:, 0])))
    result = train(RunSpec(**SHORT, dataset="without_3", partition="labels(k=2)"))
    assert math.isnan(result.accuracy_by_class[3])
    assert result.worst_class_accuracy == result.accuracy_by_class.drop(3).min()
    lacking = result.accuracy_by_worker.isna()
    assert lacking.any()
    assert result.worst_worker_accuracy == result.accuracy_by_worker[~lacking].min()
