import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from privrobust.clipping import (
    Batch,
    LinearLayers,
    PerSample,
    clip_factors,
    clip_vectors,
    gradient_sum,
    unflatten,
)
from privrobust.errors import PrivRobustWarning

FEATURES, CLASSES = 6, 4


def mlp(hidden, bias=True):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(FEATURES, hidden, bias=bias), nn.Tanh(), nn.Linear(hidden, CLASSES)
    )


def draw(model, lanes, workers, pad, seed, present=0.6):
    generator = torch.Generator().manual_seed(seed)
    dim = sum(parameter.numel() for parameter in model.parameters())
    batch = Batch(
        torch.randn(lanes, workers, pad, FEATURES, generator=generator),
        torch.randint(CLASSES, (lanes, workers, pad), generator=generator),
        torch.rand(lanes, workers, pad, generator=generator) < present,
    )
    return torch.randn(lanes, dim, generator=generator), batch


def reference(model, parameters, batch, clip_norms, order=2):
    """One example at a time, by plain autograd."""
    lanes, workers, pad = batch.labels.shape
    sums = torch.zeros(lanes, workers, parameters.shape[-1])
    for lane, worker, place in torch.cartesian_prod(*map(torch.arange, (lanes, workers, pad))):
        if not batch.present[lane, worker, place]:
            continue
        nn.utils.vector_to_parameters(parameters[lane].clone(), model.parameters())
        model.zero_grad()
        logits = model(batch.inputs[lane, worker, place].unsqueeze(0))
        cross_entropy(logits, batch.labels[lane, worker, place].unsqueeze(0)).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        sums[lane, worker] += gradient * min(1.0, clip_norms[lane] / gradient.norm(order))
    return sums


def assert_close(ours, theirs):
    assert (ours - theirs).norm() <= 1e-5 * (theirs.norm() + 1e-6)


@pytest.mark.parametrize("way", [LinearLayers, PerSample])
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
    hidden=st.integers(1, 5),
    bias=st.booleans(),
    clip_norm=st.sampled_from([1e-3, 0.5, 2.0, torch.inf]),
    present=st.sampled_from([0.0, 0.5, 1.0]),
    order=st.sampled_from([1, 2]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=30)
def test_sums_are_those_of_one_example_at_a_time(
    way, shape, hidden, bias, clip_norm, present, order, seed
):
    model = mlp(hidden, bias)
    parameters, batch = draw(model, *shape, seed, present)
    clip_norms = clip_norm * torch.arange(1, shape[0] + 1)
    ours = way(model, order)(parameters, batch, clip_norms)
    assert_close(ours.sums, reference(model, parameters, batch, clip_norms, order))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("way", [LinearLayers, PerSample])
def test_norms_are_of_whole_gradients_and_zero_where_padded(way, order):
    model = mlp(3)
    parameters, batch = draw(model, 1, 2, 3, seed=1)
    single = Batch(*(part.view(1, 6, 1, *part.shape[3:]) for part in batch))
    norms = way(model, order)(parameters, batch, torch.tensor([torch.inf])).norms
    sums = way(model)(parameters, single, torch.tensor([torch.inf])).sums
    expected = sums.norm(order, dim=-1).flatten().double()
    torch.testing.assert_close(norms.flatten(), expected, rtol=1e-5, atol=0)
    assert (norms[~batch.present] == 0).all()


@pytest.mark.parametrize("way", [LinearLayers, PerSample])
@pytest.mark.parametrize("hostile", [torch.nan, torch.inf])
def test_an_example_without_a_finite_gradient_adds_nothing(way, hostile):
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES))
    parameters, batch = draw(model, 1, 2, 4, seed=2, present=1.0)
    batch.inputs[0, 0, 1] = hostile
    clip_norms = torch.tensor([0.5])
    sums = way(model)(parameters, batch, clip_norms).sums
    batch.present[0, 0, 1] = False
    batch.inputs[0, 0, 1] = 0
    assert_close(sums, way(model)(parameters, batch, clip_norms).sums)


def test_a_gradient_whose_squares_underflow_is_still_clipped():
    """Tiny output gradients against a huge input: float32 squares of them are 0."""
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES, bias=False))
    parameters, batch = draw(model, 1, 1, 1, seed=5, present=1.0)
    parameters[:] = 0
    parameters[0, 1::FEATURES] = torch.tensor([52.5, 0.0, 0.0, 0.0])  # a confident answer
    batch.inputs[:] = torch.tensor([1e19, 1.0, 0, 0, 0, 0])
    batch.labels[:] = 0
    clipped = LinearLayers(model)(parameters, batch, torch.tensor([1e-6]))
    assert float(clipped.norms) > 1e-6
    assert float(clipped.sums.double().norm()) == pytest.approx(1e-6)


@pytest.mark.parametrize("way", [LinearLayers, PerSample])
@pytest.mark.parametrize("hostile", [torch.nan, torch.inf, 1e30])
def test_hostile_padding_adds_nothing(way, hostile):
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES))
    parameters, batch = draw(model, 1, 2, 4, seed=3)
    clean = way(model)(parameters, batch, torch.tensor([0.5]))
    batch.inputs[~batch.present] = hostile
    attacked = way(model)(parameters, batch, torch.tensor([0.5]))
    assert_close(attacked.sums, clean.sums)
    assert torch.equal(attacked.norms, clean.norms)


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_no_clipped_norm_exceeds_the_bound(norm, clip_norm):
    norms, limits = torch.tensor([[norm]]), torch.tensor([clip_norm])
    assert float(clip_factors(norms, limits) * norms) <= clip_norm * (1 + 1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_whole_vectors_are_clipped_and_vanish_where_not_finite(order):
    vectors = torch.tensor([[[3.0, -4.0], [0.3, 0.4], [torch.nan, 1.0], [torch.inf, 0.0]]])
    clipped = clip_vectors(vectors, torch.tensor([2.0]), order)
    lengths = clipped.sums.norm(order, dim=-1)[0]
    assert lengths[0].item() == pytest.approx(2.0)
    assert torch.equal(clipped.sums[0, 1], vectors[0, 1])
    assert lengths[2:].tolist() == [0, 0]
    assert clipped.norms[0, 0].item() == {1: 7.0, 2: 5.0}[order]


@pytest.mark.parametrize("clip_norm", [1e-7, 1e-20])
def test_vast_vectors_are_dropped_rather_than_cut_wrongly(clip_norm):
    """Their factors are subnormal in float32, and would round up by a tenth."""
    vectors = torch.full((1, 1, 8), 1e37)
    clipped = clip_vectors(vectors, torch.tensor([clip_norm])).sums
    assert float(clipped.double().norm()) <= clip_norm * (1 + 1e-6)


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.body(torch.tanh(self.body(x))))


class Tied(UsedTwice):
    def __init__(self):
        super().__init__()
        self.copy = nn.Linear(FEATURES, FEATURES)
        self.copy.weight = self.body.weight

    def forward(self, x):
        return self.head(self.copy(self.body(x)))


class OnSequences(UsedTwice):
    def forward(self, x):
        return self.head(self.body(x.unsqueeze(1).expand(-1, 3, -1)).mean(1))


class OwnParameter(UsedTwice):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))

    def forward(self, x):
        return self.head(self.body(x) * self.scale)


class UsedOutside(UsedTwice):
    def forward(self, x):
        return self.head(self.body(x)) + x @ self.head.weight.T


class Reparametrised(UsedTwice):
    def __init__(self):
        super().__init__()
        torch.nn.utils.parametrizations.weight_norm(self.body)


@pytest.mark.parametrize(
    "architecture", [UsedTwice, Tied, OnSequences, OwnParameter, UsedOutside, Reparametrised]
)
def test_models_without_a_rule_take_the_slow_way_and_are_exact(architecture):
    model = architecture()
    with pytest.warns(PrivRobustWarning, match="has no fast clipping rule"):
        way = gradient_sum(model, torch.zeros(FEATURES))
    parameters, batch = draw(model, 2, 2, 3, seed=4)
    clip_norms = torch.tensor([0.5, 1.0])
    assert_close(
        way(parameters, batch, clip_norms).sums, reference(model, parameters, batch, clip_norms)
    )


def test_linear_models_take_the_fast_way():
    assert isinstance(gradient_sum(mlp(3), torch.zeros(FEATURES)), LinearLayers)


def test_unflatten_views_are_the_models_parameters():
    model = mlp(3)
    flat = nn.utils.parameters_to_vector(model.parameters())
    for name, value in unflatten(model, flat).items():
        assert torch.equal(value, dict(model.named_parameters())[name])
