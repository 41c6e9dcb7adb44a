"""Observers: what they see of canaries as runs train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from privrobust.audit.beside import Beside
from privrobust.audit.echoes import Echoes
from privrobust.audit.effects import Coordinates, Vectors
from privrobust.audit.fresh import Fresh
from privrobust.audit.planting import Planting
from privrobust.audit.trials import Floats
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import ClippedSums, GradientSum
from privrobust.gradients.layout import Layout
from privrobust.spec import RunSpec
from privrobust.training.server import Messages
from privrobust.training.watch import Attacks, Watch

Observer = Literal["messages", "aggregates", "model"]

OBSERVERS: tuple[Observer, ...] = get_args(Observer)
"""Who sees every message of every step, every aggregate, or the last model alone."""

Helpers = Callable[[Tensor, Tensor], Tensor]
"""Honest messages `(L, workers, dim)` and which of them holds a canary `(L, m)` to messages of the
Byzantine workers, `(L, f, dim)`."""


class Observation(Watch):
    """What observers see along the canaries of `L` lanes, `m` each."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        observers: Sequence[Observer],
        workers: Tensor,
        planted: Callable[[GradientSum, Layout], Planting],
        helpers: Helpers | None = None,
        beside: Callable[[], Beside] = Beside,
    ) -> None:
        """Watch these lanes, in this order.

        Args:
            lanes: the runs, of one rule.
            observers: who looks.
            workers: which worker holds each canary, `(L, m)`.
            planted: makes of a run's gradients those with canaries.
            helpers: what Byzantine workers send; without it they attack as the runs say.
            beside: returns what tells of the noise where canaries are, once that is chosen.

        """
        self._observers, self._workers = observers, workers
        self._planted, self._helpers = planted, helpers
        self._fresh = Fresh(lanes)
        self._beside, self._picked = beside, list[Tensor]()
        self._echoes = Echoes(workers, self._fresh.lost)
        self._seen: dict[Observer, list[Tensor]] = {observer: [] for observer in observers}
        self._sizes: list[Tensor] = []
        self._along: Tensor | None = None
        self._start: Tensor | None = None
        self._end: Tensor | None = None

    def plant(self, gradients: GradientSum, layout: Layout) -> GradientSum:
        """Return what sums the clipped gradients of honest workers, canaries among them."""
        self._planting = self._planted(gradients, layout)

        def summed(
            parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
        ) -> ClippedSums:
            self._start = parameters if self._start is None else self._start
            return self._planting(parameters, batch, clip_norms, divisor)

        return summed

    def help(self, attack: Attacks) -> Attacks:
        """Return what the Byzantine workers send."""
        helpers = self._helpers
        if helpers is None:
            return attack
        return lambda honest, parameters: [helpers(honest, self._workers)]

    def see(self, step: int, messages: Messages, update: Tensor, parameters: Tensor) -> None:
        """Keep what there is to see along the canaries of this step."""
        effects, signs = self._planting.effects, self._planting.signs
        self._sizes.append(effects.sizes() * signs)
        if "messages" in self._observers:
            self._see_messages(self._fresh(messages.honest))
        if "aggregates" in self._observers:
            self._seen["aggregates"].append(effects.along(update.unsqueeze(1)))
        if isinstance(effects, Vectors):
            moved = effects.vectors
            self._along = moved if self._along is None else self._along + moved
        self._end = parameters
        self._planting.observe(update)

    def _see_messages(self, sent: Tensor) -> None:
        effects = self._planting.effects
        if not isinstance(effects, Coordinates):
            seen = effects.along(sent)
            if not self._fresh.are_signs:
                seen = seen - effects.along(self._planting.without)
            self._seen["messages"].append(seen)
            return
        noise = sent if self._fresh.are_signs else sent - self._planting.without
        self._seen["messages"].append(effects.along(noise))
        self._picked.append(self._beside().of_step(noise, self._workers[:, 0]))
        if not self._fresh.are_signs:
            moved = effects.sizes() * self._planting.signs
            self._echoes.see(sent, noise, effects.places, moved)

    def seen_by(self, observer: Observer) -> tuple[Floats, Floats]:
        """Return what an observer saw, `(L m, steps, parts)`, and sizes of effects `(L m, steps)`.

        Parts are the workers whose messages are seen, or one. Numbers may not be finite.
        """
        sizes = torch.stack(self._sizes, -1).flatten(0, 1)
        if observer == "model":
            assert self._start is not None
            assert self._end is not None
            effects = self._planting.effects if self._along is None else Vectors(self._along)
            moved = effects.along((self._start - self._end).unsqueeze(1)).flatten(0, 1)
            return moved.unsqueeze(1).numpy(), sizes.sum(1, keepdim=True).numpy()
        return torch.stack(self._seen[observer], 2).flatten(0, 1).numpy(), sizes.numpy()

    def beside(self) -> Floats | None:
        """Return what tells of the noise on canaries of messages, `(L, steps, numbers)`."""
        if not self._picked or not self._picked[0].shape[1]:
            return None
        return self._beside().in_time(self._picked).numpy()

    def echoes(self, is_opposed: bool) -> Floats | None:
        """Return the counts of `Echoes`, where messages are of numbers."""
        return self._echoes.counts(is_opposed) if self._echoes.has_seen else None
