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
from copy import copy
from typing import TypeAlias

import numpy as np
from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from privrobust.core.numbers import shown
from privrobust.errors import BudgetExhausted, PrivRobustError, SpecError, text_of
from privrobust.federated.flower.arrays import SentArrays, Unreadable
from privrobust.federated.flower.replies import in_one_line, numbers, only_arrays
from privrobust.federated.ledger import Ledger
from privrobust.federated.updates import PrivateUpdates, UpdatePrivacy

LedgerOfClient: TypeAlias = Ledger | Callable[[Context], Ledger]

WEIGHT = "num-examples"
"""What Flower's own strategies weight by: how many examples a client has is private."""

_FAILED = "the client's app failed; what went wrong stays with the client"
_SPENT = "this client sends nothing more: its privacy budget is spent, or cannot be recorded"
_UNFIT = "this client sends nothing: its ledger or its settings are refused; why stays with it"
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
        SpecError: `metrics` is no collection of names, or the others are not what they are to be.

    """
    if not isinstance(privacy, UpdatePrivacy):
        raise SpecError(f"privacy: a {type(privacy).__name__} is not accepted: an UpdatePrivacy")
    if ledger is not None and not isinstance(ledger, Ledger) and not callable(ledger):
        raise SpecError(
            f"ledger: a {type(ledger).__name__} is not accepted: a Ledger, or a function of "
            "Flower's context that returns one"
        )
    return _PrivateUpdates(privacy, names_of(metrics), ledger)


def guarded(metrics: Collection[str] = ()) -> Mod:
    """Make a mod for clients whose arrays are private already, as `private_gradient` makes them.

    It lets the arrays of a reply pass, and of the rest what `private_updates` does. That the app
    failed is told, and nothing of why. Whether it fails is not charged anywhere: an app that raises
    because of what its data hold gives that away, in every round. `PrivateWorker.message` does not;
    what else the app does of its data is the app's to see to, the making of a worker included.
    """
    return _Guarded(names_of(metrics))


class _Guarded:
    """Lets arrays of trained messages pass, allowed metrics, and no other word."""

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics

    def __call__(self, msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        """Reply to a message by the app, or that it failed."""
        asked = copy(msg)
        # the app may write to its message, and a reply repeats some of what it answers
        asked.__dict__["_metadata"] = copy(msg.metadata)
        try:
            return self._answer(asked, msg, ctxt, call_next)
        except Exception as error:  # what is not foreseen tells no more than what is
            log.warning("%s: no reply: %s", asked.metadata.message_type, _told(error))
            return _failure(asked, error)

    def _answer(
        self, asked: Message, msg: Message, ctxt: Context, call_next: ClientAppCallable
    ) -> Message:
        """Reply to what was asked, by the app, which gets the message itself."""
        reply = self._reply(asked, msg, ctxt, call_next)
        if isinstance(reply, Exception):
            return _failure(asked, reply)
        content = RecordDict({"metrics": self._allowed(reply)})
        if is_train(asked):
            try:
                content["arrays"] = only_arrays(reply.content)
            except Exception as error:
                log.warning("train: the app sent no arrays: %s", _told(error))
                return _failure(asked, error)
        return Message(content, reply_to=asked)

    def _reply(
        self, asked: Message, msg: Message, ctxt: Context, call_next: ClientAppCallable
    ) -> Message | Exception:
        """Call the app, or return how it failed, which only this machine's log tells."""
        try:
            reply = call_next(msg, ctxt)
            if reply.has_error():
                raise PrivRobustError(str(reply.error.reason))
            if not isinstance(reply.content, RecordDict):
                raise TypeError("its content is no RecordDict")
        except Exception as error:
            kind = asked.metadata.message_type
            log.warning("%s: the app failed: %s: %s", kind, type(error).__name__, _told(error))
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

    def _answer(
        self, asked: Message, msg: Message, ctxt: Context, call_next: ClientAppCallable
    ) -> Message:
        """Reply to training with a noisy update, whatever became of the app."""
        if not is_train(asked):
            return super()._answer(asked, msg, ctxt, call_next)
        try:
            # read before the app is called, which may write to the message
            sent = SentArrays.of(only_arrays(msg.content))
            if not sent.vector.size:
                raise Unreadable("its arrays are empty")
        except Exception as error:
            log.warning("train: the server sent no arrays: %s", _told(error))
            return Message(Error(_REFUSED_CODE, _NOTHING_SENT), reply_to=asked)
        reply = self._reply(asked, msg, ctxt, call_next)
        update = np.zeros_like(sent.vector)
        if isinstance(reply, Message):
            try:
                update = sent.update_in(only_arrays(reply.content))
            except Exception as error:
                log.warning("train: the update counts as 0: %s", _told(error))
        try:
            noisy = self._updates(ctxt).message(update)
        except Exception as error:
            log.warning("train: nothing is sent: %s", _told(error))
            # what a ledger raises is of its budget or its database, but for a SpecError
            spent = isinstance(error, PrivRobustError) and not isinstance(error, SpecError)
            reason = _SPENT if spent or isinstance(error, OSError) else _UNFIT
            return Message(Error(_REFUSED_CODE, reason), reply_to=asked)
        arrays = sent.as_signs(noisy) if self._privacy.message == "sign" else sent.moved(noisy)
        content = RecordDict({"arrays": arrays, "metrics": self._allowed(reply)})
        return Message(content, reply_to=asked)

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


def _failure(asked: Message, error: Exception) -> Message:
    """Reply that the app failed, and nothing of why; that a budget is spent is public."""
    if isinstance(error, BudgetExhausted):
        return Message(Error(_REFUSED_CODE, _SPENT), reply_to=asked)
    return Message(Error(_FAILED_CODE, _FAILED), reply_to=asked)


def _told(error: Exception) -> str:
    """Return what an error says, for this machine's log."""
    return in_one_line(text_of(error))


def names_of(metrics: Collection[str]) -> tuple[str, ...]:
    """Return the names of metrics, each once.

    Raises:
        SpecError: they are no collection of names; one text would be a list of letters.

    """
    is_several = isinstance(metrics, Collection) and not isinstance(metrics, str)
    if not is_several or not all(isinstance(name, str) for name in metrics):
        raise SpecError(f"metrics: {shown(metrics)} is not a list of names, such as ['accuracy']")
    return tuple(dict.fromkeys(metrics))
