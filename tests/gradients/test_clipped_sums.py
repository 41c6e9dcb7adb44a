"""Clipped sums against one example at a time by plain autograd, for every layer and way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import LargestTensor
from torch import nn, vmap
from torch.nn import functional as F

from privrobust.errors import PrivRobustWarning
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipped_sums import _fast_ways, gradient_sum
from privrobust.gradients.clipping import CLIPPING_RULES, Automatic, Flat, PerLayer
from privrobust.gradients.isolation import called
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.gradients.per_sample import PerSample

CROSS_ENTROPY = get_loss("cross_entropy")

FEATURES, CLASSES = 6, 4
NEVER = torch.tensor([torch.inf])


def mlp(hidden=3, bias=True):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(FEATURES, hidden, bias=bias), nn.Tanh(), nn.Linear(hidden, CLASSES)
    )


def vectors(count, seed=0):
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


def draw(model, examples, shape, seed=0, present=0.6):
    """Parameters and a batch from `examples`, for `shape` (lanes, workers, pad)."""
    generator = torch.Generator().manual_seed(seed)
    dim = sum(parameter.numel() for parameter in model.parameters())
    batch = Batch.of(
        examples[torch.randint(len(examples), shape, generator=generator)].clone(),
        torch.randint(CLASSES, shape, generator=generator),
        torch.rand(shape, generator=generator) < present,
    )
    return torch.randn(shape[0], dim, generator=generator) / 2, batch


def reference(model, parameters, batch, clip_norms, rule):
    """One example at a time, by plain autograd."""
    sizes = Layout(model).layer_sizes
    sums = torch.zeros(*batch.labels.shape[:2], parameters.shape[-1])
    for lane, worker, place in batch.present.nonzero().tolist():
        nn.utils.vector_to_parameters(parameters[lane].clone(), model.parameters())
        logits = model(batch.inputs[lane, worker, place].unsqueeze(0))
        loss = F.cross_entropy(logits, batch.labels[lane, worker, place].unsqueeze(0))
        parts = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        gradient = torch.cat([part.flatten() for part in parts])
        layers = gradient.split(sizes)
        norms = torch.stack([layer.norm(rule.order) for layer in layers])
        limit = clip_norms[lane]
        if isinstance(rule, PerLayer):
            scales = (limit / len(layers) ** (1 / rule.order) / norms).clamp(max=1)
        elif isinstance(rule, Automatic):
            scales = limit / (norms.norm(rule.order) + 0.01).expand(len(layers))
        else:
            scales = (limit / norms.norm(rule.order)).clamp(max=1).expand(len(layers))
        sums[lane, worker] += torch.cat([g * s for g, s in zip(layers, scales, strict=True)])
    return sums


def assert_close(ours, theirs):
    assert (ours - theirs).norm() <= 1e-5 * (theirs.norm() + 1e-6)


def assert_exact(model, examples, way, rule, shape=(2, 2, 3), seed=0, clip_norm=0.5):
    parameters, batch = draw(model, examples, shape, seed)
    clip_norms = clip_norm * torch.arange(1, shape[0] + 1)
    ours = way(parameters, batch, clip_norms)
    assert_close(ours.sums, reference(model, parameters, batch, clip_norms, rule))


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
    hidden=st.integers(1, 5),
    bias=st.booleans(),
    clip_norm=st.sampled_from([1e-3, 0.5, 2.0, torch.inf]),
    present=st.sampled_from([0.0, 0.5, 1.0]),
    rule=st.sampled_from([Flat(1), Flat(2), PerLayer(2)]),
    slow=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_sums_are_those_of_one_example_at_a_time(
    shape, hidden, bias, clip_norm, present, rule, slow, seed
):
    model, examples = mlp(hidden, bias), vectors(20, seed)
    way = (
        PerSample(model, Layout(model), examples, rule, CROSS_ENTROPY)
        if slow
        else gradient_sum(model, Layout(model), examples[:3], rule, CROSS_ENTROPY)
    )
    parameters, batch = draw(model, examples, shape, seed, present)
    clip_norms = clip_norm * torch.arange(1, shape[0] + 1)
    ours = way(parameters, batch, clip_norms)
    assert_close(ours.sums, reference(model, parameters, batch, clip_norms, rule))


def ends_in_classes(*layers, example):
    """These layers, and a linear one on what they put out, which is changed in place."""
    body = nn.Sequential(*layers, nn.LeakyReLU(inplace=True), nn.Flatten())
    return nn.Sequential(body, nn.Linear(body(example.unsqueeze(0)).shape[1], CLASSES))


def assert_fast_and_exact(model, examples, rule, seed=0):
    way = gradient_sum(model, Layout(model), examples[:3], rule, CROSS_ENTROPY)
    assert not isinstance(way, PerSample)
    assert_exact(model, examples, way, rule, seed=seed)


RULES = st.sampled_from([rule(order) for rule in CLIPPING_RULES.values() for order in (1, 2)])


@given(data=st.data(), rule=RULES, seed=st.integers(0, 10**6))
@settings(max_examples=80)
def test_convolutions_of_any_shape_are_exact(data, rule, seed):
    axes = data.draw(st.integers(1, 2))
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
    sizes = st.integers(1, 3)
    groups = data.draw(st.integers(1, 2))
    inward, outward = groups * data.draw(sizes), groups * data.draw(sizes)
    each = st.tuples(*[sizes] * axes)
    padding = data.draw(
        st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 2)] * axes))
    )
    layer = kind(
        inward,
        outward,
        kernel_size=data.draw(each),
        stride=1 if padding == "same" else data.draw(each),
        dilation=data.draw(each),
        padding=padding,
        padding_mode=data.draw(st.sampled_from(["zeros", "circular", "replicate"])),
        groups=groups,
        bias=data.draw(st.booleans()),
    )
    generator = torch.Generator().manual_seed(seed)
    examples = torch.randn(8, inward, *[data.draw(st.integers(7, 9))] * axes, generator=generator)
    assert_fast_and_exact(ends_in_classes(layer, example=examples[0]), examples, rule, seed)


@pytest.mark.parametrize("rule", [Flat(1), Flat(2)], ids=repr)
def test_gradients_larger_than_activations_are_never_formed(rule):
    """Few positions and many channels: the Gram matrices' side of the choice."""
    model = nn.Sequential(
        nn.Conv1d(8, 40, 6), nn.ReLU(), nn.Conv1d(40, 30, 2, groups=2), nn.Flatten(),
        nn.Linear(60, CLASSES),
    )  # fmt: skip
    examples = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(1))
    assert_fast_and_exact(model, examples, rule)


@given(
    words=st.integers(2, 9),
    length=st.integers(1, 6),
    width=st.integers(3, 6),  # of fewer numbers LayerNorm leaves nothing to learn
    padded=st.booleans(),
    rule=RULES,
    seed=st.integers(0, 10**6),
)
@settings(max_examples=30)
def test_embeddings_and_linear_layers_on_sequences_are_exact(
    words, length, width, padded, rule, seed
):
    model = nn.Sequential(
        nn.Embedding(words, width, padding_idx=0 if padded else None),
        nn.LayerNorm(width),
        nn.Linear(width, 5),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(5 * length, CLASSES),
    )
    generator = torch.Generator().manual_seed(seed)
    examples = torch.randint(words, (8, length), generator=generator)
    examples[0, 0] = 1  # a word that learns
    assert_fast_and_exact(model, examples, rule, seed)


@pytest.mark.parametrize("rule", [Flat(1), Flat(2), PerLayer(2), Automatic(2)], ids=repr)
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_group_norm_is_exact(shape, rule):
    examples = torch.randn(8, *shape, generator=torch.Generator().manual_seed(2))
    assert_fast_and_exact(ends_in_classes(nn.GroupNorm(2, 4), example=examples[0]), examples, rule)


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.body(torch.tanh(self.body(x))))


class OnSequences(UsedTwice):
    def forward(self, x):
        return self.head(self.body(x.unsqueeze(1).expand(-1, 3, -1)).mean(1))


class ScalarParameter(UsedTwice):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.act = nn.PReLU()

    def forward(self, x):
        return self.head(self.act(self.body(x))) * self.temperature


class InPlace(UsedTwice):
    def forward(self, x):
        return self.head(F.relu_(self.body(x)))


class Clamped(UsedTwice):
    """Changed in place by a function whose backward pass needs nothing of what was there."""

    def forward(self, x):
        return self.head(F.hardtanh(self.body(x), -0.3, 0.3, inplace=True).mul_(2))


class HalfUsed(UsedTwice):
    """A layer that never runs, and one called by keyword."""

    def __init__(self):
        super().__init__()
        self.never = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(input=self.body(x))


class Sorting(UsedTwice):
    """Examples change places between layers: sums over a batch would mix them."""

    def forward(self, x):
        order = x.abs().sum(1).argsort()
        return self.head(torch.tanh(self.body(x[order]))[order.argsort()])


class TwoNames(UsedTwice):
    """One module under two names, both of them called."""

    def __init__(self):
        super().__init__()
        self.again = self.body

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.body(x)))))


class NamesInAList(UsedTwice):
    """A block of layers and a parameter of its own, under three names."""

    def __init__(self):
        super().__init__()
        block = ScaledBlock()
        self.blocks = nn.ModuleList([block, block, block])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class ScaledBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(FEATURES, FEATURES), nn.LayerNorm(FEATURES)
        self.scale = nn.Parameter(torch.ones(FEATURES))

    def forward(self, x):
        return torch.tanh(self.norm(self.linear(x))) * self.scale


def chain_that_repeats():
    layer, activation = nn.Linear(FEATURES, FEATURES), nn.Tanh()
    return nn.Sequential(layer, activation, layer, activation, nn.Linear(FEATURES, CLASSES))


@pytest.mark.parametrize("rule", [Flat(1), Flat(2), PerLayer(2)], ids=repr)
@pytest.mark.parametrize("architecture", [TwoNames, NamesInAList, chain_that_repeats])
def test_a_module_under_two_names_adds_up_over_its_uses(architecture, rule):
    """Fast, exact by autograd on single examples, and again in a second call."""
    model, examples = architecture(), vectors(8)
    assert_fast_and_exact(model, examples, rule)
    way = gradient_sum(model, Layout(model), examples, rule, CROSS_ENTROPY)
    for seed in (1, 2):
        assert_exact(model, examples, way, rule, seed=seed)


@pytest.mark.parametrize("seed", range(12, 20))
@pytest.mark.parametrize("loss", ["cross_entropy", "logistic"])
def test_a_model_that_is_sure_of_itself_is_fast(loss, seed):
    """Its gradients are what rounding leaves of 1 - p, unless they are taken from what is small."""
    generator = torch.Generator().manual_seed(seed)
    examples = torch.randn(8, FEATURES, generator=generator)
    examples[:, 0] = 4.0 * (2 * (torch.arange(8) % 2) - 1)  # tells the labels of the comparison
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
        model[0].weight[0, 0] = 2.0
        model[2].weight[:, 0] = torch.tensor([-1.0, 1.0]) * (4 + seed / 2)
    way = gradient_sum(model, Layout(model), examples, Flat(), get_loss(loss))
    assert not isinstance(way, PerSample)


def test_what_a_module_under_two_names_was_called_with_stays_behind_in_no_call():
    """`torch.func.functional_call` leaves its tensors, which have then escaped from vmap."""
    model = TwoNames()
    named = {name: value.detach() for name, value in model.named_parameters()}
    inputs = vectors(3)
    expected = model(inputs)
    lanes = {name: value.repeat(2, *[1] * value.dim()) for name, value in named.items()}
    scores = vmap(lambda of_lane: called(model, of_lane, inputs))(lanes)
    assert_close(scores[1], expected)
    assert_close(called(model, named, inputs), expected)
    assert all(torch.equal(value, named[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize("rule", [Flat(1), Flat(2), PerLayer(2)], ids=repr)
@pytest.mark.parametrize(
    "architecture", [UsedTwice, OnSequences, ScalarParameter, InPlace, Clamped, HalfUsed, Sorting]
)
def test_models_beyond_a_chain_of_layers_are_fast_and_exact(architecture, rule):
    assert_fast_and_exact(architecture(), vectors(8), rule)


class Tied(UsedTwice):
    def __init__(self):
        super().__init__()
        self.copy = nn.Linear(FEATURES, FEATURES)
        self.copy.weight = self.body.weight

    def forward(self, x):
        return self.head(self.copy(self.body(x)))


class UsedOutside(UsedTwice):
    def forward(self, x):
        return self.head(self.body(x)) + x @ self.head.weight.T


class Reparametrised(UsedTwice):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, 30))
        self.head = nn.Linear(30, CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


class Recurrent(UsedTwice):
    def __init__(self):
        super().__init__()
        self.body = nn.GRU(1, FEATURES, batch_first=True)

    def forward(self, x):
        return self.head(self.body(x.unsqueeze(-1))[0][:, -1])


class Branching(Recurrent):
    def forward(self, x):
        return super().forward(x) * (2 if x[0, 0] > 0 else 1)


class DeepNarrow(UsedTwice):
    """A weight used as no rule foresees, whose gradient ten narrow layers leave small."""

    def __init__(self):
        super().__init__()
        narrow = [layer for _ in range(10) for layer in (nn.Linear(4, 4), nn.Tanh())]
        self.narrow = nn.Sequential(nn.Linear(FEATURES, 4), *narrow, nn.Linear(4, CLASSES))

    def forward(self, x):
        return self.narrow(F.linear(self.body(x), self.body.weight.t())) + self.head(x)


class Scaled(UsedTwice):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10_000))

    def forward(self, x):
        return super().forward(x) * self.scale.mean()


class Saturated(UsedTwice):
    """Certain of its answers, so that no gradient shows how the layers are used."""

    def forward(self, x):
        return super().forward(x).detach() + 0 * super().forward(x)


NO_RULE = "has no fast clipping rule here"
UNFORESEEN = "is used as no fast rule foresees"


@pytest.mark.parametrize(
    ("architecture", "fault"),
    [
        (Tied, r"layer 'copy' \(Linear\) shares a parameter with another"),
        (UsedOutside, rf"layer 'head' \(Linear\) {UNFORESEEN}"),
        (DeepNarrow, rf"layer 'body' \(Linear\) {UNFORESEEN}"),
        (Reparametrised, r"the fast way fails here \(|layer 'body.*' \(.*\) has no fast"),
        (Recurrent, rf"layer 'body' \(GRU\) {NO_RULE}"),
        (Branching, rf"layer 'body' \(GRU\) {NO_RULE}"),
        (Scaled, f"Scaled's own parameter {NO_RULE}"),
        (Saturated, r"layer 'body' \(Linear\) has no gradient on the first examples"),
    ],
)
def test_other_models_take_the_slow_way_and_are_exact(architecture, fault):
    model, examples = architecture(), vectors(8)
    with pytest.warns(PrivRobustWarning, match=f"model: {fault}.*exact and slow"):
        way = gradient_sum(model, Layout(model), examples, Flat(), CROSS_ENTROPY)
    assert isinstance(way, PerSample)
    if architecture is not Saturated:  # without gradients plain autograd refuses
        assert_exact(model, examples, way, Flat())


def ways(model, examples, rule):
    return [
        *_fast_ways(model, Layout(model), examples[:3], rule, CROSS_ENTROPY),
        PerSample(model, Layout(model), examples[:3], rule, CROSS_ENTROPY),
    ]


@pytest.mark.parametrize("order", [1, 2])
def test_norms_are_of_whole_gradients_and_zero_where_padded(order):
    model, examples = mlp(), vectors(8)
    parameters, batch = draw(model, examples, (1, 2, 3), seed=1)
    flat = batch.inputs, batch.labels, batch.present
    single = Batch.of(*(part.view(1, 6, 1, *part.shape[3:]) for part in flat))
    for way in ways(model, examples, Flat(order)):
        norms = way(parameters, batch, NEVER).norms
        expected = way(parameters, single, NEVER).sums.norm(order, dim=-1).flatten().double()
        torch.testing.assert_close(norms.flatten(), expected, rtol=1e-5, atol=0)
        assert (norms[~batch.present] == 0).all()


@pytest.mark.parametrize("hostile", [torch.nan, torch.inf])
def test_an_example_without_a_finite_gradient_adds_nothing(hostile):
    model, examples = mlp(), vectors(8)
    clip_norms = torch.tensor([0.5])
    for way in ways(model, examples, Flat()):
        parameters, batch = draw(model, examples, (1, 2, 4), seed=2, present=1.0)
        inputs = batch.inputs
        inputs[0, 0, 1] = hostile
        attacked = Batch.of(inputs, batch.labels, batch.present)
        sums = way(parameters, attacked, clip_norms).sums
        batch.present[0, 0, 1] = False
        assert_close(sums, way(parameters, batch, clip_norms).sums)


@pytest.mark.parametrize("hostile", [torch.nan, torch.inf, 1e30])
def test_hostile_padding_adds_nothing(hostile):
    model, examples = mlp(), vectors(8)
    for way in ways(model, examples, Flat()):
        parameters, batch = draw(model, examples, (1, 2, 4), seed=3)
        clean = way(parameters, batch, torch.tensor([0.5]))
        inputs = batch.inputs
        inputs[~batch.present] = hostile
        padded = Batch.of(inputs, batch.labels, batch.present)
        attacked = way(parameters, padded, torch.tensor([0.5]))
        assert_close(attacked.sums, clean.sums)
        assert torch.equal(attacked.norms, clean.norms)


def test_a_gradient_whose_squares_underflow_is_still_clipped():
    """Tiny output gradients against a huge input: float32 squares of them are 0."""
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES, bias=False))
    parameters, batch = draw(model, vectors(8), (1, 1, 1), seed=5, present=1.0)
    parameters[:] = 0
    parameters[0, 1::FEATURES] = torch.tensor([52.5, 0.0, 0.0, 0.0])  # a confident answer
    inputs = torch.tensor([1e19, 1.0, 0, 0, 0, 0]).expand(batch.inputs.shape)
    batch = Batch.of(inputs, torch.zeros_like(batch.labels), batch.present)
    way = gradient_sum(model, Layout(model), vectors(3), Flat(), CROSS_ENTROPY)
    clipped = way(parameters, batch, torch.tensor([1e-6]))
    assert float(clipped.norms) > 1e-6
    assert float(clipped.sums.double().norm()) == pytest.approx(1e-6)


def test_a_gradient_of_terms_that_cancel_is_still_clipped():
    """Two positions of opposite huge gradients: float32 Gram matrices would see nothing left."""
    model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.Flatten(), nn.Linear(40, CLASSES))
    generator = torch.Generator().manual_seed(0)
    examples = torch.randn(3, 1, 20, generator=generator).repeat(1, 2, 1)
    parameters, batch = draw(model, examples, (1, 1, 1), seed=6, present=1.0)
    weight = Layout(model).unflatten(parameters)["2.weight"][0]
    weight[:, 20:] = -weight[:, :20] * (1 + 1e-4)
    weight *= 1e4
    clip_norms = torch.tensor([1e-2])
    clipped = gradient_sum(model, Layout(model), examples, Flat(), CROSS_ENTROPY)(
        parameters, batch, clip_norms
    ).sums
    assert 0.98e-2 < float(clipped.norm()) <= 1e-2 * (1 + 1e-5)


class ByzFLCNN(nn.Sequential):
    """431,080 parameters, for 28 x 28 images."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip


def test_no_step_makes_per_sample_gradients_of_a_supported_model():
    """15 workers of 32: the largest tensor is a layer's activations, a tenth of the gradients."""
    model, images = ByzFLCNN(), torch.rand(480, 1, 28, 28)
    way = gradient_sum(model, Layout(model), images[:3], Flat(), CROSS_ENTROPY)
    flat = nn.utils.parameters_to_vector(model.parameters()).detach().unsqueeze(0)
    assert flat.numel() == 431_080
    labels = torch.arange(480).view(1, 15, 32) % 10
    batch = Batch.of(images.view(1, 15, 32, 1, 28, 28), labels, torch.ones_like(labels).bool())
    with LargestTensor() as largest:
        way(flat, batch, torch.ones(1))
    activations = 480 * 20 * 24 * 24
    messages = 15 * 431_080
    assert largest.numel <= max(activations, messages) * 1.5
    assert largest.numel <= 480 * 431_080 / 20


def test_unflatten_views_are_the_models_parameters():
    model = ScalarParameter()
    flat = nn.utils.parameters_to_vector(model.parameters())
    for name, value in Layout(model).unflatten(flat).items():
        assert torch.equal(value, dict(model.named_parameters())[name])
