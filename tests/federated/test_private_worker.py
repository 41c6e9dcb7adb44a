"""Workers of one's own loop send what `train` has honest workers send."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.aggregators import get_aggregator
from privrobust.data import Dataset, Scaling, Split, get_dataset, register_dataset
from privrobust.errors import BudgetExhausted, PrivRobustWarning, SpecError
from privrobust.federated import Ledger, PrivateWorker, set_gradient
from privrobust.models import build_model, initial_parameters, register_model
from privrobust.training.shares import shares

SETTINGS = {"clip_norm": 1.0, "noise_scale": 0.1, "batch_size": 16}
DATA = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def convolutional(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, classes),
    )


def share(spec, worker=0):
    split = get_dataset(spec.dataset).train
    return split.only(shares(spec)[worker])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dataset": "small_images", "model": "convolutional", "clipping": "per_layer"},
        {"model": "mlp(hidden=20)", "noise": "laplace", "clipping": "automatic"},
        {"aggregator": "majority_vote", "sampling_rate": 0.3, "loss": "squared"},
        {"noise_scale": 0.0},
    ],
)
def test_the_bits_are_those_of_the_first_worker_of_a_run(changes, messages_of):
    """Under its seed, with its share, at its parameters: batch, clipping, noise and sign."""
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    register_dataset(Dataset.from_tensors("small_images", images, torch.arange(200) % 4))
    register_model("convolutional", convolutional)
    spec = RunSpec(**{**SETTINGS, "honest": 4, "steps": 3, "seed": 5} | changes)
    rule = get_aggregator(spec.aggregator)
    theirs = messages_of(spec, message=rule.message)[:, 0, 0]
    dataset = get_dataset(spec.dataset)
    model, _ = initial_parameters(spec.model, dataset, [spec.seed])
    worker = PrivateWorker(
        model,
        share(spec),
        clip_norm=spec.clip_norm,
        noise_scale=spec.noise_scale,
        batch_size=spec.batch_size,
        sampling_rate=spec.sampling_rate,
        loss=spec.loss,
        clipping=spec.clipping,
        noise=spec.noise,
        message=rule.message,
        seed=spec.seed,
    )
    mine = torch.stack([worker.message() for _ in range(3)])
    assert torch.equal(mine, theirs)


def reference(model, inputs, labels, clip_norm, divisor):
    """Return the clipped sum, gradient by gradient, by torch's own backward pass in float64."""
    model = type(model)(*[layer for layer in model]).double()
    total = 0
    for each, label in zip(inputs.double(), labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(each[None]), label[None]).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        total = total + gradient * min(1.0, clip_norm / gradient.norm())
    return total / divisor


def test_the_sum_before_noise_is_that_of_single_gradients():
    inputs, labels = DATA
    worker = PrivateWorker(small(), DATA, clip_norm=0.4, noise_scale=0.0, batch_size=16)
    places = [3, 8, 21, 22, 40, 59]
    found = worker._average(places)
    expected = reference(small(), inputs[places], labels[places], 0.4, 16)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert not worker._average([]).any()


def loop(spec):
    """Train in a plain loop; return the accuracy on held-out data, and the most that is spent."""
    dataset = get_dataset(spec.dataset)
    model = build_model(spec.model, dataset, spec.seed)
    split = dataset.train
    settings = {name: getattr(spec, name) for name in SETTINGS}
    workers = [
        PrivateWorker(model, split.only(places), **settings, seed=100 + 10 * spec.seed + worker)
        for worker, places in enumerate(shares(spec))
    ]
    rule = get_aggregator(spec.aggregator)
    optimizer = torch.optim.SGD(model.parameters(), lr=spec.learning_rate)
    for _ in range(spec.steps):
        set_gradient(model, rule(torch.stack([worker.message() for worker in workers])))
        optimizer.step()
    held_out = dataset.held_out(spec.evaluate_on)
    with torch.no_grad():
        scores = model(held_out.examples(slice(None)))
    spent = max(worker.spent.epsilon for worker in workers)
    return (scores.argmax(-1) == held_out.labels).double().mean().item(), spent


def test_a_plain_loop_trains_as_train_does():
    settings = SETTINGS | {"noise_scale": 0.03, "aggregator": "median", "honest": 3}
    settings |= {"steps": 40, "evaluate_every": 40, "learning_rate": 0.5}
    specs = [RunSpec(**settings, seed=seed) for seed in range(3)]
    results = [train(spec) for spec in specs]
    mine, spent = zip(*map(loop, specs), strict=True)
    theirs = [result.accuracy for result in results]
    assert spent == tuple(result.epsilon for result in results)
    assert min(theirs) > 0.5
    spread = np.std([*mine, *theirs], ddof=1) * math.sqrt(2 / len(specs))
    assert abs(np.mean(mine) - np.mean(theirs)) < 3 * spread < 0.2


def test_batches_are_poisson():
    worker = PrivateWorker(small(), DATA, **SETTINGS)
    draws = [worker._drawn() for _ in range(2000)]
    counts = np.array([len(drawn) for drawn in draws])
    q = 16 / 60
    assert abs(counts.mean() - 16) < 6 * math.sqrt(60 * q * (1 - q) / 2000)  # false alarm: 2e-9
    assert abs(counts.var() / (60 * q * (1 - q)) - 1) < 6 * math.sqrt(2 / 2000) * 1.1
    joins = np.bincount(np.concatenate(draws), minlength=60)
    law = stats.binom(2000, q)
    assert ((law.cdf(joins) > 1e-9) & (law.sf(joins) > 1e-9)).all()


def test_an_empty_batch_sends_pure_noise():
    settings = {"clip_norm": 1, "noise_scale": 0.5, "batch_size": 1, "sampling_rate": 1e-9}
    worker = PrivateWorker(small(), DATA, **settings)
    sent = worker.message()
    assert stats.kstest(sent.numpy(), "norm", args=(0, 0.5)).pvalue > 1e-9
    assert sent.unique().numel() > len(sent) / 2  # a few meet on the grid


def test_the_release_is_what_was_sent(tmp_path):
    worker = PrivateWorker(small(), DATA, **SETTINGS, delta=1e-6)
    assert (worker.spent.epsilon, worker.spent.delta) == (0, 1e-6)
    for _ in range(3):
        worker.message()
    stated = Release(noise_scale=0.1, clip_norm=1.0, batch_size=16, dataset_size=60, steps=3)
    assert worker.release == stated == replace(worker.step, steps=3)
    assert worker.release.adjacency == "zero-out"
    assert worker.spent.epsilon == epsilon(stated, delta=1e-6)
    rated = PrivateWorker(small(), DATA, **SETTINGS, sampling_rate=0.2)
    rated.message()
    assert rated.release.adjacency == "add-or-remove"
    assert rated.release.dataset_size is None


def test_nothing_leaves_that_the_ledger_refuses(tmp_path):
    step = Release(**SETTINGS, dataset_size=60, steps=2)
    with Ledger(tmp_path / "ledger.db", "mine", max_epsilon=epsilon(step)) as ledger:
        worker = PrivateWorker(small(), DATA, **SETTINGS, ledger=ledger)
        worker.message()
        worker.message()
        with pytest.raises(BudgetExhausted):
            worker.message()
        assert worker.release == step
        assert ledger.spent.epsilon == worker.spent.epsilon


def test_the_model_stays_as_it_was_and_its_present_parameters_count():
    model = small().train()
    for each in model.parameters():
        each.grad = torch.ones_like(each)
    before = [each.clone() for each in model.parameters()]
    worker = PrivateWorker(model, DATA, **SETTINGS, seed=1)
    first = worker.message()
    assert model.training
    assert all(each.requires_grad and bool((each.grad == 1).all()) for each in model.parameters())
    assert all(map(torch.equal, before, model.parameters()))
    again = PrivateWorker(model, DATA, **SETTINGS, seed=1)
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(-2)
    assert not torch.equal(again.message(), first)
    with torch.no_grad():
        for each in model.parameters():
            each.fill_(torch.nan)
    noise = PrivateWorker(small(), DATA, clip_norm=1, noise_scale=0.1, batch_size=16, seed=1)
    noise._average = lambda places: torch.zeros(43, dtype=torch.float64)
    of_nan = PrivateWorker(small(), DATA, **SETTINGS, seed=1)
    of_nan._model.load_state_dict(model.state_dict())
    assert torch.equal(of_nan.message(), noise.message())


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
)
def test_the_loop_around_it_changes_no_bit(context):
    plain = PrivateWorker(small(), DATA, **SETTINGS, seed=2).message()
    model = small()
    with context():
        within = PrivateWorker(model, DATA, **SETTINGS, seed=2)
        assert torch.equal(within.message(), plain)


class Items(TorchDataset):
    """A map-style dataset that knows what was asked of it."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels, self.asked = inputs, labels, []

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, place):
        self.asked.append(place)
        return self.inputs[place], self.labels[place]


def test_data_of_all_kinds_give_the_same_bits():
    inputs, labels = DATA
    kinds = [
        DATA,
        list(DATA),
        (inputs.numpy(), labels.numpy()),
        Split(*DATA),
        TensorDataset(*DATA),
        Items(*DATA),
        Items(inputs.numpy(), labels.tolist()),
        Items(inputs.double(), labels.int()),
        Items([*inputs], [*labels]),
    ]
    model = nn.Sequential(nn.Linear(4, 3))
    sent = [PrivateWorker(model, data, **SETTINGS, seed=4).message() for data in kinds]
    assert all(torch.equal(each, sent[0]) for each in sent)


def test_pixels_are_scaled_as_those_of_a_split():
    pixels = torch.randint(256, (60, 4), dtype=torch.uint8)
    labels = DATA[1]
    sent = [
        PrivateWorker(small(), data, **SETTINGS, seed=4).message()
        for data in ((pixels, labels), Items(pixels, labels), (pixels.float() / 255, labels))
    ]
    assert torch.equal(sent[0], sent[1])
    assert torch.allclose(sent[0], sent[2])


def test_only_what_is_drawn_is_read():
    data = Items(*DATA)
    worker = PrivateWorker(small(), data, **SETTINGS)
    data.asked.clear()
    drawn = worker._drawn()
    worker._average(drawn)
    assert data.asked == drawn


def test_an_example_that_is_not_finite_counts_as_zero():
    inputs, labels = DATA
    broken = inputs.clone()
    broken[20] = torch.nan
    worker = PrivateWorker(small(), Items(broken, labels), **SETTINGS)
    assert torch.equal(worker._average([3, 20, 30]), worker._average([3, 30]))


class Silent(Exception):
    """Cannot say what it is."""

    def __str__(self):
        raise ValueError("of whom it is")


class Unreadable(Items):
    """Fails on one item."""

    def __getitem__(self, place):
        if place == 20:
            raise Silent
        return super().__getitem__(place)


def with_item(place, given, label):
    """The data as a dataset in which one item is another."""
    inputs, labels = [*DATA[0]], DATA[1].tolist()
    inputs[place], labels[place] = given, label
    return Items(inputs, labels)


@pytest.mark.parametrize(
    "data",
    [
        Unreadable(*DATA),
        with_item(20, DATA[0][20], 9),
        with_item(20, DATA[0][20], -1),
        with_item(20, DATA[0][20], 2**70),
        with_item(20, DATA[0][20], "a patient"),
        with_item(20, DATA[0][20], None),
        with_item(20, DATA[0][:2], 1),
        with_item(20, DATA[0][20] > 0, 1),
        with_item(20, torch.arange(4), 1),
        with_item(20, torch.ones(4).to_sparse(), 1),
        with_item(20, "no tensor", 1),
        (DATA[0], DATA[1].where(torch.arange(60) != 20, 3)),
        (DATA[0], DATA[1].where(torch.arange(60) != 20, -1)),
        (DATA[0].where(torch.arange(60)[:, None] != 20, math.inf), DATA[1]),
    ],
)
def test_an_example_that_does_not_fit_counts_as_zero(data, caplog):
    worker = PrivateWorker(small(), data, **SETTINGS)
    whole = PrivateWorker(small(), DATA, **SETTINGS)
    expected = whole._average([3, 30])
    assert expected.any()
    for places in ([3, 20, 30], [20, 3, 30], [3, 30]):
        assert torch.allclose(worker._average(places), expected, rtol=1e-12, atol=0)
    assert not worker._average([20]).any()
    assert len(caplog.messages) == 1  # told on this machine, once
    assert caplog.messages[0].startswith("data: ")


def test_whether_a_message_leaves_depends_on_no_example(tmp_path):
    settings = {**SETTINGS, "batch_size": 60, "sampling_rate": 1.0}  # all are drawn each time
    with Ledger(tmp_path / "ledger.db", "mine") as ledger:
        worker = PrivateWorker(small(), Unreadable(*DATA), **settings, ledger=ledger)
        assert all(worker.message().isfinite().all() for _ in range(2))
        assert len(ledger.entries) == 2


@pytest.mark.parametrize("odd", [0, 7, 15])
def test_one_of_the_first_examples_does_not_decide_what_the_others_are(odd):
    data = with_item(odd, DATA[0], "a")
    assert PrivateWorker(small(), data, **SETTINGS)._average([1, 2, odd, 3]).any()
    data = with_item(odd, DATA[0], 1)
    assert PrivateWorker(small(), data, **SETTINGS)._average([1, 2, odd, 3]).any()


def test_an_example_for_which_the_model_fails_does_not_take_others_with_it(caplog):
    tokens, labels = torch.arange(240).view(60, 4) % 7, torch.arange(60) % 3
    beyond = tokens.clone()
    beyond[20] = 7
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3))
    whole = PrivateWorker(model, (tokens, labels), **SETTINGS)
    worker = PrivateWorker(model, (beyond, labels), **SETTINGS)
    expected = whole._average([3, 8, 30])
    assert expected.any()
    for places in ([3, 20, 8, 30], [20, 3, 8, 30]):
        assert torch.allclose(worker._average(places), expected, rtol=1e-12, atol=0)
    assert torch.equal(worker._average([3, 8, 30]), expected)
    assert not worker._average([20]).any()
    assert worker.message().isfinite().all()
    assert caplog.messages[0].startswith("model: it failed on 4 examples (IndexError")


def test_a_model_without_a_fast_way():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.outer(self.inner(inputs)[0][:, -1])

    data = torch.randn(30, 5, 2), torch.arange(30) % 3
    with pytest.warns(PrivRobustWarning, match="per-sample gradients are computed"):
        worker = PrivateWorker(Recurrent(), data, clip_norm=0.1, noise_scale=0.0, batch_size=1)
    average = worker._average([1, 2, 3])
    assert 0 < average.norm() <= 0.3


def test_buffers_and_tied_parameters_and_order():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    dim = sum(each.numel() for each in model.parameters())
    set_gradient(model, torch.arange(dim, dtype=torch.float64))
    flat = torch.cat([value.grad.flatten() for _, value in model.named_parameters()])
    assert torch.equal(flat, torch.arange(dim, dtype=torch.float32))
    update = torch.zeros(dim)
    set_gradient(model, update)
    update.fill_(1)
    assert not any(each.grad.any() for each in model.parameters())


@pytest.mark.parametrize(
    ("update", "told"),
    [
        (torch.zeros(42), r"update: \(42,\) is not accepted: a tensor \(43,\)"),
        (torch.zeros(43, 1), r"update: \(43, 1\)"),
        (np.zeros(43), "update: "),
    ],
)
def test_bad_gradients(update, told):
    with pytest.raises(SpecError, match=told):
        set_gradient(small(), update)


def dropping():
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1))


def hooked():
    model = small()
    model[0].register_forward_hook(lambda *_: None)
    return model


def frozen():
    model = small()
    model[0].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "mlp"}, "model: a str is not a torch.nn.Module"),
        ({"model": nn.ReLU()}, "no parameters to train"),
        ({"model": dropping()}, "is Dropout, whose draws"),
        ({"model": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))}, "use torch.nn.GroupNorm"),
        ({"model": hooked()}, "with a hook"),
        ({"model": frozen()}, "is frozen"),
        ({"model": small().double()}, "model: "),
        ({"model": small().half()}, "model: "),
        ({"model": nn.Linear(5, 3)}, "failed on"),
        ({"data": (DATA[0], DATA[1] + 3)}, "data: label 5 is none of the model's 3 classes"),
        ({"data": (DATA[0], DATA[1] - 3)}, "data: label -1 is none"),
        ({"data": Items(DATA[0], DATA[1] + 7)}, "data: label 9 is none"),
        ({"data": (DATA[0][:0], DATA[1][:0])}, "data: it holds no example"),
        ({"data": (DATA[0], DATA[1][:9])}, "labels: shape"),
        ({"data": (DATA[0] / 0, DATA[1])}, "inputs: .* hold NaN or infinity"),
        ({"data": DATA[0]}, "data: a Tensor is not accepted"),
        ({"data": iter(DATA)}, "data: a tuple_iterator is not accepted"),
        ({"data": Items(DATA[0], ["a"] * 60)}, "data: label of example 0: 'a' is not"),
        ({"data": Items(DATA[0] > 0, [0] * 60)}, "data: example 0 is torch.bool"),
        ({"data": Items([None] * 60, [0] * 60)}, "data: example 0 cannot be read"),
        ({"clip_norm": -1}, "clip_norm: -1 is not"),
        ({"clip_norm": None, "noise_scale": 1}, "clip_norm: None is not"),
        ({"noise_scale": math.inf}, "noise_scale: inf is not"),
        ({"noise_scale": 1e30}, "noise_scale: 1e.30 is too large for a grid"),
        ({"batch_size": 0}, "batch_size: 0 is not"),
        ({"batch_size": 61}, "batch_size: 61 exceeds dataset_size, 60"),
        ({"sampling_rate": 2}, "sampling_rate: 2 is not"),
        ({"loss": "hinges"}, "loss: unknown name 'hinges'"),
        ({"clipping": "flatt"}, "clipping: unknown name 'flatt'; did you mean 'flat'"),
        ({"clipping": ["flat"]}, "clipping: unknown name"),
        ({"noise": "cauchy"}, "noise: unknown name"),
        ({"message": "bits"}, "message: 'bits' is not one of"),
        ({"delta": 2}, "delta: 2 is not between"),
        ({"accountant": "x"}, "accountant: unknown name 'x'"),
        ({"ledger": "ledger.db"}, "ledger: a str is not accepted"),
        ({"seed": 0.5}, "seed: 0.5 is not"),
    ],
)
def test_bad_arguments(changes, told):
    given = {"model": small(), "data": DATA, **SETTINGS} | changes
    with pytest.raises(SpecError, match=told) as raised:
        PrivateWorker(given.pop("model"), given.pop("data"), **given)
    assert "\n" not in str(raised.value)


def test_a_delta_that_is_no_promise_is_told():
    with pytest.warns(PrivRobustWarning, match="delta: 0.02 is not below 1 / 60: giving one"):
        PrivateWorker(small(), DATA, **SETTINGS, delta=0.02)
    PrivateWorker(small(), DATA, **SETTINGS, delta=0.01)
    PrivateWorker(small(), DATA, **SETTINGS, delta=0.02, sampling_rate=0.1)  # n is not told


def test_parameters_that_became_others():
    model = small()
    worker = PrivateWorker(model, DATA, **SETTINGS)
    model[2] = nn.Linear(5, 4)
    with pytest.raises(SpecError, match="model: its parameters have other names, shapes"):
        worker.message()
    assert worker.spent.epsilon == 0


def test_scaling_of_a_split():
    pixels = torch.randint(256, (40, 1, 4, 4), dtype=torch.uint8)
    split = Split(pixels, torch.arange(40) % 3, scaling=Scaling(mean=(0.5,), std=(0.25,)))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    scaled = split.examples(slice(None)), split.labels
    sent = [PrivateWorker(model, data, **SETTINGS, seed=1).message() for data in (split, scaled)]
    assert torch.equal(*sent)
