"""What leaves a client: noise, what is named in advance, and nothing of what went wrong."""

import math

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from in_process import InProcessGrid, moving, record, replied
from torch import nn

from privrobust.accountants import Release, spend
from privrobust.errors import SpecError
from privrobust.federated import Ledger, PrivateWorker, UpdatePrivacy
from privrobust.federated.flower import (
    RobustStrategy,
    guarded,
    private_gradient,
    private_updates,
)

DIM = 4000
MODEL = {"w": np.ones((DIM // 2, 2), np.float32), "seen": np.array(7)}
PRIVACY = UpdatePrivacy(clip_norm=2.0, noise_scale=0.05)
TEXT = "patient 7 has a fever"


def app(train, mods, evaluate=None):
    made = ClientApp(mods=mods)
    made.train()(train)
    made.evaluate()(evaluate or (lambda message, context: train(message, context)))
    made.query()(evaluate or (lambda message, context: train(message, context)))
    return made


def reply_of(client, kind="train", model=None):
    """What one client replies."""
    grid = InProcessGrid([client])
    content = RecordDict({"arrays": record(**(model or MODEL))})
    message = Message(content, dst_node_id=11, message_type=kind)
    [reply] = grid.pull_messages(grid.push_messages([message]))
    return reply


def update_of(reply, model=None):
    return reply.content["arrays"]["w"].numpy().astype(float) - (model or MODEL)["w"]


def failing(message, context):
    raise ValueError(TEXT)


def raising_a_message(message, context):
    from flwr.app import Error

    return Message(Error(0, TEXT), reply_to=message)


class Silent(Exception):
    """Cannot say what it is."""

    def __str__(self):
        raise ValueError(TEXT)


def failing_silently(message, context):
    raise Silent


def whose_reply_fails(message, context):
    class Reply:
        def has_error(self):
            raise Silent

    return Reply()


def with_nan(message, context):
    return moving(np.float32(np.nan))(message, context)


def with_another_shape(message, context):
    return replied(message, record(w=np.ones(3, np.float32), seen=np.array(8)))


def without_arrays(message, context):
    return Message(RecordDict({"metrics": MetricRecord({"loss": 1.0})}), reply_to=message)


def that_changes_what_it_was_sent(message, context):
    message.content["arrays"] = record(w=MODEL["w"] + 100)
    return replied(message, message.content["arrays"])


def with_no_records(message, context):
    reply = replied(message, message.content["arrays"])
    reply.content = [TEXT]
    return reply


def with_nothing(message, context):
    return None


BROKEN = [failing, failing_silently, whose_reply_fails, raising_a_message, with_nan,
          with_another_shape, without_arrays, that_changes_what_it_was_sent, with_no_records,
          with_nothing]  # fmt: skip


FAILING = [failing, failing_silently, whose_reply_fails, raising_a_message, with_no_records,
           with_nothing]  # fmt: skip


def looks_like(update, length, std=0.05):
    """The update is of that length under noise; wrong by chance less than once in 10^9."""
    spread = math.sqrt(DIM) * std
    assert abs(np.linalg.norm(update) ** 2 - length**2 - spread**2) < 6.1 * math.sqrt(
        2 * DIM * std**4 + 4 * length**2 * std**2
    )


@pytest.mark.parametrize("size", [1e-3, 1e3, 3e37])
def test_an_update_is_clipped_and_noised(size):
    update = update_of(reply_of(app(moving(np.float32(size)), [private_updates(PRIVACY)])))
    length = min(size * math.sqrt(DIM), 2.0)
    looks_like(update, length)
    assert abs(update.mean() - length / math.sqrt(DIM)) < 6.1 * 0.05 / math.sqrt(DIM)


def test_an_update_of_zero_is_safe():
    looks_like(update_of(reply_of(app(moving(np.float32(0)), [private_updates(PRIVACY)]))), 0)


@pytest.mark.parametrize("broken", BROKEN)
def test_an_app_that_fails_sends_pure_noise_and_no_word(broken):
    reply = reply_of(app(broken, [private_updates(PRIVACY)]))
    assert TEXT not in repr(reply)
    assert set(reply.content["arrays"]) == set(MODEL)
    if broken is not that_changes_what_it_was_sent:
        looks_like(update_of(reply), 0)
    assert dict(reply.content["metrics"]) == {"num-examples": 1}


def test_noise_is_drawn_anew_whatever_the_seeds():
    client = app(moving(np.float32(0)), [private_updates(PRIVACY)])
    replies = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        replies.append(update_of(reply_of(client)))
    assert abs(np.corrcoef(*(each.reshape(-1) for each in replies))[0, 1]) < 6.1 / math.sqrt(DIM)


def test_whole_numbers_go_back_as_they_came():
    def counting(message, context):
        arrays = {name: array.numpy() + 1 for name, array in message.content["arrays"].items()}
        return replied(message, record(**arrays))

    reply = reply_of(app(counting, [private_updates(PRIVACY)]))
    assert reply.content["arrays"]["seen"].numpy() == 7


def test_what_the_app_writes_to_its_message_does_not_leave():
    def counting(message, context):
        arrays = message.content["arrays"]
        arrays["w"].data, arrays["seen"].data = Array(MODEL["w"] + 99).data, Array(np.array(8)).data
        arrays["secret"] = Array(np.ones(3))
        return replied(message, arrays)

    reply = reply_of(app(counting, [private_updates(PRIVACY)]))
    assert reply.content["arrays"]["seen"].numpy() == 7
    assert list(reply.content["arrays"]) == ["w", "seen"]
    looks_like(update_of(reply), 0)


def test_only_metrics_that_are_named_leave():
    said = {"accuracy": 0.5, "loss": math.nan, "patient": 7.0, "list": [1.0, 2.0]}
    client = app(
        moving(np.float32(0), **said),
        [private_updates(PRIVACY, metrics=["accuracy", "loss", "list", "absent"])],
    )
    for kind in ("train", "evaluate", "query"):
        reply = reply_of(client, kind)
        assert dict(reply.content["metrics"]) == {"accuracy": 0.5, "num-examples": 1}


@pytest.mark.parametrize("mod", [private_updates(PRIVACY), guarded()])
@pytest.mark.parametrize("kind", ["evaluate", "query"])
def test_other_messages_get_metrics_alone(mod, kind):
    assert list(reply_of(app(moving(np.float32(1)), [mod]), kind).content) == ["metrics"]


@pytest.mark.parametrize("mod", [private_updates(PRIVACY), guarded()])
@pytest.mark.parametrize("kind", ["evaluate", "query"])
@pytest.mark.parametrize("broken", FAILING)
def test_what_went_wrong_is_never_told(mod, kind, broken):
    reply = reply_of(app(broken, [mod]), kind)
    assert reply.error.reason == "the client's app failed; what went wrong stays with the client"


@pytest.mark.parametrize("broken", [*FAILING, without_arrays])
def test_guarded_training_tells_nothing_either(broken):
    reply = reply_of(app(broken, [guarded()]))
    assert reply.error.reason == "the client's app failed; what went wrong stays with the client"


def test_what_is_not_foreseen_is_told_as_a_failure(monkeypatch):
    def unforeseen(*_):
        raise Silent

    monkeypatch.setattr("privrobust.federated.flower.mods.numbers", unforeseen)
    for mod in (private_updates(PRIVACY), guarded()):
        reply = reply_of(app(moving(np.float32(1)), [mod]))
        assert reply.error.reason.startswith("the client's app failed; ")


@pytest.mark.parametrize("mod", [private_updates(PRIVACY), guarded()])
@pytest.mark.parametrize("kind", ["train", "evaluate", "query"])
@pytest.mark.parametrize("fails", [False, True])
def test_what_the_app_writes_about_its_message_does_not_leave(mod, kind, fails):
    def writing(message, context):
        was = message.metadata
        for field in ("_group_id", "_message_id", "_message_type"):
            was.__dict__[field] = TEXT
        was.__dict__.update(_run_id=7, _src_node_id=7, _dst_node_id=7, _src_task_id=7)
        was.__dict__["_ttl"] = 1e9 + 77
        if fails:
            raise ValueError(TEXT)
        return replied(message, message.content["arrays"])

    reply, honest = (reply_of(app(each, [mod]), kind) for each in (writing, moving(np.float32(0))))
    assert TEXT not in repr(reply)
    said, usual = (dict(each.metadata.__dict__) for each in (reply, honest))
    for of_time in ("_ttl", "_created_at"):
        assert abs(said.pop(of_time) - usual.pop(of_time)) < 60
    assert said == usual


def test_a_text_that_is_raised_never_reaches_the_server():
    clients = [app(failing, [mod]) for mod in (private_updates(PRIVACY), guarded())]
    strategy = RobustStrategy("mean")
    grid = InProcessGrid([*clients, failing])
    strategy.start(grid, record(**MODEL), num_rounds=1)
    told = str(strategy.rejections)
    assert told.count(TEXT) == 1  # of the client without a mod


@pytest.mark.parametrize(
    "model",
    [
        {"w": np.full(3, np.nan, np.float32)},
        {"w": np.full(3, np.inf, np.float32)},
        {"w": np.full(3, 3e38, np.float32)},
        {"w": np.zeros(3, np.float16)},
    ],
)
def test_what_a_server_sends_cannot_stop_the_noise(model):
    with np.errstate(all="ignore"):
        client = app(moving(np.float32(1)), [private_updates(PRIVACY)])
        reply = reply_of(client, model=model)
    assert reply.content["arrays"]["w"].numpy().dtype == model["w"].dtype


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": record(w=MODEL["w"]), "b": record(w=MODEL["w"])},
        {"a": record(w=np.ones((0, 3), np.float32))},
    ],
)
def test_a_message_without_arrays_is_refused(content):
    grid = InProcessGrid([app(moving(np.float32(1)), [private_updates(PRIVACY)])])
    message = Message(RecordDict(content), dst_node_id=11, message_type="train")
    [reply] = grid.pull_messages(grid.push_messages([message]))
    assert reply.error.reason == "a message to train on has one record of arrays, of numbers"


def test_signs_are_of_two_values():
    privacy = UpdatePrivacy(clip_norm=1e3, noise_scale=0.5, message="sign")
    reply = reply_of(app(moving(np.float32(1)), [private_updates(privacy)]))
    signs = reply.content["arrays"]["w"].numpy()
    assert signs.dtype == np.int8
    assert set(np.unique(signs)) == {-1, 1}
    assert abs((signs > 0).mean() - 0.9772) < 6.1 * math.sqrt(0.9772 * 0.0228 / DIM)


def test_a_client_charges_its_own_ledger_and_stops(tmp_path):
    most = spend(PRIVACY.release(2)).epsilon * 1.001

    def ledger(context):
        return Ledger(tmp_path / "l.db", f"client {context.node_id}", max_epsilon=most)

    client = app(moving(np.float32(1)), [private_updates(PRIVACY, ledger=ledger)])
    strategy = RobustStrategy("mean", privacy=PRIVACY)
    result = strategy.start(InProcessGrid([client] * 3), record(**MODEL), num_rounds=3)
    accepted = [metrics["accepted"] for metrics in result.train_metrics_clientapp.values()]
    assert accepted == [3, 3, 0]
    said = "this client sends nothing more: its privacy budget is spent, or cannot be recorded"
    assert strategy.rejections[3] == [(node, f"error 6: {said}") for node in (11, 12, 13)]
    assert len(Ledger(tmp_path / "l.db", "client 12").entries) == 2

    again = app(moving(np.float32(1)), [private_updates(PRIVACY, ledger=ledger)])  # restarted
    assert reply_of(again).error.reason == said


def test_a_ledger_that_fails_lets_nothing_out(tmp_path):
    (tmp_path / "l.db").write_text(
        "no ledger at all, and longer than a header of a hundred bytes" * 4
    )
    client = app(
        moving(np.float32(1)),
        [private_updates(PRIVACY, ledger=lambda context: Ledger(tmp_path / "l.db", "mine"))],
    )
    reply = reply_of(client)
    assert reply.error.reason.startswith("this client sends nothing more")


def test_only_a_budget_is_told_as_a_budget(tmp_path):
    others = Ledger(tmp_path / "l.db", "mine")
    others.charge(Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=1))
    for ledger in (others, lambda: others, lambda context: 1):
        reply = reply_of(app(moving(np.float32(1)), [private_updates(PRIVACY, ledger=ledger)]))
        assert reply.error.reason == (
            "this client sends nothing: its ledger or its settings are refused; why stays with it"
        )
    assert len(others.entries) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"privacy": {"clip_norm": 1}}, "privacy: a dict is not accepted: an UpdatePrivacy"),
        ({"ledger": "ledger.db"}, "ledger: a str is not accepted: a Ledger, or a function"),
    ],
)
def test_what_a_mod_is_made_of(arguments, told):
    with pytest.raises(SpecError, match=told):
        private_updates(**{"privacy": PRIVACY} | arguments)


def test_flowers_own_strategy_can_use_such_clients():
    client = app(moving(np.float32(1)), [private_updates(PRIVACY)])
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(InProcessGrid([client] * 4), record(**MODEL), num_rounds=1)
    looks_like(result.arrays["w"].numpy() - MODEL["w"], 2.0, std=0.025)


@pytest.mark.parametrize("metrics", ["accuracy", [1], 7])
def test_metrics_are_names(metrics):
    with pytest.raises(SpecError, match=r"^metrics: "):
        private_updates(PRIVACY, metrics=metrics)


# --- the unit example ----------------------------------------------------------------------------


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def examples(count=40):
    return torch.randn(count, 4), torch.arange(count) % 2


def gradient_client(settings, **how):
    model = small()
    worker = PrivateWorker(model, examples(), **settings)
    return app(
        lambda message, context: private_gradient(message, model, worker, **how), [guarded()]
    )


SETTINGS = {"clip_norm": 1.0, "noise_scale": 0.1, "batch_size": 10, "seed": 3}


def test_a_gradient_is_that_of_the_worker_at_what_was_sent():
    torch.manual_seed(1)
    data, there = examples(), small()
    with torch.no_grad():
        for each in there.parameters():
            each.add_(0.5)
    sent = ArrayRecord({name: Array(each.numpy()) for name, each in there.state_dict().items()})

    def train(message, context):
        model = small()  # other parameters than those that come
        worker = PrivateWorker(model, data, **SETTINGS)
        return private_gradient(message, model, worker, learning_rate=0.5)

    grid = InProcessGrid([app(train, [guarded()])])
    message = Message(RecordDict({"arrays": sent}), dst_node_id=11, message_type="train")
    [reply] = grid.pull_messages(grid.push_messages([message]))
    expected = PrivateWorker(there, data, **SETTINGS).message()
    moved = torch.cat(
        [
            (torch.from_numpy(reply.content["arrays"][name].numpy()) - each).reshape(-1)
            for name, each in there.state_dict().items()
        ]
    )
    torch.testing.assert_close(moved, -0.5 * expected, rtol=1e-4, atol=1e-6)


def test_local_steps_are_steps_of_the_worker():
    torch.manual_seed(1)
    data, model = examples(), small()
    sent = ArrayRecord(model.state_dict())
    by_hand = small()
    worker = PrivateWorker(by_hand, data, **SETTINGS)
    for _ in range(3):
        step = worker.message()
        with torch.no_grad():
            for each, part in zip(
                by_hand.parameters(),
                step.split([each.numel() for each in by_hand.parameters()]),
                strict=True,
            ):
                each.sub_(0.2 * part.view(each.shape))
    message = Message(RecordDict({"arrays": sent}), dst_node_id=11, message_type="train")
    other = PrivateWorker(model, data, **SETTINGS)
    InProcessGrid([])  # which gives this process an identity
    reply = private_gradient(message, model, other, local_steps=3, learning_rate=0.2)
    assert other.release.steps == 3
    for name, each in by_hand.state_dict().items():
        found = torch.from_numpy(reply.content["arrays"][name].numpy())
        torch.testing.assert_close(found, each, rtol=1e-4, atol=1e-6)


def test_a_model_with_other_parameters_is_refused_and_not_told():
    reply = reply_of(gradient_client(SETTINGS), model={"w": np.ones(3, np.float32)})
    assert reply.error.reason == "the client's app failed; what went wrong stays with the client"


def test_a_worker_of_signs_makes_one_step():
    settings = {**SETTINGS, "message": "sign"}
    sent = {name: each.numpy() for name, each in small().state_dict().items()}
    reply = reply_of(gradient_client(settings), model=sent)
    signs = np.concatenate([each.numpy().reshape(-1) for each in reply.content["arrays"].values()])
    assert set(np.unique(signs)) == {-1, 1}
    model = small()
    InProcessGrid([])
    message = Message(RecordDict({"arrays": record(**sent)}), dst_node_id=11, message_type="train")
    with pytest.raises(SpecError, match="local_steps: 2 of a worker that sends signs; accepted: 1"):
        private_gradient(
            message, model, PrivateWorker(model, examples(), **settings), local_steps=2
        )


def test_a_worker_whose_budget_is_spent_says_so_and_no_more(tmp_path):
    ledger = Ledger(tmp_path / "l.db", "mine", max_epsilon=1e-3)
    sent = {name: each.numpy() for name, each in small().state_dict().items()}
    reply = reply_of(gradient_client({**SETTINGS, "ledger": ledger}), model=sent)
    assert reply.error.reason.startswith("this client sends nothing more: its privacy budget")


def test_examples_spend_what_the_release_of_the_round_says(tmp_path):
    ledger = Ledger(tmp_path / "l.db", "mine")
    sent = {name: each.numpy() for name, each in small().state_dict().items()}
    client = gradient_client({**SETTINGS, "ledger": ledger}, local_steps=2)
    for _ in range(3):
        reply_of(client, model=sent)
    release = Release(noise_scale=0.1, clip_norm=1.0, batch_size=10, dataset_size=40, steps=6)
    assert ledger.spent.epsilon == pytest.approx(spend(release).epsilon)


def test_an_example_is_not_told_by_an_error(tmp_path):
    """With a label that is no class, or without: as many replies, and as many charges."""

    class Data:
        def __init__(self, is_odd):
            self.is_odd = is_odd

        def __len__(self):
            return 40

        def __getitem__(self, place):
            return torch.ones(4), 9 if place in (3, 30) and self.is_odd else place % 2

    sent = {name: each.numpy() for name, each in small().state_dict().items()}
    for is_odd in (False, True):
        ledger = Ledger(tmp_path / "l.db", f"odd {is_odd}")

        def train(message, context, is_odd=is_odd, ledger=ledger):
            model = small()
            settings = {**SETTINGS, "seed": None, "batch_size": 40, "ledger": ledger}
            worker = PrivateWorker(model, Data(is_odd), **settings)
            return private_gradient(message, model, worker)

        client = app(train, [guarded()])
        assert not any(reply_of(client, model=sent).has_error() for _ in range(3))
        assert len(ledger.entries) == 3
