"""How a server waits: no node holds a round, and no node costs another its reply."""

import time
from threading import Event

import numpy as np
import pytest
from flwr.app import Error, Message
from in_process import InProcessGrid, moving, record

from privrobust.federated.flower import RobustStrategy, asking

ZERO = np.zeros(1, np.float32)
CLIENTS = [moving(np.float32([step])) for step in (1, 2, 3, 4, 5)]


def trained(grid, timeout, num_rounds=1):
    strategy = RobustStrategy("median", 1)
    begun = time.monotonic()
    result = strategy.start(grid, record(w=ZERO), num_rounds=num_rounds, timeout=timeout)
    accepted = [metrics["accepted"] for metrics in result.train_metrics_clientapp.values()]
    return strategy.rejections, accepted, time.monotonic() - begun


class Link(InProcessGrid):
    """As that of a network: what has expired is told as an error."""

    def pull_messages(self, message_ids):
        [message_id] = message_ids
        [message] = [each for each in self.asked if each.metadata.message_id == message_id]
        if time.time() > message.metadata.created_at + message.metadata.ttl:
            return [Message(Error(3, "Message Unavailable"), reply_to=message)]
        return self.fetched(message, lambda: super(Link, self).pull_messages([message_id]))


def test_a_reply_that_never_arrives_whole_costs_nobody_else_theirs(monkeypatch):
    monkeypatch.setattr(asking, "_GRACE", 0.2)
    over = Event()
    pulls = []

    class Stalling(Link):
        def fetched(self, message, fetch):
            node = message.metadata.dst_node_id
            pulls.append(node)
            if node in (11, 13):
                over.wait(60)
            return fetch()

    try:
        rejections, accepted, seconds = trained(Stalling(CLIENTS), 1.0, num_rounds=2)
    finally:
        over.set()
    assert accepted == [3, 3]
    assert rejections[2] == [(node, "its reply did not arrive whole") for node in (11, 13)]
    assert seconds < 20
    assert sorted(pulls) == [11, 11, 12, 12, 13, 13, 14, 14, 15, 15]


def test_a_reply_may_take_long_to_arrive_and_is_fetched_once():
    pulls = []

    class Slow(Link):
        def fetched(self, message, fetch):
            pulls.append(message)
            time.sleep(0.5)
            return fetch()

    _, accepted, seconds = trained(Slow(CLIENTS), timeout=30)
    assert accepted == [5]
    assert len(pulls) == 5
    assert seconds < 15


def test_who_replies_in_the_last_moment_counts():
    timeout = 0.5

    class Late(Link):
        def fetched(self, message, fetch):
            return fetch() if time.monotonic() > self.begun + timeout else []

        def push_messages(self, messages):
            self.begun = time.monotonic()
            return super().push_messages(messages)

    rejections, accepted, _ = trained(Late(CLIENTS), timeout)
    assert accepted == [5]
    assert rejections == {1: []}


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_round_that_has_hardly_any_time_has_a_last_look(timeout):
    assert trained(InProcessGrid(CLIENTS), timeout)[1] == [5]
