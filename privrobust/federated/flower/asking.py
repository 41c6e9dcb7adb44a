"""Whom a server asks, and how it waits: for nodes, and for their replies, and never for ever."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import TypeVar

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from privrobust.errors import shown
from privrobust.noise.streams import happen

T = TypeVar("T")

_WORD_BYTES = 8

# Seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 3.0
_LEAST_PATIENCE, _MOST_PATIENCE = 0.01, 0.1  # with one reply, before others are asked for
_GRACE = 2.0  # what is fetched when the time is up has this long to arrive

TTL_MARGIN = 60.0
"""Seconds by which messages outlive a round's `timeout`.

Flower takes a reply away once its message has expired. Sending many takes a while, too.
"""


class GridFailed(Exception):
    """Says in one line how Flower's grid failed, whoever the clients are."""


def nodes_there(grid: Grid, least: int, wait: float) -> list[int]:
    """Return the nodes that are there, as soon as they are so many or the time is up.

    Args:
        grid: Flower's.
        least: how many to wait for.
        wait: seconds.

    Raises:
        GridFailed: it cannot say.

    """
    for _ in _pauses(wait):
        nodes = _got("which nodes are there", lambda: sorted(set(grid.get_node_ids())))
        if len(nodes) >= least:
            break
    return nodes


def drawn(nodes: Sequence[int], rate: float) -> list[int]:
    """Draw nodes, each independently with this probability, by the operating system."""
    if rate == 1:
        return list(nodes)
    words = np.frombuffer(secrets.token_bytes(_WORD_BYTES * len(nodes)), np.uint64)
    return [node for node, joins in zip(nodes, happen(words, rate), strict=True) if joins]


def replies_to(
    grid: Grid, messages: Sequence[Message], timeout: float
) -> tuple[list[Message], dict[int, str]]:
    """Send messages and return their replies, and why others could not be fetched, by node.

    Replies are fetched one by one. In a batch, one that cannot be parsed would take the others
    with it, and one that does not arrive whole would hold them for hours: Flower's grid waits for
    what a node announced, whether or not it sends it.

    Raises:
        GridFailed: it cannot send.

    """
    if not messages:
        return [], {}
    sent = _got("sending messages", lambda: set(grid.push_messages(messages)))
    waiting = {
        message.metadata.message_id: message.metadata.dst_node_id
        for message in messages
        if message.metadata.message_id in sent
    }
    unread = {
        message.metadata.dst_node_id: "the message to it could not be sent"
        for message in messages
        if message.metadata.message_id not in sent
    }
    replies: list[Message] = []
    under_way: dict[str, _Pull] = {}

    def look(message_id: str, patience: float) -> None:
        """Take a reply if it is there, or will be that soon."""
        pull = under_way.get(message_id)
        if pull is None:
            pull = under_way[message_id] = _Pull(grid, message_id)
            pull.start()
        pull.join(patience)
        if pull.is_alive():
            return
        del under_way[message_id]
        if pull.failure is not None:
            unread[waiting.pop(message_id)] = pull.failure
        elif pull.found:
            replies.extend(pull.found)
            del waiting[message_id]

    # all who stall together cost the others a quarter of their time
    patience = max(_LEAST_PATIENCE, min(_MOST_PATIENCE, timeout / (4 * len(messages))))
    for _ in _pauses(timeout):
        for message_id in list(waiting):
            look(message_id, patience)
        if not waiting:
            break
    for message_id, pull in list(under_way.items()):
        look(message_id, max(0.0, pull.begun + _GRACE - time.monotonic()))
    for message_id in under_way:
        unread[waiting[message_id]] = "its reply did not arrive whole"
    return replies, unread


class _Pull(Thread):
    """Fetches the reply to one message; left alone if that takes too long.

    Flower gives up after hours, or when the grid is closed, which is what ends a program.
    """

    def __init__(self, grid: Grid, message_id: str) -> None:
        super().__init__(daemon=True)
        self._grid, self._message_id = grid, message_id
        self.begun = time.monotonic()
        self.found: list[Message] = []
        self.failure: str | None = None

    def run(self) -> None:
        try:
            self.found = list(self._grid.pull_messages([self._message_id]))
        except Exception as error:  # whatever parsing a client's bytes raises
            self.failure = f"its reply cannot be fetched ({type(error).__name__})"


def _got(what: str, ask: Callable[[], T]) -> T:
    """Ask Flower's grid.

    Raises:
        GridFailed: it raises anything.

    """
    try:
        return ask()
    except Exception as error:  # each grid has its own
        raise GridFailed(f"{what}: the grid failed ({shown(error, 200)})") from error


def _pauses(seconds: float) -> Iterator[None]:
    """Yield at once, then after ever longer pauses until so many seconds are over."""
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, _LONGEST_PAUSE)
        yield
