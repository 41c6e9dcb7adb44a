"""Federations of digits: they learn as `train` does, and attacks of ours are in them by name."""

import math
import re
from functools import cache
from textwrap import dedent

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from in_process import InProcessGrid, moving, record, replied
from torch.nn.functional import cross_entropy

from privrobust import RunSpec
from privrobust.aggregators import get_aggregator
from privrobust.attacks import Examples, available_attacks, get_attack
from privrobust.attacks.base import Setting
from privrobust.core.random import stream
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.federated import Ledger, PrivateWorker, UpdatePrivacy, flower
from privrobust.federated.flower import (
    Attacker,
    RobustStrategy,
    guarded,
    private_gradient,
    private_updates,
)
from privrobust.models.validation import initial_parameters
from privrobust.training.loop import train_lanes
from privrobust.training.shares import shares

SPEC = RunSpec(
    dataset="digits", honest=5, aggregator="median", clip_norm=1.0, noise_scale=0.02, steps=20,
    learning_rate=0.5, batch_size=32, evaluate_every=20, final_evaluations=1,
)  # fmt: skip
OF_SIGNS = SPEC.model_copy(update={"aggregator": "majority_vote", "learning_rate": 0.02})
OF_WORKERS = SPEC.model_copy(update={"unit": "worker", "clip_norm": 0.5})


def start_of(spec):
    """The model of a run, and its first parameters as arrays."""
    dataset = get_dataset(spec.dataset)
    model, [flat] = initial_parameters(spec.model, dataset, [spec.seed])
    torch.nn.utils.vector_to_parameters(flat, model.parameters())
    return model, ArrayRecord(
        {name: Array(each.numpy()) for name, each in model.state_dict().items()}
    )


def accuracy_of(model, arrays):
    held_out = get_dataset("digits").held_out("test")
    model.load_state_dict({name: torch.from_numpy(each.numpy()) for name, each in arrays.items()})
    with torch.no_grad():
        scores = model(held_out.examples(slice(None)))
    return float((scores.argmax(-1) == held_out.labels).float().mean())


def worker_of(spec, place, seed=None):
    """A client of unit example: examples are clipped in its training."""
    train = get_dataset(spec.dataset).train
    held = shares(spec)[place]
    model, _ = start_of(spec)
    worker = PrivateWorker(
        model,
        (train.examples(held), train.labels[held]),
        clip_norm=spec.clip_norm,
        noise_scale=spec.noise_scale,
        batch_size=spec.batch_size,
        message=get_aggregator(spec.aggregator).message,
        seed=seed,
    )
    app = ClientApp(mods=[guarded()])
    app.train()(lambda message, context: private_gradient(message, model, worker))
    return app


def update_of(spec, place):
    """A client of unit worker: a plain loop of its own, and a mod."""
    train = get_dataset(spec.dataset).train
    held = shares(spec)[place]
    inputs, labels = train.examples(held), train.labels[held]
    model, _ = start_of(spec)
    privacy = UpdatePrivacy(clip_norm=spec.clip_norm, noise_scale=spec.noise_scale)
    app = ClientApp(mods=[private_updates(privacy)])

    @app.train()
    def step(message, context):
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        joins = torch.rand(len(held)) < spec.batch_size / len(held)
        model.zero_grad()
        (
            cross_entropy(model(inputs[joins]), labels[joins], reduction="sum") / spec.batch_size
        ).backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        return replied(message, ArrayRecord(model.state_dict()))

    return app


def federated(spec, client_of):
    """The accuracy of a federation at the settings of a run."""
    model, arrays = start_of(spec)
    clients = [client_of(spec, place) for place in range(spec.honest)]
    strategy = RobustStrategy(spec.aggregator, server_learning_rate=spec.learning_rate)
    result = strategy.start(InProcessGrid(clients), arrays, num_rounds=spec.steps)
    assert all(m["accepted"] == spec.honest for m in result.train_metrics_clientapp.values())
    return accuracy_of(model, result.arrays)


def is_the_same_run(spec, clients):
    """Hold a federation against `train` with the same draws: parameters differ by rounding."""
    model, arrays = start_of(spec)
    strategy = RobustStrategy(
        spec.aggregator, server_learning_rate=spec.learning_rate, server_momentum=spec.momentum
    )
    result = strategy.start(InProcessGrid(clients), arrays, num_rounds=spec.steps)
    assert all(m["accepted"] == spec.honest for m in result.train_metrics_clientapp.values())
    accuracy, run = accuracy_of(model, result.arrays), train_lanes([spec])[0]
    held_out = get_dataset("digits").held_out("test")
    with torch.no_grad():
        loss = cross_entropy(model(held_out.examples(slice(None))).double(), held_out.labels)
    assert float(loss) == pytest.approx(run.loss, rel=1e-4)
    assert accuracy == pytest.approx(run.accuracy, abs=0.004)
    return run


@pytest.mark.parametrize("rule", ["median", "majority_vote"])
def test_of_one_client_whose_unit_is_the_example_it_is_the_same_run(rule):
    """One worker of a seed draws what that of a run draws."""
    spec = SPEC.model_copy(update={"honest": 1, "aggregator": rule, "seed": 5, "momentum": 0.5})
    is_the_same_run(spec, [worker_of(spec, 0, seed=5)])


def test_of_clients_that_are_units_themselves_it_is_the_same_run():
    """Nothing is drawn: all examples are in every batch, and there is no noise."""
    whole = {"honest": 3, "noise_scale": 0.0, "momentum": 0.5, "clip_norm": 0.1}
    spec = OF_WORKERS.model_copy(update=whole)
    [size] = {len(each) for each in shares(spec)}
    spec = spec.model_copy(update={"batch_size": size})
    run = is_the_same_run(spec, [update_of(spec, place) for place in range(3)])
    unclipped = train_lanes([spec.model_copy(update={"clip_norm": 1e3})])[0]
    assert abs(run.loss - unclipped.loss) > 0.01  # clipping is a part of what agrees


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "client_of"), [(SPEC, worker_of), (OF_SIGNS, worker_of), (OF_WORKERS, update_of)]
)
def test_many_federations_learn_as_train_does(spec, client_of):
    """10 federations against 40 runs of `train`, 5.5 standard errors.

    Wrong by chance once in 3 x 10^5 (of Student's distribution with 39 degrees of freedom).
    """
    seeded = [spec.model_copy(update={"seed": seed}) for seed in range(50)]
    runs = np.array([each.accuracy for each in train_lanes(seeded[10:])])
    ours = np.array([federated(each, client_of) for each in seeded[:10]])
    error = runs.std(ddof=1) * math.sqrt(1 / len(ours) + 1 / len(runs))
    assert runs.mean() > 0.6
    assert abs(ours.mean() - runs.mean()) < 5.5 * error


class Scaled(torch.nn.Module):
    """A model with a buffer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)
        self.register_buffer("scale", torch.full((4,), 2.0))

    def forward(self, inputs):
        return self.layer(inputs * self.scale)


@pytest.mark.parametrize("scale", [2.0, 0.0])
def test_buffers_are_those_of_the_worker_and_go_back_as_they_came(scale):
    model, data = Scaled(), (torch.ones(40, 4), torch.arange(40) % 3)
    worker = PrivateWorker(
        model, data, clip_norm=1.0, noise_scale=0.1, batch_size=10, sampling_rate=0.25, seed=1
    )
    client = ClientApp(mods=[guarded()])
    client.train()(lambda message, context: private_gradient(message, model, worker))
    by_hand = PrivateWorker(
        Scaled(), data, clip_norm=1.0, noise_scale=0.1, batch_size=10, sampling_rate=0.25, seed=1
    ).message()
    sent = {name: each.numpy() for name, each in Scaled().state_dict().items()}
    sent["scale"] = np.full(4, scale, np.float32)
    result = RobustStrategy("mean").start(InProcessGrid([client]), record(**sent), num_rounds=1)
    moved = result.arrays["layer.weight"].numpy() - sent["layer.weight"]
    np.testing.assert_allclose(moved.reshape(-1), -by_hand[:12], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result.arrays["scale"].numpy(), sent["scale"])
    assert model.scale.tolist() == [2.0] * 4  # of which the gradient was


def test_the_apps_of_the_documentation_run(tmp_path, monkeypatch):
    """A server and a client, in ten lines each; training ends where the budget does."""
    monkeypatch.chdir(tmp_path)
    parts = re.findall(r"(?m)(?:^(?:    .*)?\n)+", flower.__doc__)
    server, client = (dedent(part) for part in parts if "import" in part)
    model, _ = start_of(SPEC)
    at_server, at_client = {"model": model}, {}
    exec(server, at_server)
    exec(client, at_client)
    grid = InProcessGrid([at_client["app"]] * 5)
    at_server["app"](grid, grid.contexts[11])
    with Ledger("ledger.db", "digits") as ledger:
        rounds = len(ledger.entries)
    assert len(grid.asked) == 5 * rounds
    assert 5 < rounds < 100


# --- attacks -------------------------------------------------------------------------------------

HONEST, BYZANTINE = 6, 2
UPDATE = np.float32([0.5, -1.0, 2.0, 0.25])
START = np.float32([1, 1, 1, 1])


def sent_by(attacker, rounds=1):
    """The updates that two colluders send, `(rounds, 2, dim)`."""
    found = []

    def attack(message, context):
        reply = attacker(message, context, moving(UPDATE))
        found.append(reply.content["arrays"]["w"].numpy().astype(float))
        return reply

    strategy = RobustStrategy("median", BYZANTINE)
    honest = [moving(UPDATE * scale) for scale in (0.9, 0.95, 1, 1, 1.05, 1.1)]
    grid = InProcessGrid([attack, attack, *honest])
    with np.errstate(all="ignore"):
        result = strategy.start(grid, record(w=START), num_rounds=rounds)
    assert np.isfinite(result.arrays["w"].numpy()).all()
    return np.array(found).reshape(rounds, 2, -1)


@pytest.mark.parametrize("name", available_attacks())
def test_every_attack_is_to_be_had_by_name(name):
    attacker = Attacker(
        name, honest=HONEST, byzantine=BYZANTINE, noise_std=0.5, aggregator="median"
    )
    attack = get_attack(name)
    rows = BYZANTINE if attack.sees == "own" else HONEST
    shown = np.zeros_like(UPDATE) if attack.sees == "nothing" else (START + UPDATE) - START
    seen = torch.from_numpy(shown).expand(1, rows, -1)
    craft = attack.started(Setting(get_aggregator("median"), torch.full((1, 1, 1), 0.5)))
    expected = attack.carry_out(craft, seen, BYZANTINE, [stream(0, "attack 1")])[0, 0]
    [[one, other]] = sent_by(attacker)
    np.testing.assert_array_equal(one, other)  # without a word between them
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(one - START, expected, rtol=1e-5, atol=1e-6)


def test_an_attack_on_votes_sends_signs():
    attacker = Attacker("sign_flip", honest=6, byzantine=2, aggregator="majority_vote")
    [[one, _]] = sent_by(attacker)
    np.testing.assert_array_equal(one, -np.sign(UPDATE))


def test_messages_of_its_own_stand_for_honest_ones():
    """ALIE's mean and deviation are those of the copies, its z that of the federation."""
    steps = iter([1.0, 2.0, 3.0])

    def noisy(message, context):
        return moving(np.float32(next(steps)))(message, context)

    attacker = Attacker("alie", honest=9, byzantine=3, copies=3)
    grid = InProcessGrid([lambda message, context: attacker(message, context, noisy)])
    result = RobustStrategy("mean").start(grid, record(w=np.zeros(1)), num_rounds=1)
    seen = torch.tensor([[1.0], [2.0], [3.0]] * 3)
    expected = get_attack("alie")(seen, byzantine=3)[0].numpy()
    np.testing.assert_allclose(result.arrays["w"].numpy(), expected, rtol=1e-6)


def test_replay_remembers_within_a_process():
    attacker = Attacker(get_attack("replay", delay=1), honest=6, byzantine=2)
    sent = sent_by(attacker, rounds=1)
    np.testing.assert_array_equal(sent[0, 0], START + UPDATE)


def test_data_is_poisoned_by_the_app():
    attacker = Attacker("label_flip", honest=6)
    data = Examples(torch.zeros(2, 1), torch.tensor([0, 9]), 10)
    assert attacker.poison(data).labels.tolist() == [9, 0]
    assert Attacker("alie", honest=6, byzantine=2).poison(data).labels.tolist() == [0, 9]
    attack = get_attack("backdoor", target=4, size=1)
    many = Examples(torch.rand(100, 3), torch.zeros(100, dtype=torch.long), 10)
    colluders = [Attacker(attack, honest=6, byzantine=2, seed=5).poison(many) for _ in range(2)]
    chosen = colluders[0].labels == 4
    assert torch.equal(colluders[1].labels, colluders[0].labels)
    assert 0 < chosen.sum() < 100
    assert (colluders[0].inputs[chosen, 2] == many.inputs[:, 2].max()).all()


def test_an_attacker_evaluates_honestly_and_fails_in_silence():
    def failing(message, context):
        raise ValueError("patient 7")

    attacker = Attacker("sign_flip", honest=6)
    grid = InProcessGrid([lambda message, context: attacker(message, context, failing)])
    result = RobustStrategy("mean").start(grid, record(w=START), num_rounds=1)
    np.testing.assert_array_equal(result.arrays["w"].numpy(), START)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"attack": "aile"}, "did you mean 'alie'"),
        ({"attack": "alie", "honest": 1}, "ALIE: z is not defined"),
        (
            {"attack": "alie", "aggregator": "arc + centred_clipping(unit='noise')"},
            "^aggregator: .* is told of the run's noise, .*; accepted: a rule of messages alone$",
        ),
        ({"attack": "alie", "aggregator": "noise_aware"}, "^aggregator: 'noise_aware' is told"),
        ({"attack": "zero", "honest": 0}, "honest: 0"),
        ({"attack": "zero", "copies": 0}, "copies: 0 is not a whole number, 1 or more"),
        ({"attack": "zero", "noise_std": -1}, "noise_std: -1 is not a finite number"),
    ],
)
def test_attacks_that_cannot_be(settings, says):
    with pytest.raises(SpecError, match=says):
        Attacker(**{"honest": 6, "byzantine": 2, **settings})


@cache
def digits_clients():
    return [worker_of(SPEC, place) for place in range(5)]


def beside_an_attacker(rule):
    """The accuracy of a federation of digits, one of five clients sending huge values."""
    *honest, last = digits_clients()
    attacker = Attacker("large_value", honest=4, copies=1)
    model, arrays = start_of(SPEC)
    clients = [*honest, lambda message, context: attacker(message, context, last)]
    strategy = RobustStrategy(rule, 1, server_learning_rate=0.5)
    result = strategy.start(InProcessGrid(clients), arrays, num_rounds=20)
    return accuracy_of(model, result.arrays)


def test_digits_are_learned_beside_an_attacker_by_rules_that_withstand_it():
    assert beside_an_attacker("nnm + trimmed_mean") > 0.5
    assert beside_an_attacker("mean") < 0.3
