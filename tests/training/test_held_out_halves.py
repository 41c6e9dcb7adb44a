"""Rules that are given some of the validation data: no result is of what they were given."""

from dataclasses import replace

import pytest
import torch
from told import Told, told

from privrobust import RunSpec, train
from privrobust.data import Split, get_dataset, register_dataset
from privrobust.data.splitting import halves
from privrobust.errors import SpecError
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.store import Store
from privrobust.sweeps import Sweep, run_whole
from privrobust.sweeps.packing import batches
from privrobust.sweeps.runner import check
from privrobust.training.loop import train_lanes
from privrobust.training.watch import Watch

RUN = {
    "evaluate_on": "validation",
    "aggregator": "fltrust(examples=20)",
    "clip_norm": 1.0,
    "noise_scale": 0.02,
    "learning_rate": 10.0,
    "steps": 12,
    "honest": 4,
}


class ToldHalf(Told):
    """It wants all of the half."""

    public_examples = 90


class Unfit(Told):
    """It wants less than none."""

    public_examples = -1


class Last(Watch):
    """Keeps the parameters."""

    def see(self, step, messages, update, parameters):
        self.parameters = parameters


def test_the_servers_gradient_is_of_one_half_and_the_accuracy_of_the_other():
    """Both against torch's own, at the first parameters and at the last."""
    digits = get_dataset("digits")
    public, rest = digits.halves_of_validation
    spec = RunSpec(**{**RUN, "steps": 1, "aggregator": f"{__name__}:ToldHalf"})
    watch = Last()
    (result,) = train_lanes([spec], watch=watch)
    model, (start,) = initial_parameters("logistic", digits, [spec.stream_seed])

    def scores(flat, inputs):
        named = Layout(model).unflatten(flat.unsqueeze(0)).items()
        return torch.func.functional_call(model, {name: of[0] for name, of in named}, (inputs,))

    def loss(flat, example, label):
        return torch.nn.functional.cross_entropy(scores(flat, example.unsqueeze(0))[0], label)

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(start, public.inputs, public.labels)
    clipped = each * (1 / each.norm(dim=1, keepdim=True)).clamp(max=1.0)
    torch.testing.assert_close(told[-1][0], clipped.mean(0), rtol=1e-4, atol=1e-6)
    correct = scores(watch.parameters[0], rest.inputs).argmax(-1) == rest.labels
    assert result.correct.tolist() == correct.double().tolist()
    assert result.accuracy == pytest.approx(correct.double().mean().item())
    assert result.accuracy_by_class.size == 10
    assert result.accuracy_by_worker.size == 4


@pytest.mark.parametrize("rule", ["fltrust(examples=20)", "noise_aware"])
def test_nothing_that_it_is_judged_by_reaches_it(rule):
    """With other inputs in the other half training is what it was, and its results are not."""
    digits = get_dataset("digits")
    inputs, labels = digits.validation.inputs.clone(), digits.validation.labels
    inputs[halves(labels.numpy())[1]] *= -1
    register_dataset(replace(digits, name="negatives", validation=Split(inputs, labels)))
    watches = [Last(), Last()]
    settings = RUN | {"noise_scale": 0.1, "aggregator": rule}
    results = [
        train_lanes([RunSpec(**settings, dataset=name)], watch=watch)[0]
        for name, watch in zip(("digits", "negatives"), watches, strict=True)
    ]
    assert torch.equal(watches[0].parameters, watches[1].parameters)
    assert results[0].accuracy != results[1].accuracy


def test_lanes_are_the_runs_alone_and_others_are_judged_by_the_whole_split():
    rules = ["fltrust(examples=20)", "median", "arc + fltrust(examples=7)", "noise_aware"]
    specs = [RunSpec(**{**RUN, "aggregator": rule}) for rule in rules]
    together = list(batches(specs))
    assert sorted(map(len, together)) == [1, 3]
    for batch in together:
        for spec, beside in zip(batch, train_lanes(batch), strict=True):
            alone = train(spec)
            assert alone.history.equals(beside.history)
            assert len(alone.correct) == (180 if spec.aggregator == "median" else 90)


def test_a_sweep_tunes_them(tmp_path):
    """The rate that learns is chosen over one that does not; on test data all else is as it was."""
    settings = {name: RUN[name] for name in ("aggregator", "clip_norm", "steps", "honest")}
    sweep = Sweep.from_settings(settings | {"tune": {"learning_rate": [1e-6, 30.0], "seeds": [7]}})
    with Store(str(tmp_path / "results.db")) as store:
        (chosen,) = run_whole(sweep, store)
        rows = store.runs()
    assert chosen.learning_rate == 30.0
    assert chosen.evaluate_on == "test"
    assert sorted(rows["evaluate_on"]) == ["test", "validation", "validation"]
    of_test = rows[rows["evaluate_on"] == "test"]["accuracy"].item()
    assert of_test == pytest.approx(train(chosen).accuracy)
    assert len(train(chosen).correct) == 360


@pytest.mark.parametrize(
    ("many", "message"),
    [
        (1, "evaluate_on: validation, .* dataset few1 has one in it; accepted: test, or a dataset"),
        (37, "aggregator: .* wants 20 public examples; accepted: 1 to 19, as many as half of"),
    ],
)
def test_too_few_to_divide_are_refused_before_anything_is_trained(many, message):
    digits = get_dataset("digits")
    held = Split(digits.validation.inputs[:many], digits.validation.labels[:many])
    register_dataset(replace(digits, name=f"few{many}", validation=held))
    spec = RunSpec(**RUN, dataset=f"few{many}")
    for refused in (train, lambda each: check([each])):
        with pytest.raises(SpecError, match=message):
            refused(spec)


def test_a_rule_that_wants_no_number_of_examples_is_refused():
    with pytest.raises(SpecError, match=r"^Unfit.public_examples: -1 is not a whole number, 0 or"):
        RunSpec(**RUN | {"aggregator": f"{__name__}:Unfit"})
