"""The strategy beyond hostile replies: whom it asks, what it charges, when it ends."""

import math
import sys
import time
from importlib import import_module

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedMedian
from in_process import InProcessGrid, moving, record, replied

from privrobust.accountants import Release, spend
from privrobust.aggregators import Aggregator
from privrobust.errors import PrivRobustError, SpecError
from privrobust.federated import Ledger, UpdatePrivacy
from privrobust.federated.flower import RobustStrategy

PRIVACY = UpdatePrivacy(clip_norm=1.0, noise_scale=4.0)
ZERO = np.zeros(2, np.float32)


def by(*steps):
    return [moving(np.float32([step, -step])) for step in steps]


def trained(strategy, clients=None, num_rounds=1, model=ZERO, **kwargs):
    grid = InProcessGrid(by(1, 2, 9) if clients is None else clients)
    kwargs = {"timeout": 0.05, **kwargs}
    return strategy.start(grid, record(w=model), num_rounds=num_rounds, **kwargs), grid


def values(result):
    return result.arrays["w"].numpy()


def test_it_moves_by_the_rule():
    result, _ = trained(RobustStrategy("median", 1, server_learning_rate=0.5), num_rounds=3)
    np.testing.assert_allclose(values(result), [3, -3])


def test_it_agrees_with_flowers_own_median():
    ours, _ = trained(RobustStrategy("median", 1), num_rounds=2)
    theirs, _ = trained(FedMedian(fraction_evaluate=0.0), num_rounds=2)
    np.testing.assert_allclose(values(ours), values(theirs))


def test_momentum_is_that_of_torch():
    result, _ = trained(RobustStrategy("median", server_momentum=0.5), num_rounds=3)
    np.testing.assert_allclose(values(result), [2 + 3 + 3.5, -8.5])


def test_a_second_start_begins_anew():
    strategy = RobustStrategy("median", server_momentum=0.5)
    first, _ = trained(strategy)
    second, _ = trained(strategy)
    np.testing.assert_array_equal(values(first), values(second))


def test_a_rule_of_ones_own():
    class First(Aggregator):
        "The message of worker 0."

        def aggregate(self, messages):
            return messages[..., 0, :]

    result, _ = trained(RobustStrategy(First()))
    np.testing.assert_array_equal(values(result), [1, -1])


def test_votes_of_updates_and_of_signs():
    def votes(message, context):
        sign = np.int8([-1, 1])
        return replied(message, record(w=sign))

    result, _ = trained(
        RobustStrategy("majority_vote", 1, server_learning_rate=0.25), [votes, votes, *by(5)]
    )
    np.testing.assert_array_equal(values(result), [-0.25, 0.25])


def test_who_is_trusted_is_in_place_0():
    clients = by(1, 1.1, 1.2, 9, 9.1)
    result, _ = trained(RobustStrategy("monna", 2, trusted_node=14), clients)
    np.testing.assert_allclose(values(result)[0], (9 + 9.1 + 1.2) / 3, rtol=1e-6)
    with pytest.raises(SpecError, match="trusted_node: 'monna' trusts who is in place 0"):
        RobustStrategy("monna", 2)


def test_a_round_without_the_trusted_node_is_a_step_of_nothing():
    clients = [lambda message, context: None, *by(1, 2, 3)]
    result, _ = trained(RobustStrategy("monna", 1, trusted_node=11), clients)
    np.testing.assert_array_equal(values(result), ZERO)


def test_too_few_accepted_replies_leave_the_model():
    silent = [lambda message, context: None] * 3
    strategy = RobustStrategy("trimmed_mean", 1)
    result, _ = trained(strategy, [*silent, *by(1, 2)])
    np.testing.assert_array_equal(values(result), ZERO)
    assert result.train_metrics_clientapp[1]["accepted"] == 2
    assert strategy.rejections[1] == [(node, "no reply") for node in (11, 12, 13)]


def test_an_aggregate_that_is_not_finite_leaves_the_model():
    class Broken(Aggregator):
        "NaN where the first worker sends a 1."

        def aggregate(self, messages):
            return messages[..., 0, :].masked_fill(messages[..., 0, :] == 1, float("nan"))

    result, _ = trained(RobustStrategy(Broken()))
    np.testing.assert_array_equal(values(result), ZERO)


def test_a_rule_that_fails_leaves_the_model():
    class Failing(Aggregator):
        "Fails at other numbers than zeros."

        def aggregate(self, messages):
            return messages[..., 0, :] if not messages.any() else messages

    result, _ = trained(RobustStrategy(Failing()), num_rounds=2)
    np.testing.assert_array_equal(values(result), ZERO)


def test_vast_steps_end_at_the_largest_number():
    vast = by(3e38, 3e38, 3e38)
    result, _ = trained(RobustStrategy("mean", server_learning_rate=1e3), vast)
    np.testing.assert_array_equal(values(result), np.finfo(np.float32).max * np.float32([1, -1]))


def test_nobody_is_asked_where_the_rule_cannot_be_kept(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", "all")
    strategy = RobustStrategy("krum", 1, privacy=PRIVACY, ledger=ledger)
    result, grid = trained(strategy, num_rounds=2)
    assert not grid.asked
    assert ledger.spent.epsilon == 0
    assert result.train_metrics_clientapp[2]["asked"] == 0
    np.testing.assert_array_equal(values(result), ZERO)


def test_nodes_are_asked_by_coins_of_their_own():
    """40 rounds of 50 nodes at 0.3: 600, 20.5 either way; wrong by chance once in 10^9."""
    _, grid = trained(RobustStrategy("mean", sampling_rate=0.3), by(*[1.0] * 50), num_rounds=40)
    assert abs(len(grid.asked) - 600) < 6.1 * 20.5
    by_node = np.bincount([message.metadata.dst_node_id - 11 for message in grid.asked])
    assert by_node.min() > 0
    of_rounds = np.bincount([m.content["config"]["server-round"] for m in grid.asked])[1:]
    assert of_rounds.std() > 1  # a fixed number would not vary


def test_a_round_that_draws_nobody_is_a_step_of_nothing():
    result, grid = trained(RobustStrategy("mean", sampling_rate=1e-9), num_rounds=2)
    assert not grid.asked
    np.testing.assert_array_equal(values(result), ZERO)


class ComingLate(InProcessGrid):
    """Nodes that connect one after the other, as they are asked for."""

    there = 0

    def get_node_ids(self):
        self.there += 1
        return list(self.clients)[: self.there]


def test_it_waits_for_nodes_and_not_for_ever():
    grid = ComingLate(by(1, 2, 9))
    strategy = RobustStrategy("median", min_nodes=3, wait=60)
    result = strategy.start(grid, record(w=ZERO), num_rounds=1, timeout=1)
    assert result.train_metrics_clientapp[1]["asked"] == 3
    begun = time.monotonic()
    result, _ = trained(RobustStrategy("median", min_nodes=4, wait=0.2))
    assert result.train_metrics_clientapp[1]["asked"] == 3
    assert 0.2 < time.monotonic() - begun < 5


def test_messages_expire_after_the_round():
    """A last look is to find what came in time; who wakes up much later spends nothing."""
    _, grid = trained(RobustStrategy("median"), timeout=7.5)
    [ttl] = {message.metadata.ttl for message in grid.asked}
    assert 10 < ttl < 100


class Failing(InProcessGrid):
    """Fails at the third call of a method."""

    def __init__(self, clients, name):
        super().__init__(clients)
        ask, calls = getattr(self, name), []

        def failing(*args):
            calls.append(args)
            if len(calls) == 3:
                raise ConnectionError("the link\nrestarts")
            return ask(*args)

        setattr(self, name, failing)


@pytest.mark.parametrize(
    ("name", "every", "begun", "says"),
    [
        ("get_node_ids", 0, 3, "which nodes are there"),
        ("push_messages", 0, 3, "sending messages"),
        ("get_node_ids", 1, 2, "which nodes are there"),
        ("push_messages", 1, 2, "sending messages"),
    ],
)
def test_a_grid_that_fails_ends_training_and_the_result_is_kept(tmp_path, name, every, begun, says):
    """With evaluation each round calls twice, and the third call is round 2's training."""
    ledger = Ledger(tmp_path / "ledger.db", "all")
    strategy = RobustStrategy("median", privacy=PRIVACY, ledger=ledger, evaluate_every=every)
    result = strategy.start(Failing(by(1, 2, 9), name), record(w=ZERO), num_rounds=5, timeout=1)
    np.testing.assert_allclose(values(result), np.float32([2, -2]) * (begun - 1))
    assert list(result.train_metrics_clientapp) == list(range(1, begun))
    assert strategy.ended == (
        f"in round {begun}: {says}: the grid failed (ConnectionError('the link\\nrestarts'))"
    )
    assert len(ledger.entries) == begun - (name == "get_node_ids")  # charged, then not sent


def test_metrics_are_told_where_honest_clients_settle_them():
    def telling(**metrics):
        return moving(np.float32([1, -1]), **metrics)

    clients = [telling(acc=1e300, loss=-1e300), *[telling(loss=2.0)] * 2, *[telling()] * 2]
    strategy = RobustStrategy("median", 1, metrics=["acc", "loss"])
    [metrics] = trained(strategy, clients)[0].train_metrics_clientapp.values()
    assert "acc" not in metrics
    assert metrics["loss"] == 2.0
    two = RobustStrategy("median", 1, metrics=["loss"])
    [metrics] = trained(two, [*clients[:2], *clients[3:]])[0].train_metrics_clientapp.values()
    assert "loss" not in metrics  # of two, one may be hostile


def test_configs_reach_the_clients_and_stay_as_they_are():
    config = ConfigRecord({"lr": 0.1})
    _, grid = trained(RobustStrategy("median"), num_rounds=2, train_config=config)
    assert [m.content["config"]["server-round"] for m in grid.asked] == [1, 1, 1, 2, 2, 2]
    assert grid.asked[0].content["config"]["lr"] == 0.1
    assert dict(config) == {"lr": 0.1}


def test_evaluation_here_and_at_clients():
    def client(message, context):
        if message.metadata.message_type == "evaluate":
            said = MetricRecord({"accuracy": context.node_id / 100, "secret": 7.0})
            return Message(RecordDict({"metrics": said}), reply_to=message)
        return by(1)[0](message, context)

    strategy = RobustStrategy("median", metrics=["accuracy"], evaluate_every=2)
    result, _ = trained(
        strategy,
        [client] * 3,
        num_rounds=4,
        evaluate_fn=lambda server_round, arrays: MetricRecord(
            {"at": arrays["w"].numpy()[0].item()}
        ),
    )
    assert {r: dict(m) for r, m in result.evaluate_metrics_clientapp.items()} == {
        2: {"accuracy": 0.12},
        4: {"accuracy": 0.12},
    }
    assert [m["at"] for m in result.evaluate_metrics_serverapp.values()] == [0, 1, 2, 3, 4]


# --- privacy -------------------------------------------------------------------------------------


def test_without_privacy_epsilon_is_infinite():
    result, _ = trained(RobustStrategy("median"))
    assert result.train_metrics_clientapp[1]["epsilon"] == math.inf


def test_every_round_tells_its_epsilon():
    result, _ = trained(RobustStrategy("median", privacy=PRIVACY), num_rounds=3)
    told = [metrics["epsilon"] for metrics in result.train_metrics_clientapp.values()]
    expected = [
        spend(Release(noise_scale=4.0, clip_norm=1.0, unit="worker", steps=steps), 1e-5).epsilon
        for steps in (1, 2, 3)
    ]
    assert told == pytest.approx(expected)
    assert result.train_metrics_clientapp[1]["delta"] == 1e-5


def test_examples_are_charged_by_the_steps_of_a_round():
    release = Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=5)
    result, _ = trained(RobustStrategy("median", privacy=release, delta=1e-6), num_rounds=2)
    metrics = result.train_metrics_clientapp[2]
    expected = Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=10)
    assert metrics["epsilon"] == pytest.approx(spend(expected, 1e-6).epsilon)
    assert metrics["delta"] == 1e-6


def test_a_round_is_charged_before_its_messages_go_out(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", "all")
    charged = []

    def client(message, context):
        charged.append(len(ledger.entries))
        return by(1)[0](message, context)

    trained(RobustStrategy("median", privacy=PRIVACY, ledger=ledger), [client], num_rounds=3)
    assert charged == [1, 2, 3]
    assert [entry.note for entry in ledger.entries] == ["round 1", "round 2", "round 3"]


def test_training_ends_where_the_ledger_refuses_and_keeps_its_result(tmp_path):
    allowed = spend(PRIVACY.release(3)).epsilon
    ledger = Ledger(tmp_path / "ledger.db", "all", max_epsilon=allowed * 1.001)
    strategy = RobustStrategy("median", privacy=PRIVACY, ledger=ledger)
    result, grid = trained(strategy, num_rounds=10)
    np.testing.assert_allclose(values(result), [6, -6])
    assert list(result.train_metrics_clientapp) == [1, 2, 3]
    assert len(grid.asked) == 9
    assert strategy.ended.startswith("before round 4: ledger:")

    again = RobustStrategy("median", privacy=PRIVACY, ledger=Ledger(tmp_path / "ledger.db", "all"))
    result, grid = trained(again, num_rounds=10, model=values(result))
    assert not grid.asked
    np.testing.assert_allclose(values(result), [6, -6])
    assert again.ended.startswith("before round 1: ledger:")


def test_training_ends_where_a_ledger_no_longer_takes_such_rounds(tmp_path, monkeypatch):
    """As of a file that is another by now; of settings that were never accepted, it is raised."""
    ledger = Ledger(tmp_path / "ledger.db", "all")
    strategy = RobustStrategy("median", privacy=PRIVACY, ledger=ledger)
    charge, left = ledger.charge, [1]

    def refusing(release, note):
        if not left:
            raise SpecError("unit: releases that compose must agree, not example and worker")
        left.pop()
        return charge(release, note=note)

    monkeypatch.setattr(ledger, "charge", refusing)
    result, _ = trained(strategy, num_rounds=3)
    np.testing.assert_allclose(values(result), [2, -2])
    assert strategy.ended.startswith("before round 2: unit: ")
    with pytest.raises(SpecError, match="unit: "):
        trained(strategy)


def test_training_ends_where_a_ledger_cannot_be_written(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", "all")

    def client(message, context):
        (tmp_path / "ledger.db").write_bytes(b"no ledger" * 1000)
        return by(1)[0](message, context)

    strategy = RobustStrategy("median", privacy=PRIVACY, ledger=ledger)
    result, _ = trained(strategy, [client], num_rounds=3)
    np.testing.assert_allclose(values(result), [1, -1])
    assert strategy.ended.startswith("before round 2: ")


def test_a_server_that_is_started_again_goes_on_from_the_ledger(tmp_path):
    def ledger():
        return Ledger(tmp_path / "ledger.db", "all")

    trained(RobustStrategy("median", privacy=PRIVACY, ledger=ledger()), num_rounds=2)
    strategy = RobustStrategy("median", privacy=PRIVACY, ledger=ledger())
    result, _ = trained(strategy)
    expected = spend(PRIVACY.release(3)).epsilon
    assert result.train_metrics_clientapp[1]["epsilon"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"aggregator": "medain"}, "did you mean 'median'"),
        ({"aggregator": 7}, "aggregator: 7 is no rule"),
        ({"byzantine": -1}, "byzantine: -1 is not a whole number"),
        ({"server_learning_rate": 0}, "server_learning_rate: 0 is not a finite number above 0"),
        ({"server_momentum": 1}, r"server_momentum: 1 is not in \[0, 1\)"),
        ({"sampling_rate": 0}, r"sampling_rate: 0 is not in \(0, 1\]"),
        ({"metrics": "accuracy"}, "metrics: 'accuracy' is not a list of names"),
        ({"metrics": ["epsilon"]}, "metrics: 'epsilon' is one of the strategy's own"),
        ({"min_nodes": 0}, "min_nodes: 0 is not a whole number, 1 or more"),
        ({"wait": math.inf}, "wait: inf is not a number of seconds"),
        ({"ledger": 1}, "ledger: 1 is not accepted: a Ledger"),
        ({"ledger": "l.db", "privacy": PRIVACY}, "ledger: 'l.db' is not accepted: a Ledger"),
        ({"aggregator": "fltrust"}, "aggregator: 'fltrust' takes a gradient of the server's own"),
        ({"aggregator": "noise_aware"}, "'noise_aware' takes a gradient of the server's own ex"),
        (
            {"aggregator": "nnm + centred_clipping(unit='noise')"},
            "^aggregator: .* is told of the run's noise, .*; accepted: a rule of messages alone$",
        ),
        ({"trusted_node": "x"}, "trusted_node: 'x' is not the number of a node"),
        ({"privacy": 1}, "privacy: 1 is no UpdatePrivacy, nor a Release"),
        (
            {"privacy": UpdatePrivacy(clip_norm=1, noise_scale=1, message="sign")},
            "privacy: clients send signs; accepted: message='vector', or a rule that counts votes",
        ),
    ],
)
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(SpecError, match=says):
        RobustStrategy(**settings)


def test_a_ledger_needs_to_know_what_clients_do(tmp_path):
    with pytest.raises(SpecError, match="ledger: needs privacy="):
        RobustStrategy(ledger=Ledger(tmp_path / "ledger.db", "all"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_rounds": 1.5}, "num_rounds: 1.5 is not a whole number, 0 or more"),
        ({"num_rounds": None}, "num_rounds: None is not a whole number, 0 or more"),
        ({"timeout": None}, "timeout: None is not a number of seconds, 0 or more"),
        ({"timeout": -1}, "timeout: -1 is not a number of seconds, 0 or more"),
        ({"timeout": math.nan}, "timeout: nan is not a number of seconds, 0 or more"),
    ],
)
def test_starts_that_cannot_be(settings, says):
    with pytest.raises(SpecError, match=says):
        trained(RobustStrategy(), **settings)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"w": np.float32([1, np.nan])}, "arrays: they hold NaN or an infinity"),
        ({"w": np.int64([1])}, "arrays: no array of floats"),
        ({"w": np.complex64([1])}, "arrays: array 'w' is of type c8"),
        ({}, "arrays: no array of floats"),
        ({"w": np.zeros((0, 3))}, "arrays: they hold no numbers to train"),
    ],
)
def test_models_that_cannot_be_trained(model, says):
    with pytest.raises(SpecError, match=says):
        RobustStrategy().start(InProcessGrid(by(1)), record(**model))


def test_without_flower_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.delitem(sys.modules, "privrobust.federated.flower")
    with pytest.raises(PrivRobustError, match=r"^flower: needs the package flwr: pip install "):
        import_module("privrobust.federated.flower")
