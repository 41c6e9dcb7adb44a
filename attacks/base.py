"""What an attack is, what it may know, and what all of them check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from privrobust.aggregators import Aggregator
from privrobust.aggregators.base import Generators as Generators
from privrobust.aggregators.base import described, on_zeros, writes_to
from privrobust.attacks.examples import Examples, check_examples
from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import as_whole, shown
from privrobust.core.parameters import Configured
from privrobust.core.plugins import is_built_in
from privrobust.errors import SpecError, failure

if TYPE_CHECKING:
    from torch import Tensor

    from privrobust.aggregators import KnownNoise

Craft: TypeAlias = "Callable[[Tensor, int, Generators], Tensor]"
"""Messages that an attack sees, f, and its stream, to the messages that it sends."""

Sees = Literal["honest", "own", "nothing"]


@dataclass(frozen=True)
class Setting:
    """What everybody knows of a run before it starts."""

    aggregator: Aggregator
    noise_std: Tensor
    """Of the noise on each coordinate that the attack sees, `(lanes, 1, 1)`; 0 on honest signs."""
    known: KnownNoise | None = None
    """What a rule is told of honest messages, step by step; None of signs."""


@dataclass(frozen=True)
class Attack(Configured, ABC):
    """What f colluding Byzantine workers send; a user's own attack derives from it.

    `sees` is its knowledge. "honest": every honest message of the step as it is sent, noise
    included, never before it is added (omniscient and rushing). "own": what each Byzantine worker
    would send if it followed the protocol on data of its own (blind), before a sign is taken.
    "nothing": not even that.

    >>> class Echo(Attack):
    ...     "All send what the first honest worker sends."
    ...     def craft(self, honest, byzantine, generator):
    ...         return collude(honest[..., 0, :], byzantine)
    >>> Echo()(torch.tensor([[1.0], [2.0]]), byzantine=2)
    tensor([[1.],
            [1.]])
    """

    sees: ClassVar[Sees] = "honest"

    def __call__(self, seen: Tensor, byzantine: int, generator: Generators = None) -> Tensor:
        """Return what the Byzantine workers send.

        Args:
            seen: honest messages `(..., h, d)`, or for an attack that sees its "own" data the
                messages `(..., f, d)` of Byzantine workers that follow the protocol.
            byzantine: how many Byzantine workers there are, f >= 1.
            generator: the stream of attacks that draw.

        Returns:
            Shape `(..., f, d)`, possibly an expanded view.

        Raises:
            SpecError: other shapes or types, or the attack is not defined for this h and f.

        """
        name = type(self).__name__
        accepted = (torch.float32, torch.float64)
        if not isinstance(seen, torch.Tensor) or seen.dim() < 2 or seen.dtype not in accepted:
            raise SpecError(
                f"{name}: {described(seen)} is not accepted: "
                "float32 or float64 messages (..., h, d)"
            )
        try:
            byzantine = as_whole("byzantine", byzantine, "accepted", least=1)
        except SpecError:
            raise SpecError(
                f"{name}: byzantine {shown(byzantine)} is not accepted: at least 1"
            ) from None
        if not seen.shape[-2]:
            raise SpecError(f"{name}: no honest workers; accepted: at least 1")
        if self.sees == "own" and seen.shape[-2] != byzantine:
            raise SpecError(
                f"{name}: {seen.shape[-2]} messages of {byzantine} Byzantine workers; "
                "accepted: what each of them would send, (..., f, d)"
            )
        return self.carry_out(self.craft, seen, byzantine, generator)

    def carry_out(
        self, craft: Craft, seen: Tensor, byzantine: int, generator: Generators
    ) -> Tensor:
        """Return what `craft`, this attack's own or made by its `in_run`, sends.

        Raises:
            SpecError: it fails, or sends anything but `(..., f, d)` of the type that it sees.

        """
        name, version = type(self).__name__, writes_to(seen)
        try:
            sent = craft(seen, byzantine, generator)
        except (Exception, SystemExit) as error:  # whatever a user's attack raises
            raise failure(self, error, "craft(self, seen, byzantine, generator)") from error
        if writes_to(seen) != version:
            raise SpecError(f"{name}: it writes to the messages that it sees; accepted: copies")
        expected = (*seen.shape[:-2], byzantine, seen.shape[-1])
        if not isinstance(sent, torch.Tensor) or sent.shape != expected or sent.dtype != seen.dtype:
            raise SpecError(
                f"{name}: it sends {described(sent)}; accepted: {seen.dtype} {expected}, "
                "a row for each Byzantine worker"
            )
        if sent.device != seen.device:
            raise SpecError(f"{name}: it sends from {sent.device}; accepted: {seen.device}")
        return sent

    def check(self, honest: int, byzantine: int) -> None:
        """Refuse so many workers if it is not defined for them.

        Raises:
            SpecError: names h and f.

        """

    def fits(self, aggregator: Aggregator, honest: int, byzantine: int) -> None:
        """Refuse a run in which it is not defined: `check` knows, of a user's own zeros tell.

        Raises:
            SpecError: names n and f, or what it raised.

        """
        honest = as_whole("honest", honest, "a whole number, 1 or more", least=1)
        byzantine = as_whole("byzantine", byzantine, "a whole number, 1 or more", least=1)
        self.check(honest, byzantine)
        if not is_built_in(self):
            seen = torch.zeros(byzantine if self.sees == "own" else honest, 1)
            setting = Setting(aggregator, noise_std=torch.zeros(1, 1))
            with on_zeros():
                self.carry_out(self.started(setting), seen, byzantine, torch.Generator())

    def started(self, setting: Setting) -> Craft:
        """Start a run as `in_run` does, with errors that name the attack."""
        try:
            return self.in_run(setting)
        except (Exception, SystemExit) as error:  # whatever a user's attack raises
            raise failure(self, error, "in_run(self, setting)") from error

    @abstractmethod
    def craft(self, seen: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Attack: map messages that are checked, as `__call__` describes them, to those sent."""

    def in_run(self, setting: Setting) -> Craft:
        """Return the attack with what it keeps through a run, or takes from its setting."""
        return self.craft

    def poison(self, data: Examples, generator: torch.Generator) -> Examples:
        """Return what Byzantine workers train on in place of these, where they see their own data.

        It is made once before a run: as many examples, of the same shape and type, in that order,
        so that a worker that holds the first of `data` holds the first of these.

        Args:
            data: the training data, which is not to be written to.
            generator: the run's stream to draw from.

        """
        return data

    def aim(self, data: Examples, held_out: Examples) -> Examples | None:
        """Return held-out examples with the labels that it wants them to get; by default none.

        The share of them that a model gives these labels is its attack success rate.

        Args:
            data: the training data, as `poison` is given it.
            held_out: what runs are evaluated on, which is not to be written to.

        """
        return None

    def poisoned(self, data: Examples, generator: torch.Generator) -> Examples:
        """Poison data as `poison` does.

        Raises:
            SpecError: it fails, writes to `data`, or makes anything but as many such examples.

        """
        version = writes_to(data.inputs), writes_to(data.labels)
        try:
            made = self.poison(data, generator)
        except (Exception, SystemExit) as error:  # whatever a user's attack raises
            raise failure(self, error, "poison(self, data, generator)") from error
        self._check_examples(made, data, version)
        if len(made.labels) != len(data.labels):
            raise self._refusal(
                f"it makes {len(made.labels)} examples of {len(data.labels)}; accepted: as many"
            )
        return made

    def aimed_at(self, data: Examples, held_out: Examples) -> Examples | None:
        """Return what its success is measured on as `aim` does.

        Raises:
            SpecError: it fails, writes to what it is given, or makes anything but such examples.

        """
        version = writes_to(held_out.inputs), writes_to(held_out.labels)
        try:
            made = self.aim(data, held_out)
        except (Exception, SystemExit) as error:  # whatever a user's attack raises
            raise failure(self, error, "aim(self, data, held_out)") from error
        if made is None:
            return None
        self._check_examples(made, held_out, version)
        if not len(made.labels):
            raise self._refusal("none of the held-out examples is one that it aims at")
        return made

    def _check_examples(self, made: object, before: Examples, version: tuple[int, int]) -> None:
        if version != (writes_to(before.inputs), writes_to(before.labels)):
            raise self._refusal("it writes to the examples that it is given; accepted: copies")
        try:
            check_examples(made, before)
        except SpecError as error:
            raise self._refusal(str(error)) from None

    def _refusal(self, why: str) -> SpecError:
        return SpecError(f"{type(self).__name__}: {why}")


def collude(message: Tensor, byzantine: int) -> Tensor:
    """Let all f Byzantine workers send the same message: `(..., d)` to `(..., f, d)`, a view."""
    return message.unsqueeze(-2).expand(*message.shape[:-1], byzantine, message.shape[-1])


def constant(seen: Tensor, byzantine: int, value: float) -> Tensor:
    """Let all send the same number in every coordinate, `(..., f, d)`, a view."""
    return seen.new_full((), value).expand(*seen.shape[:-2], byzantine, seen.shape[-1])


def normal(seen: Tensor, byzantine: int, generator: Generators) -> Tensor:
    """Draw standard normal numbers `(..., f, d)`, every lane's from its own stream."""
    shape = (*seen.shape[:-2], byzantine, seen.shape[-1])
    drawn = seen.new_empty(shape)
    if isinstance(generator, Sequence):
        for of_lane, each in zip(drawn, generator, strict=True):
            of_lane.normal_(generator=each)
        return drawn
    return drawn.normal_(generator=generator)
