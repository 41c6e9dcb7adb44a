"""Mods for a `ClientApp`: what leaves a client is noised, or named in advance, or stays.

A mod stands between the client's app and the server:

    from flwr.clientapp import ClientApp
    from privrobust.federated.flower import UpdatePrivacy, private_updates

    privacy = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0)
    app = ClientApp(mods=[private_updates(privacy, metrics=["accuracy"])])

It is the first of several: what stands before it may send what it likes.

Flower's own runtime sends the text of an exception to the server, and metrics as they are. Behind
these mods only metrics of names that were allowed leave, as finite numbers, and a fixed sentence
takes the place of every error. Metrics are published as the client computes them, without noise:
what is allowed is given away.
"""

import logging
from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from privrobust.core.numbers import shown
from privrobust.errors import BudgetExhausted, PrivRobustError, SpecError
from privrobust.federated.flower.arrays import SentArrays
from privrobust.federated.flower.replies import in_one_line, numbers, only_arrays
from privrobust.federated.ledger import Ledger
from privrobust.federated.updates import PrivateUpdates, UpdatePrivacy

LedgerOfClient: TypeAlias = Ledger | Callable[[Context], Ledger]

WEIGHT = "num-examples"
"""What Flower's own strategies weight by: how many examples a client has is private."""

_FAILED = "the client's app failed; what went wrong stays with the client"
_SPENT = "this client sends nothing more: its privacy budget is spent, or cannot be recorded"
_NOTHING_SENT = "a message to train on has one record of arrays, of numbers"
_FAILED_CODE, _REFUSED_CODE = 2, 6  # Flower's codes of an app that raised, of a mod that refuses

log = logging.getLogger("flwr")


def private_updates(
    privacy: UpdatePrivacy, *, metrics: Collection[str] = (), ledger: LedgerOfClient | None = None
) -> Mod:
    """Make a mod that clips and noises whole updates: the unit of privacy is the client.

    The update is what the app's reply adds to the arrays that were sent, as one vector: arrays of
    floats. Whole numbers (a count of batches) go back as they came. Of an app that fails, or whose
    arrays are not those that were sent, or not finite, the update counts as 0. It is clipped,
    noised under keys of the operating system, and added to what was sent; a server that counts
    votes (`message="sign"`) gets int8 signs instead.

    Formal guarantee:
        What leaves in reply to messages of the kind "train" reveals no more of the client's data
        than `privacy.release(rounds)` is charged for, whatever the server sends and whatever the
        app replies, for as many rounds as there were messages. That an app failed is not told,
        except by the absence of metrics that were allowed.
        Not covered: allowed metrics, how long the app takes, replies to other kinds of messages
        (metrics and nothing else), an app that ends its process, what it sends or writes elsewhere,
        and mods that stand before this one.

    Args:
        privacy: public settings, the same as the server's.
        metrics: names that may leave.
        ledger: where every message is recorded before it leaves; for nodes that share a process,
            a function of Flower's context that returns each its own. Without it, a client does not
            know what earlier processes of its own have sent.

    Raises (when it is made):
        SpecError: `metrics` is no collection of names.

    """
    return _PrivateUpdates(privacy, names_of(metrics), ledger)


def guarded(metrics: Collection[str] = ()) -> Mod:
    """Make a mod for clients whose arrays are private already, as `private_gradient` makes them.

    It lets the arrays of a reply pass, and of the rest what `private_updates` does. That the app
    failed is told, and nothing of why.
    """
    return _Guarded(names_of(metrics))


class _Guarded:
    """Lets arrays of trained messages pass, allowed metrics, and no other word."""

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics

    def __call__(self, msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        """Reply to a message by the app, or that it failed."""
        reply = self._reply(msg, ctxt, call_next)
        if isinstance(reply, Exception):
            return _failure(msg, reply)
        content = RecordDict({"metrics": self._allowed(reply)})
        if is_train(msg):
            try:
                content["arrays"] = only_arrays(reply.content)
            except Exception as error:
                log.warning("train: the app sent no arrays: %s", in_one_line(str(error)))
                return _failure(msg, error)
        return Message(content, reply_to=msg)

    def _reply(
        self, msg: Message, ctxt: Context, call_next: ClientAppCallable
    ) -> Message | Exception:
        """Call the app, or return how it failed, which only this machine's log tells."""
        try:
            reply = call_next(msg, ctxt)
            if reply.has_error():
                raise PrivRobustError(str(reply.error.reason))
            if not isinstance(reply.content, RecordDict):
                raise TypeError("its content is no RecordDict")
        except Exception as error:
            log.warning(
                "%s: the app failed: %s: %s",
                msg.metadata.message_type,
                type(error).__name__,
                in_one_line(str(error)),
            )
            return error
        return reply

    def _allowed(self, reply: Message | Exception) -> MetricRecord:
        """Return the metrics that may leave."""
        found = {} if isinstance(reply, Exception) else numbers(reply.content, self._metrics)
        return MetricRecord({**found, WEIGHT: 1})


class _PrivateUpdates(_Guarded):
    """Clips and noises updates; each node of a process has its own count of them."""

    def __init__(
        self, privacy: UpdatePrivacy, metrics: tuple[str, ...], ledger: LedgerOfClient | None
    ) -> None:
        super().__init__(metrics)
        self._privacy = privacy
        self._ledger = ledger
        self._of_node: dict[int, PrivateUpdates] = {}

    def __call__(self, msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        """Reply to training with a noisy update, whatever became of the app."""
        if not is_train(msg):
            return super().__call__(msg, ctxt, call_next)
        try:
            # read before the app is called, which may write to the message
            sent = SentArrays.of(only_arrays(msg.content))
        except Exception as error:
            log.warning("train: the server sent no arrays: %s", in_one_line(str(error)))
            return Message(Error(_REFUSED_CODE, _NOTHING_SENT), reply_to=msg)
        reply = self._reply(msg, ctxt, call_next)
        update = np.zeros_like(sent.vector)
        if isinstance(reply, Message):
            try:
                update = sent.update_in(only_arrays(reply.content))
            except Exception as error:
                log.warning("train: the update counts as 0: %s", in_one_line(str(error)))
        try:
            noisy = self._updates(ctxt).message(update)
        except Exception as error:
            log.warning("train: nothing is sent: %s", in_one_line(str(error)))
            return Message(Error(_REFUSED_CODE, _SPENT), reply_to=msg)
        arrays = sent.as_signs(noisy) if self._privacy.message == "sign" else sent.moved(noisy)
        content = RecordDict({"arrays": arrays, "metrics": self._allowed(reply)})
        return Message(content, reply_to=msg)

    def _updates(self, ctxt: Context) -> PrivateUpdates:
        node = ctxt.node_id
        if node not in self._of_node:
            ledger = self._ledger
            of_node = ledger if ledger is None or isinstance(ledger, Ledger) else ledger(ctxt)
            self._of_node[node] = PrivateUpdates(self._privacy, ledger=of_node)
        return self._of_node[node]


def is_train(msg: Message) -> bool:
    """Tell whether a message asks for training, of whatever name."""
    return msg.metadata.message_type.split(".")[0] == "train"


def _failure(msg: Message, error: Exception) -> Message:
    """Reply that the app failed, and nothing of why; that a budget is spent is public."""
    if isinstance(error, BudgetExhausted):
        return Message(Error(_REFUSED_CODE, _SPENT), reply_to=msg)
    return Message(Error(_FAILED_CODE, _FAILED), reply_to=msg)


def names_of(metrics: Collection[str]) -> tuple[str, ...]:
    """Return the names of metrics, each once.

    Raises:
        SpecError: they are no collection of names; one text would be a list of letters.

    """
    is_several = isinstance(metrics, Collection) and not isinstance(metrics, str)
    if not is_several or not all(isinstance(name, str) for name in metrics):
        raise SpecError(f"metrics: {shown(metrics)} is not a list of names, such as ['accuracy']")
    return tuple(dict.fromkeys(metrics))
