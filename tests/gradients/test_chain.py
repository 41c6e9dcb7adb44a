"""Chains of layers: the sums that per-sample gradients give, and bits that are a lane's own."""

import pytest
import torch
from torch import nn

from privrobust.core.threads import one_layer_of_threads
from privrobust.gradients import get_loss
from privrobust.gradients.batch import Batch
from privrobust.gradients.chain import Chain
from privrobust.gradients.clipping import Automatic, Flat, PerLayer
from privrobust.gradients.layout import Layout
from privrobust.gradients.per_sample import PerSample

CROSS_ENTROPY = get_loss("cross_entropy")
CLASSES = 4
IMAGE = (2, 9, 8)


def convolutional(*layers):
    """Some layers on images, and a head."""
    body = nn.Sequential(*layers, nn.Flatten())
    width = body(torch.zeros(1, *IMAGE)).shape[1]
    return nn.Sequential(body, nn.Linear(width, CLASSES))


RELU = nn.ReLU()
MODELS = {
    "one layer": lambda: nn.Linear(6, CLASSES),
    "no bias": lambda: nn.Sequential(nn.Linear(6, CLASSES, bias=False)),
    "three layers, a ReLU of which is called twice": lambda: nn.Sequential(
        nn.Linear(6, 5), RELU, nn.Linear(5, 7), RELU, nn.Linear(7, CLASSES)
    ),
    "other activations": lambda: nn.Sequential(
        nn.Softmax(-1), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, CLASSES), nn.Tanh()
    ),
    "rectified, then pooled": lambda: convolutional(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "pooled windows overlap": lambda: convolutional(
        nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(2, 1)), nn.MaxPool2d((3, 2), stride=1)
    ),
    "gaps, no bias": lambda: convolutional(nn.Conv2d(2, 5, 2, dilation=2, bias=False), nn.Tanh()),
    "two convolutions": lambda: convolutional(
        nn.Conv2d(2, 3, 4, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2),
        nn.AvgPool2d(2), nn.ReLU(),
    ),
    "pooled by torch": lambda: convolutional(
        nn.MaxPool2d(3, padding=1), nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d(2)
    ),
}  # fmt: skip
IS_NO_CHAIN = {
    "words": (lambda: nn.Sequential(nn.Linear(8, 3), nn.Flatten(), nn.Linear(54, CLASSES)), IMAGE),
    "groups": (lambda: convolutional(nn.Conv2d(2, 4, 3, groups=2)), IMAGE),
    "padded in a circle": (
        lambda: convolutional(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), IMAGE,
    ),
    "a gradient larger than what it is made of": (
        lambda: convolutional(nn.Conv2d(2, 60, (9, 8))), IMAGE,
    ),
    "normalised": (lambda: convolutional(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)), IMAGE),
    "a layer twice": (lambda: nn.Sequential(*[nn.Linear(4, 4)] * 2), (4,)),
    "batch first": (lambda: nn.Sequential(nn.Linear(6, 6), nn.Flatten(0)), (6,)),
}  # fmt: skip


def made(name):
    torch.manual_seed(3)
    model = MODELS[name]()
    shape = IMAGE if any(isinstance(each, nn.Conv2d) for each in model.modules()) else (6,)
    return model, torch.randn(40, *shape)


def chain(model, examples, rule):
    found = Chain.of(model, Layout(model), examples[:3], rule, CROSS_ENTROPY)
    assert found is not None
    return found


def drawn(model, examples, shape, seed=0, present=0.6):
    """Parameters and batches of lanes, drawn from examples."""
    generator = torch.Generator().manual_seed(seed)
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    parameters = start + 0.3 * torch.randn(shape[0], len(start), generator=generator)
    batch = Batch(
        examples.__getitem__,
        torch.randint(len(examples), shape, generator=generator),
        torch.randint(CLASSES, shape, generator=generator),
        torch.rand(shape, generator=generator) < present,
    )
    return parameters, batch


@pytest.mark.parametrize("rule", [Flat(2), Flat(1), PerLayer(2), Automatic(2)], ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_sums_are_those_of_per_sample_gradients(name, rule):
    model, examples = made(name)
    parameters, batch = drawn(model, examples, (3, 2, 5))
    batch.present[1, 0] = False  # a worker, and a lane, that draw nothing
    batch.present[2] = False
    clip_norms = torch.tensor([0.1, 2.0, 1.0], dtype=torch.float64)
    slow = PerSample(model, Layout(model), examples[:3], rule, CROSS_ENTROPY)
    ours, theirs = (
        way(parameters, batch, clip_norms, 5.0) for way in (chain(model, examples, rule), slow)
    )
    torch.testing.assert_close(ours.sums, theirs.sums, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.norms, theirs.norms, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_float64_is_exact(name):
    model, examples = made(name)
    model, examples = model.double(), examples.double()
    parameters, batch = drawn(model, examples, (1, 2, 4))
    slow = PerSample(model, Layout(model), examples[:3], Flat(), CROSS_ENTROPY)
    ways = chain(model, examples, Flat()), slow
    ours, theirs = (way(parameters.double(), batch, torch.ones(1)) for way in ways)
    torch.testing.assert_close(ours.sums, theirs.sums, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["three layers, a ReLU of which is called twice",
                                  "two convolutions", "other activations"])  # fmt: skip
@pytest.mark.parametrize("held", [1, 1 << 10, 1 << 30])
def test_a_lane_has_its_own_bits(name, held, threads, monkeypatch):
    """Whatever stands beside it, on any number of threads: a piece that they share included."""
    monkeypatch.setattr("privrobust.gradients.chain._HELD", held)
    model, examples = made(name)
    way = chain(model, examples, Flat())
    parameters, batch = drawn(model, examples, (4, 5, 24))
    batch.present[2] = True
    clip_norms = torch.tensor([0.1, 0.2, 0.5, 0.1])
    threads(1)
    with one_layer_of_threads():
        alone = [
            way(parameters[i], batch[i], clip_norms[i])
            for i in (slice(lane, lane + 1) for lane in range(4))
        ]
    for count in (1, 2, 3):
        threads(count)
        with one_layer_of_threads():
            together = way(parameters, batch, clip_norms)
        for lane, expected in enumerate(alone):
            assert torch.equal(together.sums[lane], expected.sums[0])
            assert torch.equal(together.norms[lane], expected.norms[0])


def test_padding_changes_no_bit():
    model, examples = made("two convolutions")
    way = chain(model, examples, Flat())
    parameters, batch = drawn(model, examples, (1, 3, 9))
    wider = Batch(
        batch.examples,
        *(torch.nn.functional.pad(part, (0, 7)) for part in (batch.places, batch.labels)),
        torch.nn.functional.pad(batch.present, (0, 7)),
    )
    short, long = (way(parameters, each, torch.ones(1)) for each in (batch, wider))
    assert torch.equal(short.sums, long.sums)
    assert torch.equal(short.norms, long.norms[..., :9])
    assert not long.norms[..., 9:].any()


@pytest.mark.parametrize("name", IS_NO_CHAIN)
def test_what_no_pass_knows_is_no_chain(name):
    make, shape = IS_NO_CHAIN[name]
    model = make()
    assert Chain.of(model, Layout(model), torch.randn(3, *shape), Flat(), CROSS_ENTROPY) is None
