from contextlib import contextmanager
from dataclasses import dataclass

import byzfl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.core import parameters as configured
from privrobust.core.random import stream
from privrobust.data import Dataset, Split, get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.gradients.per_sample import PerSample
from privrobust.models import available_models, build_model, initial_parameters
from privrobust.models import registry as models
from privrobust.models.architectures import Architecture, bounded_logistic


@contextmanager
def registered(**classes):
    """Models by name, until the end of the block."""
    kept = dict(models.MODELS.registered)
    try:
        for name, made in classes.items():
            models.register_model(name, made)
        yield
    finally:
        models.MODELS.registered = kept


SMALL = Dataset.from_tensors(
    "small", torch.linspace(0, 1, 30 * 6).view(30, 6), torch.arange(30) % 3
)


def batch_norm(shape, classes):
    return nn.Sequential(nn.Linear(*shape, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


def dropout(shape, classes):
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(*shape, classes))


def frozen(shape, classes):
    return nn.Linear(*shape, classes).requires_grad_(False)


def constant(shape, classes):
    return nn.Flatten()


class OnShape(nn.Linear):
    def __init__(self, shape, classes):
        super().__init__(*shape, classes)


class Centred(OnShape):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class CentredInLargeBatches(OnShape):
    def forward(self, x):
        return super().forward(x - x.mean(0) if len(x) > 2 else x)


class Unbatched(OnShape):
    def forward(self, x):
        return super().forward(x).unsqueeze(-1)


class RandomBuffer(OnShape):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.register_buffer("mask", torch.rand(shape))

    def forward(self, x):
        return super().forward(x * self.mask)


def broken(shape, classes):
    raise RuntimeError("no weights found")


class Pair(nn.Linear):
    """Returns its input beside the scores."""

    def __init__(self, shape, classes):
        super().__init__(*shape, classes)

    def forward(self, x):
        return super().forward(x), x


class Slip(Pair):
    """Fails in a line of its own."""

    def forward(self, x):
        return super().forward(x.flatten(5))


def number(shape, classes):
    return 7


def test_buffers_that_depend_on_the_seed_are_refused():
    with pytest.raises(SpecError, match=r"buffer 'mask' .* depends on the seed"):
        initial_parameters(f"{__name__}:RandomBuffer", get_dataset("digits"), (0, 1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":foo", "unknown name ':foo'"),
        ("os:", "unknown name 'os:'"),
        (".foo:bar", "names no module; accepted: module:name"),
        (f"{__name__}:__file__", "is a str, not callable"),
        ("os:getcwd", "is of Python's own library; accepted: a function"),
    ],
)
def test_names_that_are_no_factory_are_refused(name, message):
    with pytest.raises(SpecError, match=message):
        build_model(name, SMALL, seed=0)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("CentredInLargeBatches", "depends on the other examples of its batch"),
        ("Unbatched", r"maps \(16, 6\) to \(16, 3, 1\); accepted: to \(16, 3\)"),
        (
            "broken",
            r"failed for .*\(6,\) .* \(no weights found, test_models.py, line \d+\)",
        ),
        ("Pair", r"forward of .*:Pair' returned a tuple; accepted: one tensor \(16, 3\), a score"),
        ("Slip", r"failed on \(16, 6\) inputs \(IndexError: .*, test_models.py, line \d+\)"),
        ("number", "made a int, not a torch.nn.Module"),
        (
            "batch_norm",
            r"layer '1' .* is BatchNorm1d: BatchNorm cannot .* use torch.nn.GroupNorm instead",
        ),
        ("dropout", r"layer '0' .* is Dropout, whose draws no seed"),
        ("frozen", "parameter 'weight' .* is frozen"),
        ("constant", "has no parameters to train"),
        ("Centred", "depends on the other examples of its batch"),
        ("nowhere", "the module .* has no 'nowhere'"),
    ],
)
def test_models_without_sound_gradients_are_refused(factory, message):
    with pytest.raises(SpecError, match=message):
        build_model(f"{__name__}:{factory}", SMALL, seed=0)


@pytest.mark.parametrize("name", ["logistic", "mlp", "bounded_logistic"])
def test_parameters_come_from_the_seed_alone(name):
    assert name in available_models()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    _, flat = initial_parameters(name, get_dataset("digits"), (0, 0, 1))
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    model = build_model(name, get_dataset("digits"), seed=1)
    assert torch.equal(flat[2], nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(state, torch.get_rng_state())


def images(shape, classes=10):
    """Random pixels, enough for every model to be looked at."""
    generator = torch.Generator().manual_seed(0)

    def split(count):
        pixels = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
        return Split(pixels, torch.arange(count) % classes)

    return Dataset("images", split(40), split(10), split(10), classes)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("cnn_byzfl", (1, 28, 28), 431_080),  # of byzfl's cnn_mnist
        ("cnn_opacus", (1, 28, 28), 26_010),  # of opacus's examples/mnist.py
        ("lenet", (3, 32, 32), 62_006),
        ("lenet", (1, 28, 28), 61_706),  # of LeNet-5 on MNIST
        ("mlp", (1, 28, 28), 79_510),
        ("mlp(hidden=32)", (1, 28, 28), 784 * 32 + 32 + 32 * 10 + 10),
        ("mlp(hidden=[64, 32])", (1, 28, 28), 784 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10),
        ("logistic(bias=false)", (1, 28, 28), 784 * 10),
        ("logistic(baseline=true)", (1, 28, 28), 785 * 9),
        ("resnet18", (3, 32, 32), 11_173_962),  # of ResNet-18 for CIFAR-10
    ],
)
def test_models_have_the_size_that_the_field_reports(name, shape, parameters):
    data = images(shape)
    model = build_model(name, data, seed=0)
    assert sum(value.numel() for value in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("mlp()", "mlp"),
        ("mlp(hidden=100)", "mlp"),
        ("mlp(hidden=[100])", "mlp"),
        ("mlp(hidden=[64, 32])", "mlp(hidden=(64, 32))"),
        ("mlp( hidden = (64, 32.0) )", "mlp(hidden=(64, 32))"),
        ({"name": "mlp", "hidden": [64, 32]}, "mlp(hidden=(64, 32))"),
        ({"name": "mlp", "hidden": np.int64(32)}, "mlp(hidden=32)"),
        ("logistic(bias=true)", "logistic"),
        ("logistic(baseline=false)", "logistic"),
        ("logistic(bias=false)", "logistic(bias=False)"),
        ({"name": "logistic", "bias": False}, "logistic(bias=False)"),
        ("mine:Net( width=3 )", "mine:Net(width=3)"),
        ("still_to_be_registered", "still_to_be_registered"),
    ],
)
def test_sizes_have_one_way_of_writing_and_equal_models_equal_keys(written, canonical):
    assert RunSpec(model=written).model == canonical
    assert RunSpec(model=written).key == RunSpec(model=canonical).key


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mlp(hidden=0)", "MLP.hidden: 0 is not a whole number, 1 or more, or a list of such"),
        ("mlp(hidden=[64, 1.5])", "MLP.hidden: 1.5 is not a whole number, 1 or more"),
        ("mlp(hidden=[])", r"MLP.hidden: \[\] is not a whole number"),
        ("mlp(hidden=true)", "MLP.hidden: true is not a whole number"),
        ("mlp(width=3)", r"model: mlp has no parameter 'width' \(it takes: hidden\)"),
        ("mlp(32)", r"model: 'mlp\(32\)' is not accepted: a name, or name\(parameter=value"),
        ("logistic(bias=1)", "Logistic.bias: 1 is not true or false"),
        ("lenet(hidden=3)", r"model: lenet has no parameter 'hidden' \(it takes none\)"),
    ],
)
def test_sizes_that_no_model_has_are_refused_as_those_of_rules(model, message):
    with pytest.raises(SpecError, match=message) as raised:
        RunSpec(model=model)
    assert "\n" not in str(raised.value)


def test_the_sizes_of_a_model_are_those_of_torch_layers_of_the_same_seed():
    data = get_dataset("digits")
    torch.manual_seed(stream(5, "parameters").initial_seed())
    layers = [nn.Linear(64, 8), nn.Linear(8, 4), nn.Linear(4, 10)]
    expected = nn.utils.parameters_to_vector([p for layer in layers for p in layer.parameters()])
    model, (start,) = initial_parameters("mlp(hidden=[8, 4])", data, [5])
    assert torch.equal(start, expected)
    first, second, last = layers
    inputs = data.train.inputs[:3]
    torch.testing.assert_close(model(inputs), last(second(first(inputs).relu()).relu()))


@dataclass(frozen=True)
class Wide(Architecture):
    "A user's own, with a parameter."

    width: int = configured.parameter(8, least=1)

    def __call__(self, shape, classes):
        return nn.Sequential(nn.Linear(*shape, self.width), nn.Linear(self.width, classes))


def test_a_model_of_ones_own_takes_parameters():
    data = get_dataset("digits")
    for name in (f"{__name__}:Wide(width=3)", "wide(width=3)"):
        with registered(wide=Wide):
            model = build_model(name, data, seed=0)
        assert sum(value.numel() for value in model.parameters()) == 64 * 3 + 3 + 3 * 10 + 10
    with registered(wide=Wide), pytest.raises(SpecError, match="width: 0 is not a whole"):
        RunSpec(model="wide(width=0)")


def test_a_run_learns_with_the_sizes_that_it_names():
    results = {
        model: train(RunSpec(model=model, steps=150, clip_norm=1.0, learning_rate=1.0)).accuracy
        for model in ("mlp(hidden=[32, 16])", "logistic(bias=false)")
    }
    assert min(results.values()) > 0.7


def test_the_cnn_of_byzfl_is_byzfls():
    theirs = byzfl.fed_framework.models.cnn_mnist()
    ours = build_model("cnn_byzfl", images((1, 28, 28)), seed=0)
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
        inputs = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(inputs).log_softmax(-1), theirs(inputs))


@pytest.mark.parametrize("name", ["cnn_byzfl", "cnn_opacus", "lenet", "resnet18"])
def test_image_models_are_clipped_the_fast_way(name):
    """Held against per-sample gradients, and said to be exact, before it is chosen."""
    data = images((3, 32, 32) if name == "resnet18" else (1, 28, 28))
    model = build_model(name, data, seed=0)
    way = gradient_sum(
        model, Layout(model), data.train.examples(slice(2)), Flat(), get_loss("cross_entropy")
    )
    assert not isinstance(way, PerSample)


@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
)
def test_no_gradient_of_the_bounded_regression_is_longer_than_2(seed, size, scale):
    generator = torch.Generator().manual_seed(seed)
    model = bounded_logistic(torch.Size([7]), 4).double()
    for parameter in model.parameters():
        parameter.data = scale * torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
    example = size * torch.randn(1, 7, generator=generator, dtype=torch.float64)
    for label in range(4):
        loss = nn.functional.cross_entropy(model(example), torch.tensor([label]))
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters())])
        assert float(gradient.norm(2)) <= 2 * (1 + 1e-12)
        assert float(gradient.norm(1)) <= 2 * (7**0.5 + 1) * (1 + 1e-12)


def test_the_bound_of_2_is_reached_and_kept_in_training():
    model = bounded_logistic(torch.Size([1]), 2).double()
    model[-1].weight.data = torch.tensor([[100.0], [-100.0]], dtype=torch.float64)
    model[-1].bias.data.zero_()
    loss = nn.functional.cross_entropy(model(torch.ones(1, 1).double()), torch.tensor([1]))
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters())])
    assert float(gradient.norm()) == pytest.approx(2)
    settings = {"model": "bounded_logistic", "noise_scale": 0.05, "learning_rate": 5.0}
    result = train(RunSpec(**settings, grad_norm_bound=2.0))
    assert result.accuracy > 0.7
    release = Release(
        noise_scale=0.05, grad_norm_bound=2.0, batch_size=32, dataset_size=125, steps=300
    )
    assert result.epsilon == epsilon(release)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grad_norm_bound": 1.9}, "1.9 is below what is proven .* gaussian noise; .* at least 2$"),
        ({"noise": "laplace"}, "2 is below what is proven .* laplace noise; .* at least 18$"),
        ({"loss": "logistic"}, "proven for loss: cross_entropy .* not logistic and example"),
        (
            {"model": "privrobust.models.architectures:bounded_logistic", "loss": "squared"},
            "proven for loss: cross_entropy .* not squared and example",
        ),
        ({"unit": "worker"}, "proven for .* unit: example, not cross_entropy and worker"),
    ],
)
def test_a_bound_that_is_not_proven_is_refused(settings, message):
    """Of 64 features the L1 bound is 2 (8 + 1)."""
    claimed = {"model": "bounded_logistic", "noise_scale": 0.1, "grad_norm_bound": 2.0, "steps": 2}
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**claimed | settings))
    train(RunSpec(**claimed | {"noise": "laplace", "grad_norm_bound": 18.0}))


def running_norm(shape, classes):
    norm = nn.InstanceNorm1d(1, affine=True, track_running_stats=True)
    return nn.Sequential(nn.Unflatten(1, (1, -1)), norm, nn.Flatten(), nn.Linear(*shape, classes))


def bare_batch_norm(shape, classes):
    """Neither parameters nor buffers, and it mixes examples all the same."""
    norm = nn.BatchNorm1d(*shape, affine=False, track_running_stats=False)
    return nn.Sequential(norm, nn.Linear(*shape, classes))


def bare_instance_norm(shape, classes):
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.InstanceNorm1d(1), nn.Flatten(), nn.Linear(*shape, classes)
    )


class OwnBatchNorm(nn.BatchNorm1d):
    """A subclass is no way around."""


def own_batch_norm(shape, classes):
    return nn.Sequential(OwnBatchNorm(*shape), nn.Linear(*shape, classes))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("running_norm", r"layer '1' .* is InstanceNorm1d: .* track_running_stats=False"),
        (
            "bare_batch_norm",
            r"layer '0' .* is BatchNorm1d: BatchNorm cannot .*use torch.nn.GroupNorm instead",
        ),
        ("own_batch_norm", r"layer '0' .* is OwnBatchNorm: BatchNorm cannot .*GroupNorm"),
    ],
)
def test_opacus_decides_what_may_be_trained_privately(factory, message):
    with pytest.raises(SpecError, match=message) as raised:
        build_model(f"{__name__}:{factory}", SMALL, seed=0)
    assert "\n" not in str(raised.value)


def scripted(shape, classes):
    return torch.jit.script(nn.Linear(*shape, classes))


def traced(shape, classes):
    return torch.jit.trace(nn.Linear(*shape, classes), torch.zeros(2, *shape))


class Partly(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(*shape, 4), scripted((4,), classes))


def doubled(x):
    return x + x


class WithScriptedFunction(OnShape):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.activation = torch.jit.script(doubled)


def compiled(shape, classes):
    return torch.compile(nn.Linear(*shape, classes))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (scripted, "layer '' of .* made by torch.jit, .*; give the torch.nn.Module that it was"),
        (traced, "layer '' of .* made by torch.jit"),
        (Partly, "layer '1' of .* made by torch.jit"),
        (WithScriptedFunction, "layer '' of .* made by torch.jit"),
        (compiled, "layer '' of .* made by torch.compile"),
    ],
)
def test_compiled_modules_are_refused_by_name_with_what_to_give_instead(factory, message):
    with pytest.raises(SpecError, match=message) as raised:
        build_model(f"{__name__}:{factory.__name__}", SMALL, seed=0)
    assert "\n" not in str(raised.value)


def test_instance_norm_without_running_statistics_is_trained():
    build_model(f"{__name__}:bare_instance_norm", SMALL, seed=0)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lenet", (64,), r"examples of shape \(64,\) are no images; accepted: \(channels"),
        ("cnn_byzfl", (1, 8, 8), r"images of \(1, 8, 8\) are too small"),
    ],
)
def test_models_that_do_not_fit_the_data(name, shape, message):
    with pytest.raises(SpecError, match=message):
        build_model(name, images(shape), seed=0)
