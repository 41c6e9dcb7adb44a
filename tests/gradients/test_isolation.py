"""No example moves a sum by more than C, whatever the model's code does with its batch."""

import copy
import threading
import warnings
import weakref
from types import MethodType

import pytest
import torch
from one_worker import CLASSES, batch_of, starts
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat
from privrobust.gradients.isolation import own_copy
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.gradients.per_sample import PerSample
from privrobust.gradients.row_wise import rows_stay_apart
from privrobust.models import available_models, build_model
from privrobust.models.registry import get_factory
from privrobust.training import loop as training
from privrobust.training.shares import shares

FEATURES = 64
CROSS_ENTROPY = get_loss("cross_entropy")
C = 0.1  # a float32 of it is larger


class Net(nn.Module):
    """Takes what a factory does, and is one."""

    def __init__(self, shape=(FEATURES,), classes=CLASSES):
        super().__init__()
        self.head, self.calls, self.last = nn.Linear(FEATURES, classes), 0, None
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, x):
        return self.head(self.seen(x))


class BatchMaximum(Net):
    def seen(self, x):
        return x / x.abs().max()


class Centred(Net):
    def seen(self, x):
        return x - x.mean(0)


class OnlyLarge(Net):
    def seen(self, x):
        return x * x.abs().max() if len(x) > 64 else x


class WarmingUp(Net):
    def seen(self, x):
        self.calls += 1
        return x * x.abs().max() if self.calls > 20 else x


class RunningMean(Net):
    """Under vmap, torch cannot add to a buffer in place."""

    def seen(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - self.mean


class AssignedMean(Net):
    def seen(self, x):
        shifted = x - self.mean
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return shifted


class Remembering(Net):
    def seen(self, x):
        before, self.last = self.last, x.detach()
        return x if before is None else x + before.mean(0)


class Rolled(Net):
    def seen(self, x):
        return torch.roll(x, 1, 0)


class Transposed(Net):
    """A softmax over the batch."""

    def seen(self, x):
        return x.T.softmax(-1).T * len(x)


class LateWeight(Net):
    """A weight used as no rule foresees, once it has been checked."""

    def forward(self, x):
        self.calls += 1
        scores = self.head(x)
        return scores + x @ self.head.weight.T if self.calls > 20 else scores


class Renormed(Net):
    """Changes the run's own parameters, and its input."""

    def seen(self, x):
        with torch.no_grad():
            self.head.weight.mul_(1 + x.abs().mean())
        return x.mul_(2)


class LastStep(Net):
    """A recurrent layer, and a counter beside it."""

    def __init__(self, shape=(FEATURES,), classes=CLASSES):
        super().__init__(shape, classes)
        self.body = nn.GRU(8, FEATURES, batch_first=True)

    def seen(self, x):
        self.calls += 1
        steps = self.body(x.view(len(x), 8, 8))[0][:, -1]
        return steps * x.abs().max() if self.calls > 20 else steps


class Branching(Net):
    """Control flow on data, which vmap does not know."""

    def seen(self, x):
        self.calls += 1
        if self.calls > 20 and float(x.abs().max()) > 3:
            return 10 * x * x.abs().max()
        return x


class OnTheWayBack(Net):
    """Mixes gradients in a hook on a tensor."""

    def forward(self, x):
        scores = self.head(x)
        if scores.requires_grad:
            scores.register_hook(lambda error: error + error.abs().max() * x.abs().max())
        return scores


class Checkpointed(Net):
    """Computes a part again on the way back, and then sees what is there."""

    def __init__(self, shape=(FEATURES,), classes=CLASSES):
        super().__init__(shape, classes)
        self.body = nn.Linear(FEATURES, FEATURES)

    def seen(self, x):
        def part(x):
            values = self.body(x)
            return values.sin() * values.detach().abs().max()

        return checkpoint(part, x, use_reentrant=False)


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, errors):
        return errors - errors.mean(0) + errors.abs().max()


class OwnBackward(Net):
    def forward(self, x):
        return OwnFunction.apply(self.head(x))


class OwnSequential(nn.Sequential):
    def __init__(self, shape=(FEATURES,), classes=CLASSES):
        super().__init__(nn.Linear(FEATURES, classes))

    def forward(self, x):
        return super().forward(x - x.mean(0))


def flattened(shape=(FEATURES,), classes=CLASSES):
    """The batch as one row, and one row as the batch."""
    return nn.Sequential(
        nn.Flatten(0),
        nn.Unflatten(0, (-1, FEATURES)),
        nn.Softmax(dim=0),
        nn.Linear(FEATURES, classes),
    )


class Shared(Net):
    def __deepcopy__(self, memo):
        return self


def hooked(shape=(FEATURES,), classes=CLASSES):
    model = nn.Sequential(nn.Linear(FEATURES, classes))
    model[0].register_forward_pre_hook(lambda _, given: (given[0] - given[0].mean(0),))
    return model


def overridden(shape=(FEATURES,), classes=CLASSES):
    """Another forward than its type's, on the instance."""
    model = nn.Sequential(nn.Linear(FEATURES, classes))

    def centred(layer, x):
        return F.linear(x - x.mean(0), layer.weight, layer.bias)

    model[0].forward = MethodType(centred, model[0])
    return model


def under_two_names(shape=(FEATURES,), classes=CLASSES):
    model = Centred()
    model.same = model.head
    return model


HOSTILE = [
    BatchMaximum, Centred, OnlyLarge, WarmingUp, RunningMean, AssignedMean, Remembering, Rolled,
    Transposed, LateWeight, Renormed, LastStep, Branching, OnTheWayBack, OwnBackward,
    OwnSequential, flattened, hooked, overridden, under_two_names,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::privrobust.errors.PrivRobustWarning")
@pytest.mark.parametrize("factory", HOSTILE, ids=lambda factory: factory.__name__)
def test_one_example_moves_a_sum_by_at_most_c_whatever_the_model_does(factory):
    """At a size and after calls that no check has seen; the same model meets both data."""
    torch.manual_seed(0)
    model = factory()
    inputs = torch.randn(80, FEATURES)
    before = copy.deepcopy(model.state_dict())
    way = gradient_sum(model, Layout(model), inputs[:16], Flat(), CROSS_ENTROPY)
    parameters, clip_norms = starts(model), torch.tensor([C], dtype=torch.float64)
    untouched = parameters.clone()
    hostile = inputs.clone()
    hostile[3] = 100.0
    without = torch.arange(80) != 3
    for _ in range(4):
        for other in (hostile, inputs):
            sums = way(parameters, batch_of(other.clone()), clip_norms).sums
            less = way(parameters, batch_of(other.clone(), without), clip_norms).sums
            assert float((sums - less).norm()) <= C
            assert float(sums.norm()) > C / 2
    assert torch.equal(parameters, untouched)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore::privrobust.errors.PrivRobustWarning")
@pytest.mark.parametrize("factory", [*HOSTILE, Checkpointed], ids=lambda factory: factory.__name__)
def test_messages_move_by_twice_c_at_most_or_the_model_is_refused(
    messages_of, monkeypatch, factory
):
    spec = RunSpec(
        model=f"{__name__}:{factory.__name__}", clip_norm=C, noise_scale=0.0, honest=3,
        batch_size=80, steps=2 if factory in (LastStep, OwnBackward) else 25, evaluate_every=10,
    )  # fmt: skip
    try:
        before = messages_of(spec)
    except SpecError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "\n" not in refusal
        return
    (mine, *_) = shares(spec)
    digits = get_dataset("digits")
    inputs = digits.train.inputs.clone()
    inputs[mine[0]] = 100.0
    changed = type(digits.train)(inputs, digits.train.labels)
    neighbour = type(digits)("digits", changed, digits.validation, digits.test, CLASSES)
    monkeypatch.setattr(training, "get_dataset", lambda *name: neighbour)
    moved = (messages_of(spec) - before).double().norm(dim=-1)
    assert float(moved[..., 0].max()) <= 2 * C / 80 + 1e-6  # and float32's, of the message
    assert float(moved[..., 1:].max()) == 0


@pytest.mark.parametrize("name", available_models())
def test_built_in_models_are_proven(name):
    shape = (3, 32, 32) if name in ("resnet18", "lenet", "cnn_byzfl", "cnn_opacus") else (64,)
    examples = torch.randn(2, *shape)
    assert rows_stay_apart(get_factory(name)(torch.Size(shape), 10), examples)


def compiled():
    model = nn.Sequential(nn.Linear(4, 2))
    model.compile()
    return model


def with_full_backward_hook():
    model = nn.Sequential(nn.Linear(4, 2))
    model[0].register_full_backward_hook(lambda *_: None)
    return model


class OwnReLU(nn.ReLU):
    pass


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Softmax(dim=-2), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.Softmax(dim=None), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.GLU(dim=0), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.Linear(4, 2)), ()),
        (nn.Sequential(nn.Conv1d(4, 2, 1)), (6,)),
        (nn.Sequential(nn.Flatten(0, 1), nn.Linear(4, 2)), (3, 4)),
        (nn.Sequential(nn.LayerNorm((4, 4)), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.ConstantPad1d((0, 0, 1, -1), 0.0), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.RReLU(), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), (4,)),
        (nn.Sequential(OwnReLU(), nn.Linear(4, 2)), (4,)),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), (4,)),
        (compiled(), (4,)),
        (with_full_backward_hook(), (4,)),
        (Net(), (FEATURES,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_mix_rows_or_cannot_be_told_is_not_proven(model, shape):
    assert not rows_stay_apart(model, torch.randn(4, *shape))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hooked", "layer '0' of .* is Linear with a hook"),
        ("overridden", "layer '0' of .* is Linear with a forward of its own"),
    ],
)
def test_what_is_put_around_a_class_is_refused(name, message):
    with pytest.raises(SpecError, match=message) as raised:
        build_model(f"{__name__}:{name}", get_dataset("digits"), seed=0)
    assert "\n" not in str(raised.value)


def locked(shape, classes):
    model = Net()
    model.lock = threading.Lock()
    return model


def test_what_cannot_be_copied_is_refused():
    with pytest.raises(SpecError, match=r"model: Net cannot be copied \(TypeError"):
        build_model(f"{__name__}:locked", get_dataset("digits"), seed=0)


def test_copies_that_are_none_are_refused():
    with pytest.raises(SpecError, match="Shared has a __deepcopy__ that shares modules"):
        build_model(f"{__name__}:Shared", get_dataset("digits"), seed=0)


class Memory:
    """Survives a copy of what holds it."""

    def __init__(self):
        self.last = 0.0

    def __deepcopy__(self, memo):
        return self


def test_what_copies_would_share_is_refused():
    net = Net()
    net.memory = Memory()
    with pytest.raises(SpecError, match=r"^model: attribute 'memory' is a Memory that copies as"):
        own_copy(net)
    net = Net()
    net.parent = weakref.ref(net)
    with pytest.raises(SpecError, match=r"^model: attribute 'parent' is a weak reference"):
        own_copy(net)


def test_state_is_that_of_the_factory_in_training_and_evaluation():
    """A run of a model that warms up is one of the model that never does."""
    settings = {"clip_norm": 1.0, "honest": 3, "steps": 25, "evaluate_every": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrivRobustWarning)
        warming = train(RunSpec(**settings, model=f"{__name__}:WarmingUp"))
    plain = train(RunSpec(**settings, model=f"{__name__}:OnlyLarge"))
    assert warming.history.equals(plain.history)


class OwnMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, 30), nn.Linear(30, CLASSES)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def test_ones_own_module_is_fast_and_agrees_with_the_proven_one():
    own = OwnMlp()
    proven = nn.Sequential(own.body, nn.ReLU(), own.head)
    inputs, clip_norms = torch.randn(40, FEATURES), torch.tensor([C])
    found = []
    for model in (own, proven):
        way = gradient_sum(model, Layout(model), inputs[:16], Flat(), CROSS_ENTROPY)
        assert not isinstance(way, PerSample)
        found.append(way(starts(model), batch_of(inputs), clip_norms).sums)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


# Rounding.
