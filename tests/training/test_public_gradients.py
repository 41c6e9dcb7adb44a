"""Runs whose server computes a gradient of its own: of what, and which runs are refused."""

import pytest
import torch
from told import Told, told

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.training.loop import train_lanes

RUN = {"clip_norm": 1.0, "steps": 40, "honest": 4, "noise_scale": 0.01, "learning_rate": 2.0}


def test_runs_withstand_three_quarters():
    """Where a median follows the majority."""
    settings = {**RUN, "byzantine": 12, "attack": "sign_flip"}
    assert train(RunSpec(**settings, aggregator="fltrust")).accuracy > 0.7
    assert train(RunSpec(**settings, aggregator="mean")).accuracy < 0.3


def test_lanes_of_other_rules_and_seeds_are_the_runs_alone():
    specs = [
        RunSpec(**RUN, aggregator=rule, seed=seed)
        for rule, seed in (("fltrust", 0), ("median", 0), ("arc + fltrust(examples=7)", 1))
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert alone.history.equals(beside.history)
    assert not train(specs[0]).history.equals(
        train(specs[2].model_copy(update={"seed": 0})).history
    )


@pytest.mark.parametrize("unit", ["example", "worker"])
def test_the_servers_gradient_is_of_validation_examples_and_clipped_as_a_workers(unit):
    """At the first parameters, against torch's own gradients of all of them."""
    digits = get_dataset("digits")
    held = digits.validation
    assert len(held) == Told.public_examples
    rate = {"worker_sampling_rate": 0.5} if unit == "worker" else {}
    rule = "told:Told"
    train(RunSpec(clip_norm=0.3, unit=unit, steps=1, honest=4, aggregator=rule, seed=3, **rate))
    model, (start,) = initial_parameters("logistic", digits, [3])
    layout = Layout(model)
    losses = torch.nn.functional.cross_entropy

    def loss(flat, example, label):
        named = {name: value[0] for name, value in layout.unflatten(flat.unsqueeze(0)).items()}
        return losses(torch.func.functional_call(model, named, (example.unsqueeze(0),))[0], label)

    each = torch.stack(
        [
            torch.func.grad(loss)(start, example, label)
            for example, label in zip(held.examples(slice(None)), held.labels, strict=True)
        ]
    ).double()
    if unit == "worker":
        each = each.mean(0, keepdim=True)
    clipped = each * (0.3 / each.norm(dim=1, keepdim=True)).clamp(max=1.0)
    torch.testing.assert_close(told[-1][0].double(), clipped.mean(0), rtol=1e-4, atol=1e-6)
    assert each.norm(dim=1).max() > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"aggregator": "nnm + fltrust", "evaluate_on": "validation"},
            "wants 100 public examples; accepted: 1 to 90, as many as half of the validation split",
        ),
        ({"byzantine": 1, "attack": "line_search"}, "against: a rule that sees a gradient of the"),
        ({"aggregator": "fltrust(examples=0)"}, "FLTrust.examples: 0 is not a whole number at le"),
        ({"aggregator": "fltrust(examples=9999)"}, "wants 9999 public examples; accepted: 1 to "),
    ],
)
def test_runs_that_are_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**{"aggregator": "fltrust", **RUN, **settings}))
