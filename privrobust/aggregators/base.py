"""What a rule of the server is, and what all of them check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import as_whole, own
from privrobust.core.parameters import Configured, parameter
from privrobust.core.plugins import is_built_in
from privrobust.errors import SpecError, failure, shown

if TYPE_CHECKING:
    from torch import Tensor

    from privrobust.aggregators.known_noise import KnownNoise

Generators: TypeAlias = "torch.Generator | Sequence[torch.Generator] | None"
"""A stream, or one for each entry of the first axis (the lanes of a sweep), or torch's own."""


@dataclass(frozen=True)
class _Rule(Configured, ABC):
    """Takes messages of all workers, `(..., n, d)`."""

    def least_workers(self) -> int:
        """Return how many messages it needs for what it promises; rules that withstand f know f."""
        return 1

    def check(self, n: int) -> None:
        """Refuse so many messages if they are too few, or otherwise not what it can do.

        Raises:
            SpecError: names n and f.

        """
        least = self.least_workers()
        if n < least:
            f = f", {vars(self)['f']} of them Byzantine" if self.knows_f() else ""
            raise SpecError(
                f"{type(self).__name__}: {n} workers{f}; accepted: at least {least} workers"
            )

    def checked(self, messages: Tensor) -> Tensor:
        """Return the messages themselves.

        Raises:
            SpecError: they are no floating-point `(..., n, d)`, or too few.

        """
        name = type(self).__name__
        if not isinstance(messages, torch.Tensor) or messages.dim() < 2:
            given = (
                tuple(messages.shape)
                if isinstance(messages, torch.Tensor)
                else type(messages).__name__
            )
            raise SpecError(f"{name}: messages {given} is not accepted: a tensor (..., n, d)")
        if messages.dtype not in (torch.float32, torch.float64):
            raise SpecError(
                f"{name}: messages of {messages.dtype} is not accepted: torch.float32 or float64"
            )
        self.check(messages.shape[-2])
        return messages

    def _refuse_changed(self, messages: Tensor, writes_before: int) -> None:
        """Refuse a user's own that writes to what it is given: others read it after it.

        Raises:
            SpecError: it has.

        """
        if writes_to(messages) != writes_before:
            raise SpecError(
                f"{type(self).__name__}: it writes to the messages that it is given; "
                "accepted: copies"
            )

    def made(
        self, returned: object, messages: Tensor, shape: tuple[int, ...], accepted: str
    ) -> Tensor:
        """Return what the rule, a user's own perhaps, returned.

        Raises:
            SpecError: it is no tensor of that shape, of the messages' type and on their device.

        """
        name = type(self).__name__
        if (
            not isinstance(returned, torch.Tensor)
            or returned.shape != shape
            or returned.dtype != messages.dtype
        ):
            raise SpecError(
                f"{name}: it returns {described(returned)}; accepted: {messages.dtype} {accepted}"
            )
        if returned.device != messages.device:
            raise SpecError(
                f"{name}: it returns what is on {returned.device}; accepted: {messages.device}"
            )
        return returned

    @abstractmethod
    def __call__(self, messages: Tensor, generator: Generators = None) -> Tensor:
        """Return what it makes of the messages."""

    @classmethod
    def knows_f(cls) -> bool:
        """Tell whether it is built for a number of Byzantine workers."""
        return any(each.name == "f" for each in fields(cls))


@dataclass(frozen=True)
class Minority(_Rule):
    """Withstands f Byzantine workers while they are a minority, `n > 2f`.

    Args:
        f: Byzantine workers; a spec gives its own.

    """

    f: int = parameter(0, least=0)

    def least_workers(self) -> int:
        """Return the least n with `n > 2f`."""
        return 2 * self.f + 1


@dataclass(frozen=True)
class Aggregator(_Rule):
    """What the server makes of the messages of one step; a user's own rule derives from it.

    >>> class First(Aggregator):
    ...     "The message of worker 0."
    ...     def aggregate(self, messages):
    ...         return messages[..., 0, :]
    >>> First()(torch.tensor([[3.0], [4.0]]))
    tensor([3.])
    """

    message: ClassVar[Literal["vector", "sign"]] = "vector"
    """What this rule asks the workers to send: the noisy vector, or its sign."""
    robust: ClassVar[bool] = False
    """Whether it promises to withstand every minority of Byzantine workers."""
    public_examples: ClassVar[int] = 0
    """Of how many public examples it wants the server's own gradient; else it is given none."""
    by_place: ClassVar[bool] = False
    """Whether the place of a message, which says who sent it, means something to it."""
    knows_noise: ClassVar[bool] = False
    """Whether it wants messages with the noise that workers added, of a law and size it is told."""
    knows_reach: ClassVar[bool] = False
    """Whether it wants messages of bounded gradients, of a norm that it is told."""

    def __call__(
        self, messages: Tensor, generator: Generators = None, public: Tensor | None = None
    ) -> Tensor:
        """Aggregate over the worker axis: `(..., n, d)` to `(..., d)`.

        Args:
            messages: of all workers; the leading axes are lanes, each aggregated by itself.
            generator: the stream of rules that draw.
            public: the server's own gradient `(..., d)`, for rules that want `public_examples`.

        Raises:
            SpecError: other shapes or types, or too few workers for the rule's f.

        """
        before = writes_to(self.checked(messages))
        try:
            update = self.given(generator, public)(messages)
        except (Exception, SystemExit) as error:  # whatever a user's rule raises
            raise failure(self, error, "aggregate(self, messages)") from error
        self._refuse_changed(messages, before)
        expected = (*messages.shape[:-2], messages.shape[-1])
        return self.made(update, messages, expected, str(expected))

    def fits(self, n: int, byzantine: int) -> None:
        """Refuse a run in which it cannot keep what it promises.

        Args:
            n: how many messages reach it.
            byzantine: how many of them may be Byzantine.

        Raises:
            SpecError: the rule promises to withstand a minority, and this is none; or what it
                raises when it is tried.

        """
        byzantine = as_whole("byzantine", byzantine, "a whole number, 0 or more", least=0)
        n = as_whole("n", n, "a whole number, 1 or more", least=1)
        if (self.robust or self.knows_f()) and 2 * byzantine >= n:
            raise SpecError(
                f"{type(self).__name__}: {n} messages, {byzantine} of them Byzantine; "
                "accepted: fewer than half"
            )
        self.try_out(n)
        self.proven(n, byzantine)

    def proven(self, n: int, byzantine: int) -> float | None:
        """Return `kappa_bound`.

        Raises:
            SpecError: it fails, or is neither None nor a number of at least 0.

        """
        try:
            bound = own("kappa_bound", self.kappa_bound(n, byzantine))
        except (Exception, SystemExit) as error:  # whatever a user's rule raises
            raise failure(self, error, "kappa_bound(self, n, byzantine)") from error
        if bound is None or (isinstance(bound, int | float) and bound >= 0):
            return bound
        raise SpecError(
            f"{type(self).__name__}: its kappa_bound is {shown(bound)}; accepted: None, where "
            "nothing is proven, or a number of at least 0"
        )

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Return what `|result - mean|^2 / mean_i |g_i - mean|^2` of the honest g_i is at most.

        That is a kappa for which the rule is (f, kappa)-robust (Allouah et al. 2023, Fixing by
        mixing, Definition 2), whatever the Byzantine messages are. docs/theory.md has the proofs.
        None where nothing is proven, infinite where there is no bound.

        Args:
            n: how many messages reach it.
            byzantine: how many of them are Byzantine.

        """
        return None

    def try_out(self, n: int) -> None:
        """Refuse n messages as a run would: `check` knows, of a user's own rule zeros tell.

        Raises:
            SpecError: what it raises of n messages.

        """
        self.check(n)
        if not is_built_in(self):
            with on_zeros():
                self(torch.zeros(n, 1), torch.Generator())

    def started(self, noise: KnownNoise) -> Aggregator:
        """Start a run as `in_run` does, with errors that name the rule."""
        try:
            begun = self.in_run(noise)
        except (Exception, SystemExit) as error:  # whatever a user's rule raises
            raise failure(self, error, "in_run(self, noise)") from error
        if not isinstance(begun, Aggregator):
            raise SpecError(
                f"{type(self).__name__}: its in_run returns {described(begun)}; accepted: a rule"
            )
        return begun

    def in_run(self, noise: KnownNoise) -> Aggregator:
        """Return the rule with what it keeps through a run, or takes from what is known of it."""
        return self

    def given(self, generator: Generators, public: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Return `aggregate` with what else the server has; rules that want that override it."""
        return self.aggregate

    @abstractmethod
    def aggregate(self, messages: Tensor) -> Tensor:
        """Aggregate messages that are checked, `(..., n, d)` to `(..., d)`."""


@dataclass(frozen=True)
class PreAggregator(_Rule):
    """What the server does to the messages before a rule: `(..., n, d)` to `(..., m, d)`."""

    keeps_places: ClassVar[bool] = True
    """Whether the i-th message that it makes is, in essence, that of the i-th worker."""

    def __call__(self, messages: Tensor, generator: Generators = None) -> Tensor:
        """Transform the messages; arguments and errors as of `Aggregator`."""
        before = writes_to(self.checked(messages))
        try:
            made = self.transform(messages, generator)
        except (Exception, SystemExit) as error:  # whatever a user's rule raises
            raise failure(self, error, "transform(self, messages, generator)") from error
        self._refuse_changed(messages, before)
        many = made.shape[-2] if isinstance(made, torch.Tensor) and made.dim() > 1 else 0
        *lead, _, dim = messages.shape
        return self.made(made, messages, (*lead, many, dim), f"{(*lead, 'm', dim)}")

    def makes_of(self, n: int) -> int:
        """Return how many messages it makes of n; errors as of `Aggregator.try_out`."""
        self.check(n)
        if is_built_in(self):
            return n
        with on_zeros():
            return len(self(torch.zeros(n, 1), torch.Generator()))

    def kappa_bound_behind(self, kappa: float, n: int, byzantine: int) -> float | None:
        """Return the `Aggregator.kappa_bound` of a rule with this kappa, of what it makes of n.

        None where nothing is proven.
        """
        return None

    @abstractmethod
    def transform(self, messages: Tensor, generator: Generators) -> Tensor:
        """Transform messages that are checked, `(..., n, d)` to `(..., m, d)`."""


@dataclass(frozen=True)
class Chain(Aggregator):
    """Pre-aggregators, one after the other, and a rule."""

    before: tuple[PreAggregator, ...]
    rule: Aggregator

    def __post_init__(self) -> None:
        """Ask workers and server for what the rule asks for."""
        super().__post_init__()
        object.__setattr__(self, "message", self.rule.message)
        object.__setattr__(self, "public_examples", self.rule.public_examples)
        object.__setattr__(self, "knows_reach", self.rule.knows_reach)

    def in_run(self, noise: KnownNoise) -> Aggregator:
        """Start the rule's run."""
        return replace(self, rule=self.rule.in_run(noise))

    def fits(self, n: int, byzantine: int) -> None:
        """Refuse what the rule refuses, for the messages that reach it."""
        reaching = n
        for each in self.before:
            if self.rule.knows_noise:
                raise SpecError(
                    f"{type(self.rule).__name__}: behind {type(each).__name__}, which changes what "
                    "noise there is; accepted: nothing before it"
                )
            if self.rule.by_place and not each.keeps_places:
                raise SpecError(
                    f"{type(self.rule).__name__}: behind {type(each).__name__}, which shuffles "
                    "workers; accepted: what leaves each in its place, as it trusts one"
                )
            reaching = each.makes_of(reaching)
        self.rule.fits(reaching, byzantine)
        self.proven(n, byzantine)

    def kappa_bound(self, n: int, byzantine: int) -> float | None:
        """Bound it from the rule's own, part by part."""
        reaching = [n]
        for each in self.before:
            reaching.append(each.makes_of(reaching[-1]))
        bound = self.rule.kappa_bound(reaching[-1], byzantine)
        for each, of in reversed(list(zip(self.before, reaching[:-1], strict=True))):
            bound = None if bound is None else each.kappa_bound_behind(bound, of, byzantine)
        return bound

    def try_out(self, n: int) -> None:
        """Try out its parts, of which some may be a user's own."""
        for each in self.before:
            n = each.makes_of(n)
        self.rule.try_out(n)

    def __call__(
        self, messages: Tensor, generator: Generators = None, public: Tensor | None = None
    ) -> Tensor:
        """Aggregate, as every aggregator does."""
        for each in self.before:
            messages = each(messages, generator)
        return self.rule(messages, generator, public)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Aggregate without a stream."""
        return self(messages)


@contextmanager
def on_zeros() -> Iterator[None]:
    """Say of a user's class that its error came before any run, and on what."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{error} (tried on zeros of one coordinate)") from error


def described(made: object) -> str:
    """Describe what a user's class returned, for an error."""
    return (
        f"{made.dtype} {tuple(made.shape)}"
        if isinstance(made, torch.Tensor)
        else type(made).__name__
    )


def writes_to(messages: Tensor) -> int:
    """Count what has been written to a tensor; under `torch.inference_mode` that is not known."""
    return 0 if messages.is_inference() else messages._version
