"""Attacks of ours as mods: a client of a real federation that behaves as one of them.

    app = ClientApp(mods=[Attacker("alie", honest=8, byzantine=2), private_updates(privacy)])

The mod comes first, so that what it calls is the client with its noise, as an honest one would be.
"""

from collections import Counter

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from privrobust.aggregators import get_aggregator
from privrobust.attacks import Attack, Craft, Examples, Setting, get_attack
from privrobust.core.numbers import as_float, as_whole, shown
from privrobust.core.random import stream
from privrobust.errors import SpecError
from privrobust.federated.flower.arrays import SentArrays, Vector
from privrobust.federated.flower.mods import WEIGHT, is_train
from privrobust.federated.flower.replies import only_arrays


class Attacker:
    """A mod with which a client attacks: one of f that collude without a word between them.

    Colluders send alike: what they draw follows from the round and a seed that all of them have.
    What an attack would see of honest clients is estimated from what this client itself would send
    if it were honest: a few such messages, each with training and noise anew, stand for all honest
    ones (Baruch et al. 2019, who estimate from the corrupted workers' data). Nothing that goes
    wrong in the client's app is told.

    What an attack remembers (`replay`, `mimic`) is kept in the process: where every message starts
    a new one, as in Flower's deployments, it remembers nothing. Attacks that poison data
    (`label_flip`, `backdoor`, ...) are what the app trains on: `poison(data)`.

    Args:
        attack: the name of one of ours, or itself.
        honest: how many honest clients there are.
        byzantine: f, how many attack.
        aggregator: the server's rule, which everybody knows.
        noise_std: standard deviation of the honest noise in a coordinate, which everybody knows.
        copies: how many messages of its own stand for those of honest clients.
        seed: the colluders'.

    Raises:
        SpecError: there is no such attack, or it is not defined for these numbers.

    """

    def __init__(
        self,
        attack: Attack | str,
        *,
        honest: int,
        byzantine: int = 1,
        aggregator: str = "median",
        noise_std: float = 0.0,
        copies: int = 4,
        seed: int = 0,
    ) -> None:
        self.attack = get_attack(attack) if isinstance(attack, str) else attack
        rule = get_aggregator(aggregator, byzantine)
        if rule.knows_noise or rule.knows_reach:
            raise SpecError(
                f"aggregator: {shown(aggregator)} is told of the run's noise, which nobody here "
                "knows; accepted: a rule of messages alone"
            )
        self.attack.fits(rule, honest, byzantine)
        self._honest = as_whole("honest", honest, "a whole number, 1 or more", least=1)
        self._byzantine = as_whole("byzantine", byzantine, "a whole number, 1 or more", least=1)
        self._copies = as_whole("copies", copies, "a whole number, 1 or more", least=1)
        self._seed = as_whole("seed", seed, "a whole number, 0 or more", least=0)
        std = as_float("noise_std", noise_std, "a finite number, 0 or more", least=0.0)
        self._signs = rule.message == "sign"
        # honest signs are not spread by the noise of the vectors that they are of
        is_hidden = self._signs and self.attack.sees != "own"
        self._setting = Setting(rule, torch.full((1, 1, 1), 0.0 if is_hidden else std))
        self._crafts: dict[tuple[int, int], Craft] = {}
        self._rounds: Counter[tuple[int, int]] = Counter()

    def __call__(self, msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        """Reply as the attack does to messages of training, and honestly to others."""
        if not is_train(msg):
            return call_next(msg, ctxt)
        sent = SentArrays.of(only_arrays(msg.content))
        calls = {"nothing": 0, "own": 1, "honest": self._copies}[self.attack.sees]
        own = [self._own(sent, msg, ctxt, call_next) for _ in range(calls)]
        crafted = self._crafted(sent, own, msg, ctxt)
        if self._signs:
            arrays = sent.as_signs(np.sign(np.nan_to_num(crafted, nan=1.0)))
        else:
            arrays = sent.moved(crafted, is_kept_finite=False)
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({WEIGHT: 1})})
        return Message(content, reply_to=msg)

    def poison(self, data: Examples) -> Examples:
        """Return the examples to train on: others than these, of attacks that poison data.

        Raises:
            SpecError: as `Attack.poisoned`.

        """
        return self.attack.poisoned(data, stream(self._seed, "poison"))

    def _own(
        self, sent: SentArrays, msg: Message, ctxt: Context, call_next: ClientAppCallable
    ) -> Vector:
        """Return an update as this client would send it if it were honest; 0 where that fails."""
        try:
            reply = call_next(msg, ctxt)
            return sent.update_in(only_arrays(reply.content), signs=self._signs)
        except Exception:
            return np.zeros_like(sent.vector)

    def _crafted(self, sent: SentArrays, own: list[Vector], msg: Message, ctxt: Context) -> Vector:
        """Return what each of the colluders sends."""
        place = ctxt.run_id, ctxt.node_id
        if place not in self._crafts:
            self._crafts[place] = self.attack.started(self._setting)
        self._rounds[place] += 1
        number = _round_of(msg) or self._rounds[place]
        rows = self._byzantine if self.attack.sees == "own" else self._honest
        seen = np.stack(own or [np.zeros_like(sent.vector)]).astype(sent.message_type)
        of_all = torch.from_numpy(seen[np.arange(rows) % len(seen)]).unsqueeze(0)
        streams = [stream(self._seed, f"attack {number}")]
        crafted = self.attack.carry_out(self._crafts[place], of_all, self._byzantine, streams)
        return crafted[0, 0].numpy().astype(np.float64)


def _round_of(msg: Message) -> int | None:
    """Return the server's number of the round, if it told."""
    for record in msg.content.values():
        if isinstance(record, ConfigRecord) and isinstance(
            found := record.get("server-round"), int
        ):
            return found
    return None
