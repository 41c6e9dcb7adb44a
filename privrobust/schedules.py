"""Schedules: what the learning rate is multiplied with as a run goes on.

They depend on the step alone, which is public: free of privacy cost.

>>> [round(Cosine().factor(done), 2) for done in (0.0, 0.5, 1.0)]
[1.0, 0.5, 0.0]
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from privrobust.core.entries import Entry
from privrobust.core.naming import Own
from privrobust.core.numbers import as_float, shown
from privrobust.core.parameters import (
    Configured,
    build,
    described,
    parameter,
    parse,
    settings,
    written,
)
from privrobust.errors import SpecError, failure


@dataclass(frozen=True)
class Schedule(Configured, ABC):
    """A factor of the learning rate; a user's own derives from it."""

    @abstractmethod
    def factor(self, done: float) -> float:
        """At a share of the run, from 0 before the first step to nearly 1 before the last."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, done: float) -> float:
        """Always 1."""
        return 1.0


@dataclass(frozen=True)
class Linear(Schedule):
    """Falls in a straight line.

    Args:
        final: the factor at the end.

    """

    final: float = parameter(0.0, least=0)

    def factor(self, done: float) -> float:
        """Between 1 and `final`."""
        return 1 + (self.final - 1) * done


@dataclass(frozen=True)
class Cosine(Schedule):
    """Falls along half a cosine.

    Args:
        final: the factor at the end.

    """

    paper: ClassVar[str] = "Loshchilov, Hutter 2017, equation 5, without restarts"

    final: float = parameter(0.0, least=0)

    def factor(self, done: float) -> float:
        """`final + (1 - final) (1 + cos(pi done)) / 2`"""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Drops(Schedule):
    """Multiplied with `by` each time that another of so many equal parts of the run begins.

    Args:
        parts: how many.
        by: the factor of a drop.

    """

    parts: int = parameter(3, least=1)
    by: float = parameter(0.1, above=0)

    def factor(self, done: float) -> float:
        """`by ** floor(parts * done)`"""
        begun = math.floor(self.parts * done + 1e-9)  # a third of a run is no exact number
        return float(self.by ** min(self.parts - 1, begun))


_OWN = Own((Schedule,), "a class that derives from privrobust.schedules.Schedule")
_SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "drops": Drops,
    "linear": Linear,
}


def available_schedules() -> list[str]:
    """Names that a spec may use."""
    return sorted(_SCHEDULES)


def list_schedules() -> list[Entry]:
    """What `privrobust list schedules` shows, an entry a schedule."""
    return [described(name, schedule) for name, schedule in sorted(_SCHEDULES.items())]


def get_schedule(text: str) -> Schedule:
    """The schedule that a spec names: `cosine(final=0.1)`, or `package.module:Class`.

    Raises:
        SpecError: no such schedule or parameter, or a value that it does not accept.

    """
    name, given = parse("schedule", text)
    return build("schedule", _SCHEDULES, name, given, _OWN)


def canonical_schedule(text: str) -> str:
    """The same schedule in one way of writing."""
    return written(parse("schedule", text)[0], settings(get_schedule(text)))


def rate(schedule: Schedule, warmup_steps: int, step: int, steps: int) -> float:
    """The factor at a step, 1 to steps: a linear warm-up to 1, then the schedule.

    The schedule's run is what follows the warm-up.

    Raises:
        SpecError: a user's schedule fails, or gives what is no factor.

    """
    if step <= warmup_steps:
        return step / (warmup_steps + 1)
    try:
        factor: object = schedule.factor((step - 1 - warmup_steps) / (steps - warmup_steps))
    except Exception as error:  # whatever a user's schedule raises
        raise failure(schedule, error, "factor(self, done)") from error
    try:
        return as_float("schedule", factor, "a factor", least=0)
    except SpecError:
        given = f"{factor:g}" if isinstance(factor, float) else shown(factor)
        raise SpecError(
            f"schedule: {shown(schedule)} gives {given} at step {step} of {steps}; "
            "accepted: a finite factor of at least 0"
        ) from None


def rates(schedule: Schedule, warmup_steps: int, steps: int) -> list[float]:
    """The factor at every step; raises what `rate` raises."""
    return [rate(schedule, warmup_steps, step, steps) for step in range(1, steps + 1)]
