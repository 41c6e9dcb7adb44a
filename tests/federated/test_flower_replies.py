"""Whatever a client sends, it is accepted or rejected with a reason, and the others count."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from hostile_clients import EXPLODED, HOSTILE, REASONS, ZEROS, huge_claim, saved, sending
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_process import InProcessGrid, moving, record, replied

from privrobust.aggregators import available_aggregators, available_pre_aggregators, get_aggregator
from privrobust.federated.flower import RobustStrategy
from privrobust.federated.flower.arrays import SentArrays, Unreadable

OF_MESSAGES = [each for each in available_aggregators() if not get_aggregator(each).public_examples]
RULES = [*OF_MESSAGES, *(f"{each} + median" for each in available_pre_aggregators())]
HONEST = 7  # as many as Bulyan needs beside one
MODEL = {"w": np.ones((2, 3), np.float32), "b": np.float32([1, 2]), "count": np.array(3)}
START = np.concatenate([MODEL["w"].reshape(-1), MODEL["b"]])
UPDATES = np.random.default_rng(0).normal(size=(HONEST, len(START))).astype(np.float32)


def beside(hostile, rule):
    """One round of seven honest clients and a hostile one, which is node 11."""

    def client(message, context):
        return hostile(message, replied(message, message.content["arrays"], accuracy=0.5))

    honest = [moving(each[:6].reshape(2, 3), each[6:], accuracy=0.9) for each in UPDATES]
    strategy = RobustStrategy(rule, 1, trusted_node=12, metrics=["accuracy"])
    strategy._generator.manual_seed(7)
    result = strategy.start(
        InProcessGrid([client, *honest]), record(**MODEL), num_rounds=1, timeout=0.02
    )
    return strategy, result


def vector(arrays):
    return np.concatenate([arrays[name].numpy().reshape(-1) for name in ("w", "b")])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_client_is_rejected_and_the_others_are_aggregated(name):
    seen = torch.from_numpy(np.stack([(START + each) - START for each in UPDATES]))
    for rule in RULES:
        strategy, result = beside(HOSTILE[name], rule)
        reasons = [why for node, why in strategy.rejections[1] if node == 11]
        assert REASONS[name] in "; ".join(reasons)
        assert all(why.isprintable() and len(why) < 400 for _, why in strategy.rejections[1])
        metrics = result.train_metrics_clientapp[1]
        assert (metrics["asked"], metrics["accepted"], metrics["rejected"]) == (
            HONEST + 1,
            HONEST,
            1,
        )
        assert metrics["accuracy"] == 0.9
        step = get_aggregator(rule, 1)(seen, torch.Generator().manual_seed(7)).numpy()
        np.testing.assert_allclose(vector(result.arrays), START + step, rtol=1e-6, atol=1e-6)
        assert list(result.arrays) == list(MODEL)
        assert result.arrays["count"].data == record(**MODEL)["count"].data
    assert not EXPLODED


def odd(arrays=None, **metrics):
    """A reply that is odd, and harmless."""

    def client(message, reply):
        content = {"model": arrays or message.content["arrays"]}
        return Message(RecordDict({**content, "said": MetricRecord(metrics)}), reply_to=message)

    return client


@pytest.mark.parametrize(
    "harmless",
    [
        odd(),
        odd(**{"num-examples": 10**9, "accuracy": math.nan}),
        odd(**{"num-examples": -1, "accuracy": 1e308}),
        odd(**{"num-examples": [math.nan] * 5, "accuracy": [0.1, 0.2]}),
        odd(**{"num-examples": 10**400, "accuracy": 10**400}),
        lambda message, reply: sending(message, data=saved(np.asfortranarray(ZEROS + 1))),
        lambda message, reply: sending(message, data=saved((ZEROS + 1).astype(">f4"))),
        lambda message, reply: sending(message, data=saved((ZEROS + 1).astype(np.float16))),
        lambda message, reply: sending(message, data=saved((ZEROS + 1).astype(np.float64))),
        lambda message, reply: [reply, reply],
    ],
)
def test_what_is_odd_and_harmless_counts_once(harmless):
    _, result = beside(harmless, "mean")
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["asked"], metrics["accepted"]) == (HONEST + 1, HONEST + 1)
    step = np.concatenate([UPDATES, np.zeros((1, 8))]).mean(axis=0)
    np.testing.assert_allclose(vector(result.arrays), START + step, rtol=1e-6, atol=1e-6)
    assert metrics["accuracy"] in (0.9, pytest.approx(0.9))


def test_a_second_reply_is_told():
    strategy, _ = beside(lambda message, reply: [reply, reply], "mean")
    assert strategy.rejections[1] == [(11, "it replied more than once; the first reply counts")]


def test_a_claimed_shape_costs_nothing():
    tracemalloc.start()
    beside(huge_claim, "median")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


FLOATS = [np.float16, np.float32, np.float64]
NUMBERS = st.floats(width=16, allow_nan=False, allow_infinity=False)


@settings(max_examples=40)
@given(
    st.lists(NUMBERS, min_size=6, max_size=6),
    st.sampled_from(FLOATS),
    st.sampled_from(FLOATS),
    st.sampled_from("CF"),
    st.sampled_from("<>"),
)
def test_arrays_of_any_width_and_order_are_what_numpy_reads(values, sent, replied_in, order, end):
    there = np.zeros((2, 3), sent)
    back = np.array(values, dtype=replied_in).reshape(2, 3, order=order)
    back = np.asarray(back, order=order).astype(back.dtype.newbyteorder(end), order="K")
    update = SentArrays.of(record(w=there)).update_in(record(w=back))
    np.testing.assert_array_equal(update, Array(back).numpy().reshape(-1).astype(np.float64))


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 200))
@example(b"", 0, 0)
def test_any_bytes_are_read_or_refused(noise, start, end):
    """Of a good array, a part is replaced by anything."""
    good = saved(ZEROS)
    array = Array("float32", (2, 3), "numpy.ndarray", good[:start] + noise + good[end:])
    try:
        update = SentArrays.of(record(w=ZEROS)).update_in(ArrayRecord({"w": array}))
    except Unreadable:
        return
    assert update.shape == (6,)
    assert np.isfinite(update).all()


@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (0,), (2, 0, 3), (1, 2, 3, 4), (10**4,), (1,) * 30]
)
def test_arrays_of_any_shape_go_there_and_back(shape):
    sent = SentArrays.of(record(w=np.zeros(shape, np.float32), rest=np.zeros(1)))
    there = np.arange(sent.vector.size, dtype=np.float64)
    moved = sent.moved(there)
    assert moved["w"].numpy().shape == shape
    assert moved["w"].dtype == "float32"
    np.testing.assert_array_equal(sent.update_in(moved), there)


def test_numbers_beyond_a_type_become_its_largest():
    sent = SentArrays.of(record(w=np.array([6e4, -6e4, 1], np.float16)))
    moved = sent.moved(np.array([1e300, -np.inf, 1e-300]))["w"].numpy()
    np.testing.assert_array_equal(moved, np.array([65504, -65504, 1], np.float16))


def test_signs_are_taken_where_a_rule_counts_votes():
    sent = SentArrays.of(record(w=np.ones((2, 3), np.float32), b=np.ones(1)))
    signs = np.array([1.0, -1, 1, -1, 1, -1, 1])
    reply = sent.as_signs(signs)
    assert {each.numpy().dtype for each in reply.values()} == {np.dtype(np.int8)}
    np.testing.assert_array_equal(sent.update_in(reply, signs=True), signs)
    with pytest.raises(Unreadable, match="int8, not floats"):
        sent.update_in(reply)
