"""What clients sent back, sorted into what counts and what does not, and why.

A client may send anything. Whatever it is, the node that was asked ends up in one of two lists, and
nothing is raised.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from privrobust.core.escaping import in_terminal
from privrobust.errors import in_short
from privrobust.federated.flower.arrays import SentArrays, Unreadable, Vector

_MOST_RECORDS = 16
"""In a reply; more are a sign of something else."""


@dataclass(frozen=True, eq=False)
class Accepted:
    """A reply that counts.

    Attributes:
        node: who sent it.
        update: what it adds to the arrays that were sent; no numbers where none was asked for.
        metrics: finite numbers, of names that were allowed.

    """

    node: int
    update: Vector
    metrics: dict[str, float]


class Rejected(NamedTuple):
    """A node that was asked, or that replied, and does not count."""

    node: int
    why: str
    """One line that a terminal shows as it is, whatever the client wrote."""


class Sorted(NamedTuple):
    """Replies of a round."""

    accepted: list[Accepted]
    """In the order of their nodes."""
    rejected: list[Rejected]


@dataclass(frozen=True)
class Expected:
    """What a reply is to be.

    Attributes:
        asked: the message to each node.
        arrays: what an update is counted from; None where none is asked for.
        signs: int8 arrays of signs are taken, too.
        metrics: names that are read.

    """

    asked: Mapping[int, Message]
    arrays: SentArrays | None = None
    signs: bool = False
    metrics: Collection[str] = ()

    def sort(self, replies: Iterable[object], unread: Mapping[int, str]) -> Sorted:
        """Sort replies; of each node that was asked, the first one counts.

        Args:
            replies: whatever came.
            unread: why, of nodes whose replies could not be fetched.

        """
        first: dict[int, Accepted | Rejected] = {
            node: Rejected(node, why) for node, why in unread.items() if node in self.asked
        }
        others: list[Rejected] = []
        of_message = {message.metadata.message_id: node for node, message in self.asked.items()}
        for reply in replies:
            node = self._asked_by(reply, of_message)
            if isinstance(node, Rejected):
                others.append(node)
            elif node in first:
                others.append(Rejected(node, "it replied more than once; the first reply counts"))
            else:
                first[node] = self._judged(node, reply)
        for node in self.asked:
            first.setdefault(node, Rejected(node, "no reply"))
        found = [first[node] for node in sorted(first)]
        return Sorted(
            [each for each in found if isinstance(each, Accepted)],
            [each for each in found if isinstance(each, Rejected)] + others,
        )

    def _asked_by(self, reply: object, of_message: Mapping[str, int]) -> int | Rejected:
        """Return which of the nodes that were asked a reply is of."""
        try:
            assert isinstance(reply, Message)
            metadata = reply.metadata
            source, to = int(metadata.src_node_id), metadata.reply_to_message_id
            is_error = reply.has_error()
            node = of_message.get(to)
        except Exception:
            return Rejected(0, "what came is no message")
        if node is None:
            return Rejected(source, "it replied to nothing that it was asked")
        # of a node that is gone, the link itself replies with an error
        if source == node or (is_error and source not in self.asked):
            return node
        return Rejected(source, f"it replied to what node {node} was asked")

    def _judged(self, node: int, reply: object) -> Accepted | Rejected:
        try:
            assert isinstance(reply, Message)
            return self._read(node, reply)
        except Unreadable as error:
            return Rejected(node, in_one_line(str(error)))
        except Exception as error:  # what no client of Flower's own can send
            return Rejected(node, f"its reply cannot be read ({type(error).__name__})")

    def _read(self, node: int, reply: Message) -> Accepted:
        if reply.has_error():
            code, reason = reply.error.code, reply.error.reason
            raise Unreadable(f"error {code}: {str(reason)[:1000]}")
        if not reply.has_content():
            raise Unreadable("it is empty")
        content = reply.content
        if len(content) > _MOST_RECORDS:
            raise Unreadable(f"it has {len(content)} records")
        update = np.empty(0)
        if self.arrays is not None:
            update = self.arrays.update_in(only_arrays(content), signs=self.signs)
        return Accepted(node, update, numbers(content, self.metrics))


def only_arrays(content: RecordDict) -> ArrayRecord:
    """Return the one record of arrays, whatever its name.

    Raises:
        Unreadable: there is none, or several.

    """
    found = [record for record in content.values() if isinstance(record, ArrayRecord)]
    if len(found) != 1:
        raise Unreadable(f"it has {len(found)} records of arrays, not 1")
    return found[0]


def numbers(content: RecordDict, names: Collection[str]) -> dict[str, float]:
    """Return the metrics of these names that are finite numbers; of several records, nothing."""
    records = [record for record in content.values() if isinstance(record, MetricRecord)]
    if len(records) != 1:
        return {}
    found: dict[str, float] = {}
    for name in names:
        value = records[0].get(name)
        if type(value) is float or (type(value) is int and value.bit_length() < 1000):
            number = float(value)
            if math.isfinite(number):
                found[name] = number
    return found


def medians(accepted: Iterable[Accepted], byzantine: int) -> dict[str, float]:
    """Return the median of every metric that more than 2 f clients sent.

    It lies between two that honest clients sent: of so many, f are less than half.
    """
    values: dict[str, list[float]] = {}
    for each in accepted:
        for name, value in each.metrics.items():
            values.setdefault(name, []).append(value)
    return {name: median(sent) for name, sent in values.items() if len(sent) > 2 * byzantine}


def in_one_line(text: str) -> str:
    """Write a client's text in one line of signs that show."""
    return in_terminal(in_short(text, 200))
