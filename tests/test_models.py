import pytest
import torch
from torch import nn

from privrobust.data import Dataset, get_dataset
from privrobust.errors import SpecError
from privrobust.models import available_models, build_model, initial_parameters

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
        (".foo:bar", "cannot import"),
        ("os:sep", "is a str, not callable"),
        ("os:getcwd", r"failed for examples of shape \(6,\) and 3 classes \(TypeError"),
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
        ("broken", r"failed for .*\(6,\) .* \(RuntimeError: no weights found\)"),
        ("number", "made a int, not a torch.nn.Module"),
        (
            "batch_norm",
            r"layer '1' .* is BatchNorm1d: BatchNorm cannot .* use torch.nn.GroupNorm instead",
        ),
        ("dropout", r"layer '0' .* is Dropout, whose draws no seed"),
        ("frozen", "parameter 'weight' .* is frozen"),
        ("constant", "has no parameters to train"),
        ("Centred", "depends on the other examples of its batch"),
        ("nowhere", "cannot import"),
    ],
)
def test_models_without_sound_gradients_are_refused(factory, message):
    with pytest.raises(SpecError, match=message):
        build_model(f"{__name__}:{factory}", SMALL, seed=0)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
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
