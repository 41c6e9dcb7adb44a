"""Bring your own: datasets of tensors, models, names in other modules, devices."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from privrobust import RunSpec, train
from privrobust.core.devices import resolve_device
from privrobust.data import Dataset, Split, get_dataset, register_dataset, registry
from privrobust.errors import SpecError
from privrobust.models import register_model
from privrobust.sweeps.runner import check
from privrobust.training.loop import train_lanes

SHORT = {"clip_norm": 1.0, "honest": 3, "batch_size": 16, "steps": 20, "evaluate_every": 20}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """What a test registers or loads is gone after it."""
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))


def sentences(name="sentences"):
    """Which of two halves of a vocabulary the words come from."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    words = torch.randint(10, (400, 6), generator=generator) + 10 * labels.unsqueeze(-1)
    return Dataset.from_tensors(name, words, labels)


class Pooled(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.words(x).mean(1))


def images(name="images"):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    pixels = torch.randn(300, 1, 6, 6, generator=generator) / 4
    for label in range(3):
        pixels[labels == label, 0, 2 * label] += 1
    return Dataset.from_tensors(name, pixels, labels)


def convolutional(shape, classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, classes),
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.body, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.body(x.squeeze(1))[0][:, -1])


def small():
    return images("small")


def number():
    return 7


def test_words_and_an_embedding_are_learned():
    register_dataset(sentences())
    register_model("pooled", Pooled)
    settings = SHORT | {"steps": 100, "evaluate_every": 100}
    result = train(RunSpec(dataset="sentences", model="pooled", noise_scale=0.01, **settings))
    assert result.accuracy > 0.95
    assert result.epsilon < float("inf")


def test_images_and_convolutions_are_learned_in_lanes_that_are_the_runs_alone():
    register_dataset(images())
    register_model("convolutional", convolutional)
    common = {"dataset": "images", "model": "convolutional", "noise_scale": 0.01, **SHORT}
    specs = [RunSpec(**common, seed=0), RunSpec(**common, seed=1, heterogeneity=1.0)]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert result.accuracy == alone.accuracy
        assert result.loss == pytest.approx(alone.loss, rel=1e-5)
    assert train(specs[0]).accuracy > 0.95


class OfTwoNames(nn.Module):
    """Shares a layer under two names, and a weight between two layers."""

    def __init__(self, shape, classes):
        super().__init__()
        self.first, self.twin = nn.Linear(*shape, *shape), nn.Linear(*shape, *shape)
        self.second, self.twin.weight = self.first, self.first.weight
        self.head = nn.Linear(*shape, classes)

    def forward(self, x):
        return self.head(self.twin(self.second(torch.tanh(self.first(x))).relu()))


class OfOneName(OfTwoNames):
    """No module of it is shared."""

    def __init__(self, shape, classes):
        nn.Module.__init__(self)
        self.first, self.head = nn.Linear(*shape, *shape), nn.Linear(*shape, classes)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


@pytest.mark.filterwarnings("ignore::privrobust.errors.PrivRobustWarning")
@pytest.mark.parametrize("made_by", [OfTwoNames, OfOneName])
def test_modules_called_on_single_examples_train_and_are_evaluated_in_lanes(made_by):
    """Several evaluations of several lanes: what one leaves behind would spoil the next."""
    register_model("own", made_by)
    common = {"dataset": "digits", "model": "own", **SHORT, "evaluate_every": 5}
    specs = [RunSpec(**common, seed=seed) for seed in (0, 1, 2)]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        assert result.loss == pytest.approx(train(spec).loss, rel=1e-5)


@pytest.mark.filterwarnings("ignore::privrobust.errors.PrivRobustWarning")
def test_recurrent_models_train_in_lanes():
    register_dataset(images())
    register_model("recurrent", Recurrent)
    settings = {"dataset": "images", "model": "recurrent", **SHORT, "steps": 2}
    results = train_lanes([RunSpec(**settings, seed=seed) for seed in (0, 1)])
    assert all(not result.diverged for result in results)


def test_a_dataset_of_another_module_is_named_by_its_path():
    spec = RunSpec(dataset=f"{__name__}:small", **SHORT)
    assert train(spec).history["accuracy"].notna().all()
    assert get_dataset(f"{__name__}:small") is get_dataset(f"{__name__}:small")


def test_pretrained_parameters_are_where_every_seed_starts():
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    register_dataset(images())
    register_model("pretrained", lambda shape, classes: module)
    common = {"dataset": "images", "model": "pretrained", **SHORT, "learning_rate": 1e-30}
    losses = {train(RunSpec(**common, seed=seed)).loss for seed in (0, 1)}
    expected = nn.functional.cross_entropy(module(images().test.inputs), images().test.labels)
    assert max(losses) == pytest.approx(expected.item(), rel=1e-5)
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(3).long(), r"labels: shape \(3,\) with inputs \(4, 2\)"),
        (torch.zeros(4, 2), torch.zeros(4), r"labels: torch.float32 .*: torch.int64"),
        (torch.zeros(4, 2).double(), torch.zeros(4).long(), r"inputs: torch.float64 .*float32"),
    ],
)
def test_splits_say_what_they_accept(inputs, labels, message):
    with pytest.raises(SpecError, match=message):
        Split(inputs, labels)


ARRAY = np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3)


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        (ARRAY, np.arange(20) % 2),
        (ARRAY, torch.arange(20) % 2),
        (ARRAY.astype(">f4"), (np.arange(20) % 2).astype(np.int16)),
        (ARRAY[::-1][::-1], (np.arange(20) % 2).astype(np.uint32)),
        (np.ma.MaskedArray(ARRAY), (torch.arange(20) % 2).int()),
    ],
)
def test_arrays_of_numpy_are_the_tensors_of_their_numbers(inputs, labels):
    ours = Dataset.from_tensors("own", inputs, labels)
    same = Dataset.from_tensors("own", torch.tensor(ARRAY), torch.arange(20) % 2)
    assert ours.fingerprint == same.fingerprint
    assert ours.train.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (ARRAY.tolist(), np.arange(20) % 2, "inputs: a list is not accepted: a torch tensor or a"),
        (pd.DataFrame(ARRAY), np.arange(20) % 2, "inputs: a DataFrame is not accepted"),
        (ARRAY.astype(object), np.arange(20) % 2, "inputs: an array of object .*: numbers"),
        (np.ma.masked_less(ARRAY, 0.5), np.arange(20) % 2, "inputs: an array with masked values"),
        (ARRAY.astype(float), np.arange(20) % 2, r"inputs: torch.float64 .*array.astype\('float32"),
        (ARRAY, np.array(["a", "b"] * 10), "labels: an array of <U1 is not accepted: numbers"),
        (ARRAY, np.float64(1), "labels: a float64 is not accepted"),
        (ARRAY, np.array(1), r"labels: shape \(\) with inputs \(20, 3\)"),
        (ARRAY, np.arange(20) / 2, "labels: torch.float64 is not accepted: torch.int64"),
    ],
)
def test_what_is_no_tensor_and_no_array_of_numbers_is_one_line(inputs, labels, message):
    with pytest.raises(SpecError, match=message) as raised:
        Dataset.from_tensors("own", inputs, labels)
    assert "\n" not in str(raised.value)


def test_a_class_too_small_to_split_is_said_to_be():
    with pytest.raises(
        SpecError, match=r"labels: 'own' has 2 distinct labels in 21 examples, the rarest in 1; acc"
    ):
        Dataset.from_tensors("own", torch.zeros(21, 2), torch.tensor([0] * 20 + [1]))


def split(count=4, width=2, label=0):
    return Split(torch.zeros(count, width), torch.full((count,), label))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (split(count=0), "test of 'own' has no examples"),
        (split(width=3), r"test of 'own' has examples of shape \(3,\), train of \(2,\)"),
        (split(label=2), "test of 'own' has labels 2 to 2; accepted: 0 to 1"),
    ],
)
def test_datasets_say_what_they_accept(test, message):
    with pytest.raises(SpecError, match=message):
        Dataset("own", split(), split(), test, classes=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", r"dataset: unknown name 'digit'; did you mean 'digits'\?"),
        (
            "no_such_module:data",
            "dataset: 'no_such_module:data': there is no module 'no_such_module'; looked in: ",
        ),
        (f"{__name__}:number", "made a int, not a Dataset"),
        ("os:getppid", "is of Python's own library; accepted: a function that takes nothing"),
        (f"{__name__}:Pooled", "is another class; accepted: a function that takes nothing"),
    ],
)
def test_names_that_are_no_dataset(name, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(dataset=name, **SHORT))


def test_a_device_is_not_part_of_what_a_run_is():
    assert RunSpec(device="cpu").key == RunSpec(device="cuda:1").key
    assert train(RunSpec(**SHORT, device="cpu")).accuracy == train(RunSpec(**SHORT)).accuracy or (
        torch.cuda.is_available()
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CPU"])
def test_device_names(name):
    with pytest.raises(SpecError, match=f"device: '{name}' is not accepted"):
        RunSpec(device=name)


def test_a_gpu_that_is_not_here():
    with pytest.raises(SpecError, match=r"device: 'cuda:99' is not here \(torch finds .*auto, cpu"):
        resolve_device("cuda:99")


def test_a_sweep_looks_for_its_gpu_before_it_trains():
    with pytest.raises(SpecError, match=r"device: 'cuda:99' is not here"):
        check([RunSpec(**SHORT, device="cuda:99")])


class Asking(nn.Sequential):
    """Looks at its numbers, which no lane beside another can."""

    def __init__(self, shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(shape.numel(), classes))

    def forward(self, x):
        assert torch.backends.cudnn.deterministic == self.training_run
        scores = super().forward(x)
        return scores if bool(self[1].weight.abs().sum() > 0) else -scores

    training_run = False


def test_models_that_vmap_does_not_know_train_in_lanes(monkeypatch):
    """One after the other, in full precision."""
    register_dataset(images())
    register_model("asking", Asking)
    settings = {"dataset": "images", "model": "asking", **SHORT}
    specs = [RunSpec(**settings, seed=seed) for seed in (0, 1)]
    monkeypatch.setattr(Asking, "training_run", True)
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        assert result.accuracy == train(spec).accuracy


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@cuda
@pytest.mark.parametrize("model", ["logistic", "mlp", f"{__name__}:convolutional"])
def test_a_gpu_learns_what_the_processor_does(model):
    """Streams differ, so accuracies agree as two seeds do."""
    register_dataset(images())
    common = {"dataset": "images", "model": model, "noise_scale": 0.01, **SHORT}
    signs = {"noise": "laplace", "aggregator": "majority_vote", "learning_rate": 0.01}
    for settings in ({}, signs):
        there = train(RunSpec(**common, **settings, device="cuda"))
        here = train(RunSpec(**common, **settings, device="cpu"))
        assert there.epsilon == here.epsilon
        assert there.accuracy == pytest.approx(here.accuracy, abs=0.1)


@cuda
def test_a_gpu_gives_the_same_run_twice():
    spec = RunSpec(**SHORT, noise_scale=0.1, device="cuda")
    assert train(spec).history.equals(train(spec).history)
