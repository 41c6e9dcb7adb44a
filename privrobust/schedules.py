"""Schedules: what the learning rate is multiplied with as a run goes on.

They depend on the step alone, which is public: free of privacy cost.

>>> [round(Cosine().factor(done), 2) for done in (0.0, 0.5, 1.0)]
[1.0, 0.5, 0.0]
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from privrobust.core.numbers import as_float, shown
from privrobust.core.parameters import Configured
from privrobust.core.parameters import parameter as parameter
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, failure


@dataclass(frozen=True)
class Schedule(Configured, ABC):
    """A factor of the learning rate; a user's own derives from it.

    >>> @dataclass(frozen=True)
    ... class Root(Schedule):
    ...     "Falls as a power of the share that is left."
    ...     power: float = parameter(0.5, above=0)
    ...     def factor(self, done):
    ...         return (1 - done) ** self.power
    >>> Root(power=2).factor(0.5)
    0.25
    """

    @abstractmethod
    def factor(self, done: float) -> float:
        """Return the factor at a share of the run that is done.

        Args:
            done: from 0 before the first step to nearly 1 before the last.

        Returns:
            A finite number, 0 or more.

        """


@dataclass(frozen=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, done: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Linear(Schedule):
    """Falls in a straight line.

    Args:
        final: the factor at the end.

    """

    final: float = parameter(0.0, least=0)

    def factor(self, done: float) -> float:
        """Return `1 + (final - 1) done`."""
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
        """Return `final + (1 - final) (1 + cos(pi done)) / 2`."""
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
        """Return `by ** floor(parts * done)`."""
        begun = math.floor(self.parts * done + 1e-9)  # a third of a run is no exact number
        return float(self.by ** min(self.parts - 1, begun))


SCHEDULES: Registry[type[Schedule]] = Registry(
    "schedule",
    {"constant": Constant, "cosine": Cosine, "drops": Drops, "linear": Linear},
    Own((Schedule,), "a class that derives from privrobust.schedules.Schedule"),
)


def available_schedules() -> list[str]:
    """Return the names that a spec may use."""
    return SCHEDULES.available()


def register_schedule(name: str, schedule: type[Schedule]) -> None:
    """Let specs name a schedule; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; or it is no schedule's
            class.

    """
    SCHEDULES.register(name, schedule)


def list_schedules() -> list[Entry]:
    """Describe every schedule, as `privrobust list schedules` shows them."""
    return SCHEDULES.entries()


def get_schedule(text: str) -> Schedule:
    """Make the schedule that a spec names: `cosine(final=0.1)`, or `package.module:Class`.

    Raises:
        SpecError: no such schedule or parameter, or a value that it does not accept.

    """
    made: Schedule = SCHEDULES.get(text)
    return made


def canonical_schedule(text: str) -> str:
    """Write the same schedule in one way."""
    return SCHEDULES.canonical(text)


def rate(schedule: Schedule, warmup_steps: int, step: int, steps: int) -> float:
    """Return the factor at a step, 1 to steps: a linear warm-up to 1, then the schedule.

    The schedule's run is what follows the warm-up.

    Raises:
        SpecError: a user's schedule fails, or gives what is no factor.

    """
    if step <= warmup_steps:
        return step / (warmup_steps + 1)
    try:
        factor: object = schedule.factor((step - 1 - warmup_steps) / (steps - warmup_steps))
    except (Exception, SystemExit) as error:  # whatever a user's schedule raises
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
    """Return the factor at every step; raises what `rate` raises."""
    return [rate(schedule, warmup_steps, step, steps) for step in range(1, steps + 1)]
