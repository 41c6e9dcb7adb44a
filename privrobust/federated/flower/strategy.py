"""A strategy of Flower's for every rule of ours, which no client can end."""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from privrobust.accountants import Release
from privrobust.aggregators import Aggregator, Chain, get_aggregator
from privrobust.core.numbers import as_float, as_whole, shown
from privrobust.errors import PrivRobustError, SpecError
from privrobust.federated.flower.arrays import SentArrays, Unreadable, Vector
from privrobust.federated.flower.asking import (
    TTL_MARGIN,
    GridFailed,
    drawn,
    nodes_there,
    replies_to,
)
from privrobust.federated.flower.charging import Charging
from privrobust.federated.flower.mods import names_of
from privrobust.federated.flower.replies import Accepted, Expected, Rejected, Sorted, medians
from privrobust.federated.ledger import Ledger
from privrobust.federated.updates import UpdatePrivacy

log = logging.getLogger("flwr")

_OURS = ("accepted", "asked", "delta", "epsilon", "rejected")
"""Metrics that every round has."""


@dataclass
class _Round:
    """What is under way."""

    expected: Expected = field(default_factory=lambda: Expected({}))
    unread: dict[int, str] = field(default_factory=dict)


class RobustStrategy(Strategy):
    """Trains by any rule: `x <- x + server_learning_rate * rule(updates)`.

    An update is what a client's arrays add to those that it was sent; to a rule that counts votes
    clients may send int8 signs instead. Whatever a client sends, or does not, it is accepted or
    rejected, and a line says why; its claims of how many examples it has count for nothing. Where
    too few replies are accepted for the rule, the model stays as it is.

        strategy = RobustStrategy(
            "nnm + trimmed_mean", byzantine=2, privacy=privacy, ledger=Ledger("ledger.db", "digits")
        )
        result = strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=100)

    Formal guarantee:
        With `privacy`, the epsilon of each round's metrics bounds what all messages of one client
        tell of one of its units, whoever sees them, the server included, if the client's mod does
        what `privacy` states; and so whatever the server makes of them. A round is charged before
        its messages go out, and to all clients alike under one name, asked or not: they hold
        different people's data, so each spends at most what is charged (parallel composition); of
        a person whose data several clients hold, what they spend adds up.
        Clients that trust no server's record keep ledgers of their own (`private_updates`).
        Sampling by the server amplifies nothing here: it sees whom it asks. What amplifies is a
        coin of the client's own, `UpdatePrivacy.participation`. Not covered: metrics that clients
        send, and clients whose mod is another than stated.

    Args:
        aggregator: a rule as a spec names it, or itself.
        byzantine: f, how many clients may be hostile.
        privacy: what every client does: of whole updates the `UpdatePrivacy` of their mod, of
            examples the `Release` of one round (of the client with the highest sampling rate). None
            is no privacy, and an infinite epsilon.
        ledger: where rounds are charged; training ends when it refuses one.
        server_learning_rate: of the step along the aggregate.
        server_momentum: as of `torch.optim.SGD`.
        sampling_rate: with which each node that is there is asked, independently (Poisson), by the
            operating system's randomness.
        metrics: names of clients' metrics that are read; the median of each is reported, where more
            than 2 f accepted replies have it: of fewer, hostile clients can set it.
        evaluate_every: after how many rounds clients evaluate; 0 is never.
        min_nodes: how many nodes a round waits for.
        wait: for how many seconds at most; then it makes do with those that are there.
        trusted_node: who is in place 0, for rules that trust a place (`monna`).
        delta: of the epsilon, where neither the ledger nor `privacy` has one.

    Raises:
        SpecError: one line that names the argument.

    """

    def __init__(
        self,
        aggregator: Aggregator | str = "median",
        byzantine: int = 0,
        *,
        privacy: UpdatePrivacy | Release | None = None,
        ledger: Ledger | None = None,
        server_learning_rate: float = 1.0,
        server_momentum: float = 0.0,
        sampling_rate: float = 1.0,
        metrics: Collection[str] = (),
        evaluate_every: int = 0,
        min_nodes: int = 1,
        wait: float = 600.0,
        trusted_node: int | None = None,
        delta: float = 1e-5,
    ) -> None:
        super().__init__()
        self.byzantine = as_whole("byzantine", byzantine, "a whole number, 0 or more", least=0)
        self.aggregator = (
            get_aggregator(aggregator, self.byzantine)
            if isinstance(aggregator, str)
            else aggregator
        )
        if not isinstance(self.aggregator, Aggregator):
            raise SpecError(f"aggregator: {shown(aggregator)} is no rule, nor the name of one")
        if self.aggregator.public_examples:
            raise SpecError(
                f"aggregator: {shown(aggregator)} takes a gradient of the server's own examples, "
                "which this strategy has none of; accepted: a rule of messages alone"
            )
        rule = self.aggregator.rule if isinstance(self.aggregator, Chain) else self.aggregator
        if rule.knows_noise or rule.knows_reach:
            raise SpecError(
                f"aggregator: {shown(aggregator)} is told of the run's noise, which nobody here "
                "knows; accepted: a rule of messages alone"
            )
        if rule.by_place and trusted_node is None:
            raise SpecError(
                f"trusted_node: {shown(aggregator)} trusts who is in place 0; accepted: the "
                "number of a node"
            )
        if trusted_node is not None:
            trusted_node = as_whole("trusted_node", trusted_node, "the number of a node", least=0)
        self._by_place, self.trusted_node = rule.by_place, trusted_node
        self._learning_rate = as_float(
            "server_learning_rate", server_learning_rate, "a finite number above 0", above=0.0
        )
        self._momentum = as_float(
            "server_momentum", server_momentum, "in [0, 1)", least=0.0, below=1.0
        )
        self._sampling_rate = as_float(
            "sampling_rate", sampling_rate, "in (0, 1]", above=0.0, most=1.0
        )
        self._evaluate_every = as_whole(
            "evaluate_every", evaluate_every, "a whole number, 0 or more", least=0
        )
        self._min_nodes = as_whole("min_nodes", min_nodes, "a whole number, 1 or more", least=1)
        self._wait = as_float("wait", wait, "a number of seconds, 0 or more", least=0.0)
        self._metrics = names_of(metrics)
        if taken := sorted(set(_OURS) & set(self._metrics)):
            raise SpecError(f"metrics: {taken[0]!r} is one of the strategy's own")
        self._privacy = Charging(privacy, ledger, delta, self._sends_signs)
        self._generator = torch.Generator().manual_seed(secrets.randbits(63))
        self._velocity: Vector | None = None
        self._timeout: float | None = None
        self._round = _Round()
        self.rejections: dict[int, list[Rejected]] = {}
        """By round, who did not count in training, and why."""
        self.ended: str | None = None
        """Why training ended before its last round, if it did."""

    @property
    def _sends_signs(self) -> bool:
        return self.aggregator.message == "sign"

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Train, as Flower's own `start` does; arguments as there.

        A round ends after `timeout` seconds, and up to two more for what is arriving then; whose
        reply is not there, whole, is rejected. When the ledger refuses a round, or cannot write it,
        or Flower's grid fails, training ends and what there is until then is returned; `ended` says
        why. Not so if `evaluate_fn` raises: that leaves `start`, and the result is lost.

        Raises:
            SpecError: an argument, or the initial arrays cannot be trained.

        """
        _check(initial_arrays)
        num_rounds = as_whole("num_rounds", num_rounds, "a whole number, 0 or more", least=0)
        self._timeout = as_float("timeout", timeout, "a number of seconds, 0 or more", least=0.0)
        result, begun = Result(arrays=initial_arrays), time.monotonic()
        self._velocity, self.ended = None, None
        self.rejections = {}
        log.info("Starting %s:", type(self).__name__)
        self.summary()
        self._evaluate_here(0, initial_arrays, evaluate_fn, result)
        for server_round in range(1, num_rounds + 1):
            log.info("[ROUND %s/%s]", server_round, num_rounds)
            try:
                self._train(server_round, grid, train_config or ConfigRecord(), result)
                self._evaluate(server_round, grid, evaluate_config or ConfigRecord(), result)
            except GridFailed as error:
                self.ended = f"in round {server_round}: {error}"
            except PrivRobustError as error:
                # of settings that never were accepted, there is nothing to return
                if isinstance(error, SpecError) and server_round == 1:
                    raise
                self.ended = f"before round {server_round}: {error}"
            if self.ended is not None:
                log.warning("Training ends %s", self.ended)
                break
            self._evaluate_here(server_round, result.arrays, evaluate_fn, result)
        log.info("Training took %.2fs", time.monotonic() - begun)
        return result

    def _train(self, server_round: int, grid: Grid, config: ConfigRecord, result: Result) -> None:
        messages = list(self.configure_train(server_round, result.arrays, config, grid))
        trained, metrics = self.aggregate_train(server_round, self._replies(grid, messages))
        if trained is not None:
            result.arrays = trained
        if metrics is not None:
            result.train_metrics_clientapp[server_round] = metrics

    def _evaluate(
        self, server_round: int, grid: Grid, config: ConfigRecord, result: Result
    ) -> None:
        messages = list(self.configure_evaluate(server_round, result.arrays, config, grid))
        if not messages:
            return
        evaluated = self.aggregate_evaluate(server_round, self._replies(grid, messages))
        if evaluated is not None:
            result.evaluate_metrics_clientapp[server_round] = evaluated

    def _replies(self, grid: Grid, messages: Sequence[Message]) -> list[Message]:
        assert self._timeout is not None
        replies, self._round.unread = replies_to(grid, messages, self._timeout)
        return replies

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Draw who is asked, charge the round, and make its messages.

        Raises:
            BudgetExhausted: the ledger refuses the round; nothing was sent.
            GridFailed: nobody knows which nodes are there.

        """
        sent = _check(arrays)
        nodes = drawn(nodes_there(grid, self._min_nodes, self._wait), self._sampling_rate)
        self._round = _Round()
        if reason := self._too_few(nodes):
            log.warning("Nobody is asked, and the model stays: %s", reason)
            return []
        self._privacy.charge(server_round)
        messages = self._messages(MessageType.TRAIN, server_round, arrays, config, nodes)
        asked = {message.metadata.dst_node_id: message for message in messages}
        self._round = _Round(Expected(asked, sent, self._sends_signs, self._metrics))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Sort the replies, and step along the aggregate of those that are accepted."""
        expected = self._round.expected
        found = self._sorted(replies)
        self.rejections[server_round] = found.rejected
        arrays = self._stepped(expected.arrays, found.accepted) if expected.arrays else None
        spent = self._privacy.spent
        metrics = {
            **medians(found.accepted, self.byzantine),
            "asked": len(expected.asked),
            "accepted": len(found.accepted),
            "rejected": len(expected.asked) - len(found.accepted),
            "epsilon": spent.epsilon,
            "delta": spent.delta,
        }
        log.info("epsilon %.4g at delta %.3g", spent.epsilon, spent.delta)
        return arrays, MetricRecord(dict(metrics))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every node that is there, where clients evaluate after this round."""
        self._round = _Round()
        if not self._evaluate_every or server_round % self._evaluate_every:
            return []
        nodes = nodes_there(grid, 1, 0.0)
        messages = self._messages(MessageType.EVALUATE, server_round, arrays, config, nodes)
        asked = {message.metadata.dst_node_id: message for message in messages}
        self._round = _Round(Expected(asked, metrics=self._metrics))
        return messages

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return the medians of the metrics that are read; None if there are none."""
        found = medians(self._sorted(replies).accepted, self.byzantine)
        return MetricRecord(dict(found)) if found else None

    def summary(self) -> None:
        """Log the settings."""
        log.info("\t├── Rule: %r, %d of the clients hostile", self.aggregator, self.byzantine)
        log.info("\t├── Asked: each node with probability %g", self._sampling_rate)
        log.info("\t├── Metrics read: %s", ", ".join(self._metrics) or "none")
        log.info("\t└── Privacy: %s", self._privacy)

    def _messages(
        self,
        kind: str,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        nodes: Sequence[int],
    ) -> list[Message]:
        settings = ConfigRecord({**config, "server-round": server_round})
        content = RecordDict({"arrays": arrays, "config": settings})
        # a client that wakes up long after the round is over spends nothing on it
        ttl = None if self._timeout is None else self._timeout + TTL_MARGIN
        return [Message(content, dst_node_id=node, message_type=kind, ttl=ttl) for node in nodes]

    def _sorted(self, replies: Iterable[Message]) -> Sorted:
        found = self._round.expected.sort(replies, self._round.unread)
        log.info("%d replies accepted, %d rejected", len(found.accepted), len(found.rejected))
        for node, why in found.rejected:
            log.warning("\t> node %d rejected: %s", node, why)
        return found

    def _too_few(self, nodes: Sequence[int]) -> str | None:
        """Return why the rule cannot do with these nodes, if it cannot."""
        if not nodes:
            return "no node was drawn, or none is there"
        if self._by_place and self.trusted_node not in nodes:
            return f"the trusted node {self.trusted_node} is not among them"
        try:
            self.aggregator.fits(len(nodes), self.byzantine)
        except SpecError as error:
            return str(error)
        return None

    def _stepped(self, sent: SentArrays, accepted: Sequence[Accepted]) -> ArrayRecord | None:
        """Return the arrays after the step; None where there is none."""
        accepted = sorted(accepted, key=lambda each: each.node != self.trusted_node)
        if reason := self._too_few([each.node for each in accepted]):
            log.warning("The model stays: %s", reason)
            return None
        updates = np.stack([each.update.astype(sent.message_type) for each in accepted])
        try:
            update = self.aggregator(torch.from_numpy(updates), self._generator).numpy()
        except SpecError as error:
            log.warning("The model stays: %s", error)
            return None
        velocity = update.astype(np.float64)
        if self._momentum and self._velocity is not None:
            velocity += self._momentum * self._velocity
        if not np.isfinite(velocity).all():
            log.warning("The model stays: the aggregate is not finite")
            return None
        self._velocity = velocity
        return sent.moved(self._learning_rate * velocity)

    @staticmethod
    def _evaluate_here(
        server_round: int,
        arrays: ArrayRecord,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
        result: Result,
    ) -> None:
        found = evaluate_fn(server_round, arrays) if evaluate_fn else None
        if found is not None:
            log.info("\t└──> at the server: %s", found)
            result.evaluate_metrics_serverapp[server_round] = found


def _check(arrays: ArrayRecord) -> SentArrays:
    """Read what is to be sent.

    Raises:
        SpecError: it cannot be trained.

    """
    try:
        sent = SentArrays.of(arrays)
    except Unreadable as error:
        raise SpecError(
            f"arrays: {error}; accepted: arrays of floats, and of whole numbers"
        ) from None
    if not sent.vector.size:
        raise SpecError("arrays: they hold no numbers to train; accepted: at least one")
    if not np.isfinite(sent.vector).all():
        raise SpecError("arrays: they hold NaN or an infinity; accepted: finite numbers")
    return sent
