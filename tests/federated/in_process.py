"""A federation in one process: Flower's grid and nodes without a network."""

from itertools import count

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity


class InProcessGrid(Grid):
    """Calls clients as they are asked; what they raise is told as Flower's runtime tells it.

    A client is a `ClientApp`, or any function of (message, context) that returns a reply, a list of
    what comes instead of one, or None for nothing. An exception in `unparsed` is raised when the
    reply is fetched, as parsing it from bytes would.
    """

    def __init__(self, clients, partitions=None):
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.clients = dict(enumerate(clients, start=11)) if isinstance(clients, list) else clients
        self.contexts = {
            node: Context(1, node, {"partition-id": place}, RecordDict(), {})
            for place, node in enumerate(self.clients)
        }
        self.asked = []
        self.unparsed = {}
        self._replies = {}
        self._ids = count(1)

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.clients)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message {next(self._ids)}"
            ids.append(message.metadata.message_id)
            self.asked.append(message)
            self._replies[ids[-1]] = self._called(message)
        return ids

    def _called(self, message):
        node = message.metadata.dst_node_id
        received = Message(message.content.copy(), reply_to=message)  # a copy of its own
        received.__dict__["_metadata"] = message.metadata
        try:
            replies = self.clients[node](received, self.contexts[node])
        except Exception as error:
            replies = Message(Error(2, f"{type(error)}:<'{error}'>"), reply_to=message)
        if replies is None:
            return []
        return replies if isinstance(replies, list) else [replies]

    def pull_messages(self, message_ids):
        found = []
        for message_id in list(message_ids):
            replies = self._replies.pop(message_id, [])
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            found += replies
        return found

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))


def record(**arrays):
    """A record of numpy arrays by name."""
    return ArrayRecord({name: Array(np.asarray(each)) for name, each in arrays.items()})


def replied(message, arrays, **metrics):
    """A reply as Flower's tutorials make it."""
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": 10, **metrics})}
    return Message(RecordDict(content), reply_to=message)


def moving(*updates, **metrics):
    """A client that adds these numbers to its arrays of floats, in their order."""

    def client(message, context):
        arrays, left = dict(message.content["arrays"]), list(updates)
        for name, array in arrays.items():
            values = array.numpy()
            if values.dtype.kind == "f":
                arrays[name] = Array((values + left.pop(0)).astype(values.dtype))
        return replied(message, ArrayRecord(arrays), **metrics)

    return client
