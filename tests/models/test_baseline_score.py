"""Logistic regression with one score for two classes."""

import pytest
import torch
from torch import nn

from privrobust import RunSpec, train
from privrobust.data import Dataset, Split, register_dataset
from privrobust.gradients.chain import Chain
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models import build_model
from privrobust.training.loop import train_lanes


def two_classes(count=200, width=6):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(count, width, generator=generator)
    labels = (inputs @ torch.arange(1.0, width + 1) > 0).long()
    return Dataset.from_split("two_classes", Split(inputs, labels), classes=2)


def test_the_first_class_has_no_parameters_and_the_score_0():
    data = two_classes()
    model = build_model("logistic(baseline=true)", data, seed=0)
    assert [tuple(each.shape) for each in model.parameters()] == [(1, 6), (1,)]
    scores = model(data.train.inputs)
    assert scores.shape == (len(data.train), 2)
    assert not scores[:, 0].any()
    probability = scores.softmax(-1)[:, 1]
    torch.testing.assert_close(probability, model[1](data.train.inputs)[:, 0].sigmoid())


def test_it_is_differentiated_as_a_chain():
    data = two_classes()
    model = build_model("logistic(baseline=true)", data, seed=0)
    chain = Chain.of(model, Layout(model), data.train.inputs[:16], Flat(2), get_loss("brier"))
    assert chain is not None


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_run_with_brier_loss_is_a_sigmoid_trained_by_squared_error(clip_norm):
    """Ten steps with momentum on all examples of one worker, against torch's autograd and SGD."""
    data = two_classes()
    register_dataset(data)
    spec = RunSpec(
        dataset="two_classes", model="logistic(baseline=true)", loss="brier", honest=1,
        aggregator="mean", batch_size=len(data.train), sampling="fixed", steps=10,
        learning_rate=2.0, momentum=0.9, clip_norm=clip_norm, unit="worker", evaluate_every=1,
        final_evaluations=1,
    )  # fmt: skip
    linear = build_model(spec.model, data, spec.seed)[1]
    optimiser = torch.optim.SGD(linear.parameters(), lr=2.0, momentum=0.9)
    for _ in range(spec.steps):
        optimiser.zero_grad()
        error = linear(data.train.inputs)[:, 0].sigmoid() - data.train.labels
        error.square().mean().backward()
        if clip_norm:
            nn.utils.clip_grad_norm_(linear.parameters(), clip_norm)
        optimiser.step()
    with torch.no_grad():
        error = linear(data.test.inputs)[:, 0].sigmoid() - data.test.labels
    assert train(spec).loss == pytest.approx(float(error.square().mean()), rel=1e-5)


@pytest.mark.parametrize("dataset", ["two_classes", "digits"])
def test_a_run_is_the_same_beside_others(dataset):
    register_dataset(two_classes())
    shared = {
        "dataset": dataset, "model": "logistic(baseline=true)", "loss": "brier", "honest": 3,
        "batch_size": 11, "steps": 12, "clip_norm": 0.1, "evaluate_every": 4,
    }  # fmt: skip
    specs = [RunSpec(**shared, seed=seed, noise_scale=b) for seed, b in ((0, 0.01), (1, 0.0))]
    together = train_lanes(specs)
    for spec, beside in zip(specs, together, strict=True):
        assert train(spec).history.equals(beside.history)
