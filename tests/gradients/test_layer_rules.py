"""Layers that users teach: right rules are fast, wrong ones are found out and never train."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from privrobust import RunSpec, train
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.gradients import get_loss, layer_rules, register_layer_rule
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipped_sums import LayerWise, gradient_sum
from privrobust.gradients.clipping import Automatic, Flat, PerLayer
from privrobust.gradients.layout import Layout
from privrobust.gradients.per_sample import PerSample
from privrobust.models import register_model

CROSS_ENTROPY = get_loss("cross_entropy")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(layer_rules, "OWN_RULES", {})


class LowRank(nn.Module):
    """A linear layer of rank 2, whose weights outnumber what it puts out."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.down = nn.Parameter(torch.randn(2, inputs) / math.sqrt(inputs))
        self.up = nn.Linear(2, outputs)

    def forward(self, x):
        return self.up(x @ self.down.T)


class Mixing(nn.Module):
    """A matrix for each place of a sequence: more numbers than activations."""

    def __init__(self, places, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(places, width, width) / math.sqrt(width))
        self.shift = nn.Parameter(torch.zeros(places, width))

    def forward(self, x):
        return torch.einsum("...pi,pij->...pj", x, self.weight) + self.shift


def right(layer, uses):
    weight = sum(torch.einsum("npi,npj->npij", use.inputs, use.errors) for use in uses)
    return weight, sum(use.errors for use in uses)


class Model(nn.Module):
    """Calls the layer twice."""

    def __init__(self, shape, classes):
        super().__init__()
        self.mixing = Mixing(4, 16)
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        x = x.reshape(-1, 4, 16)
        return self.head(self.mixing(torch.tanh(self.mixing(x))).flatten(1))


def made():
    torch.manual_seed(0)
    return Model(torch.Size([64]), 3), torch.randn(6, 64)


def chosen(model, examples, rule=None):
    """The way that training takes."""
    return gradient_sum(model, Layout(model), examples, rule or Flat(), CROSS_ENTROPY)


def batch(lanes=2, workers=3, size=4):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(lanes, workers, size, 64, generator=generator)
    labels = torch.randint(3, (lanes, workers, size), generator=generator)
    return Batch.of(inputs, labels, torch.rand(labels.shape, generator=generator) < 0.8)


@pytest.mark.parametrize("rule", [Flat(2), Flat(1), PerLayer(2), Automatic(2)], ids=repr)
def test_a_taught_layer_gives_what_per_sample_gradients_give(rule):
    register_layer_rule(Mixing)(right)
    model, examples = made()
    fast = chosen(model, examples, rule)
    assert isinstance(fast, LayerWise)
    slow = PerSample(model, Layout(model), examples, rule, CROSS_ENTROPY)
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    parameters = torch.stack([start, start * 1.1])
    for some, lanes in ((parameters, 2), (parameters[:1], 1)):
        given = some, batch(lanes), torch.full((lanes,), 0.5)
        ours, theirs = fast(*given), slow(*given)
        torch.testing.assert_close(ours.sums, theirs.sums, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.norms, theirs.norms, rtol=1e-4, atol=1e-6)


def test_the_same_layer_untaught_takes_the_slow_way():
    with pytest.warns(PrivRobustWarning, match=r"layer 'mixing' \(Mixing\) has no fast clipping"):
        assert isinstance(chosen(*made()), PerSample)


def doubled(layer, uses):
    return [2 * part for part in right(layer, uses)]


def of_the_first_call(layer, uses):
    return right(layer, uses[:1])


def swapped(layer, uses):
    return right(layer, uses)[::-1]


def without_shift(layer, uses):
    return right(layer, uses)[:1]


def narrow(layer, uses):
    """One number an example would be added to every entry."""
    weight, shift = right(layer, uses)
    return weight, shift.sum((1, 2), keepdim=True)[:, :, 0]


def summed(layer, uses):
    return [part.sum(0) for part in right(layer, uses)]


def by_its_parameters(layer, uses):
    """The model's own are not those of the run."""
    weight, shift = right(layer, uses)
    return weight * layer.weight / layer.weight.roll(1, 0), shift


def by_chance(layer, uses):
    weight, shift = right(layer, uses)
    return weight + 1e-9 * torch.randn_like(weight), shift


def looking(layer, uses):
    weight, shift = right(layer, uses)
    return (weight, shift) if bool(shift.sum() < 1e9) else (0 * weight, shift)


def failing(layer, uses):
    raise ValueError("two\nlines")


def nothing(layer, uses):
    return None


WRONG = [
    (doubled, r"layer 'mixing' \(Mixing\) is used as no fast rule foresees"),
    (of_the_first_call, r"layer 'mixing' \(Mixing\) is used as no fast rule foresees"),
    (swapped, r"the rule of Mixing gives gradients of \[\(4, 16\), \(4, 16, 16\)\]; accepted:"),
    (without_shift, "the rule of Mixing gives gradients of"),
    (narrow, "the rule of Mixing gives gradients of"),
    (summed, "the rule of Mixing gives gradients of"),
    (by_its_parameters, r"layer 'mixing' \(Mixing\) is used as no fast rule foresees"),
    (by_chance, "the fast way fails here .*random"),
    (looking, "the fast way fails here .*data-dependent control flow"),
    (failing, r"the fast way fails here \(ValueError: two\)"),
    (nothing, "the fast way fails here"),
]


@pytest.mark.parametrize(("rule", "reason"), WRONG)
def test_a_wrong_rule_is_found_out_and_never_trains(rule, reason):
    register_layer_rule(Mixing)(rule)
    with pytest.warns(PrivRobustWarning, match=f"^model: .*{reason}.*exact and slow$") as warned:
        way = chosen(*made())
    assert isinstance(way, PerSample)
    assert all("\n" not in str(each.message) for each in warned)


@pytest.mark.filterwarnings("ignore::privrobust.errors.PrivRobustWarning")
def test_a_run_with_a_wrong_rule_is_the_run_without_it():
    register_model("of_places", Model)
    settings = {"model": "of_places", "honest": 3, "steps": 6, "clip_norm": 1.0, "noise_scale": 0.1}
    exact = train(RunSpec(**settings))
    register_layer_rule(Mixing)(doubled)
    assert train(RunSpec(**settings)).loss == exact.loss
    register_layer_rule(Mixing)(right)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taught = train(RunSpec(**settings))
    assert taught.loss == pytest.approx(exact.loss, rel=1e-5)
    assert taught.epsilon == exact.epsilon


def meddling(layer, uses):
    """Adds what others of its batch have, where there are any."""
    weight, shift = right(layer, uses)
    return weight + (weight.sum(0) - weight) / 1e6, shift


def test_no_example_of_a_batch_sees_another_through_a_rule():
    """So clipping bounds what each adds, whatever a rule does: it is never given two."""
    register_layer_rule(Mixing)(meddling)
    fast = chosen(*made())
    assert isinstance(fast, LayerWise)
    start = nn.utils.parameters_to_vector(made()[0].parameters()).detach().unsqueeze(0)
    before = batch(lanes=1, workers=1)
    inputs = before.inputs
    inputs[0, 0, 0] *= 1e6
    after = Batch.of(inputs, before.labels, before.present)
    there = torch.ones_like(before.present)
    norms = [
        fast(start, replace(each, present=there), torch.ones(1)).norms[0, 0, 1:]
        for each in (before, after)
    ]
    assert torch.equal(*norms)


def test_only_parameters_of_its_own_are_a_rules_business():
    """The layer within has its own rule."""

    @register_layer_rule(LowRank)
    def down(layer, uses):
        raise AssertionError  # nobody can make it of what went in and came out alone

    model = nn.Sequential(nn.Flatten(), LowRank(64, 3))
    with pytest.warns(PrivRobustWarning, match="the fast way fails here"):
        chosen(model, torch.randn(4, 64))


def test_a_decorated_rule_is_itself_and_a_later_one_holds():
    decorate = register_layer_rule(Mixing)
    assert decorate(doubled) is doubled
    assert register_layer_rule(Mixing)(right) is right
    assert isinstance(chosen(*made()), LayerWise)


def test_a_rule_is_that_of_a_class_and_not_of_those_that_derive_from_it():
    register_layer_rule(Mixing)(right)

    class Scaled(Mixing):
        def forward(self, x):
            return 2 * super().forward(x)

    assert layer_rules.has_rule(Mixing(2, 2))
    assert not layer_rules.has_rule(Scaled(2, 2))


@pytest.mark.parametrize("layer", [nn.Linear, nn.Conv2d, nn.Embedding, nn.LayerNorm])
def test_layers_of_ours_are_taken(layer):
    message = f"^layer rule: {layer.__name__} is taken by what is built in; accepted: another class"
    with pytest.raises(SpecError, match=message):
        register_layer_rule(layer)


@pytest.mark.parametrize("layer", [nn.ReLU(), "Linear", int, None])
def test_what_is_no_layer_has_no_rule(layer):
    with pytest.raises(SpecError, match=r"^layer rule: .* is not accepted: a class of torch"):
        register_layer_rule(layer)
