"""Whom a server asks, and how it waits: for nodes, and for their replies, and never for ever."""

import secrets
import time
from collections.abc import Iterator, Sequence

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from privrobust.noise.streams import happen

_WORD_BYTES = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 3.0  # seconds


def nodes_there(grid: Grid, least: int, wait: float) -> list[int]:
    """Return the nodes that are there, as soon as they are so many or the time is up.

    Args:
        grid: Flower's.
        least: how many to wait for.
        wait: seconds.

    """
    for _ in _pauses(wait):
        nodes = sorted(set(grid.get_node_ids()))
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
    with it.
    """
    sent = set(grid.push_messages(messages)) if messages else set()
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
    if not waiting:
        return replies, unread
    for _ in _pauses(timeout):
        for message_id, node in list(waiting.items()):
            try:
                found = list(grid.pull_messages([message_id]))
            except Exception as error:  # whatever parsing a client's bytes raises
                unread[node] = f"its reply cannot be parsed ({type(error).__name__})"
                del waiting[message_id]
                continue
            if found:
                replies += found
                del waiting[message_id]
        if not waiting:
            break
    return replies, unread


def _pauses(seconds: float) -> Iterator[None]:
    """Yield at once, then after ever longer pauses until so many seconds are over."""
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, _LONGEST_PAUSE)
        yield
