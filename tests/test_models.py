import pytest
import torch
from torch import nn

from privrobust.errors import SpecError
from privrobust.models import available_models, build_model, flat_parameters


def batch_norm(features, classes):
    return nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


def dropout(features, classes):
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(features, classes))


def frozen(features, classes):
    return nn.Linear(features, classes).requires_grad_(False)


def constant(features, classes):
    return nn.Flatten()


class Centred(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("batch_norm", r"layer '1' .* is BatchNorm1d, which mixes .* use torch.nn.GroupNorm"),
        ("dropout", r"layer '0' .* is Dropout, whose draws no seed"),
        ("frozen", "parameter 'weight' .* is frozen"),
        ("constant", "has no parameters to train"),
        ("Centred", "depends on the other examples of its batch"),
        ("nowhere", "cannot import"),
    ],
)
def test_models_without_sound_gradients_are_refused(factory, message):
    with pytest.raises(SpecError, match=message):
        build_model(f"{__name__}:{factory}", 6, 3, seed=0)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_parameters_come_from_the_seed_alone(name):
    assert name in available_models()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (flat_parameters(build_model(name, 6, 3, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
