"""Registries: what a spec may name of one kind, ours and a user's own.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Push(Configured):
...     "Pushes."
...     scale: float = 1.0
>>> own = Own((Configured,), "a class that derives from Configured")
>>> pushes = Registry("push", {"push": Push}, own)
>>> pushes.get("push(scale=2)")
Push(scale=2.0)
>>> pushes.canonical("push( scale = 1 )")
'push'
>>> pushes.register("shove", Push)
>>> pushes.available()
['push', 'shove']
"""

import inspect
import re
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import MISSING
from functools import lru_cache
from itertools import chain
from typing import Any, Generic, TypeVar, cast

from privrobust.core.parameters import (
    Configured,
    parameters_of,
    parse,
    refuse_indistinct,
    settings,
    written,
)
from privrobust.core.plugins import Own, check_text, find, objection
from privrobust.errors import PrivRobustError, SpecError, in_a_line, in_short, shown

T = TypeVar("T")

_LONGEST = 200  # of what was to be registered, whose module people need to see


class Entry(str):
    """Lines for people, which remember what they say: `alie(z=None)`, what it is, remarks."""

    facts: dict[str, Any]
    """The same for programs: `name`, `parameters` (`name`, and `default` if any), `about`."""

    def __new__(
        cls, name: str, about: str, remarks: str = "", parameters: Mapping[str, Any] | None = None
    ) -> "Entry":
        """Write the entry.

        Args:
            name: as a spec has it.
            about: what it is, in one line.
            remarks: what else to know, such as the paper.
            parameters: their defaults, `MISSING` where there is none.

        """
        defaults = parameters or {}
        call = ", ".join(
            each if default is MISSING else f"{each}={default!r}"
            for each, default in defaults.items()
        )
        lines = [f"{name}({call})" if call else name, f"    {about}"]
        made = super().__new__(cls, "\n".join(lines + [f"    {remarks}"] * bool(remarks)))
        made.facts = {
            "name": name,
            "parameters": [
                {"name": each} if default is MISSING else {"name": each, "default": default}
                for each, default in defaults.items()
            ],
            "about": about,
            "remarks": remarks or None,
        }
        return made


class Registry(Generic[T]):
    """Names of one kind, and what they stand for: what is built in, then what users register.

    Most stand for classes that derive from `Configured`, whose parameters a spec gives in brackets.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, T],
        own: Own | Callable[[], Own],
        reserved: Collection[str] = (),
    ) -> None:
        """Fill it with what is built in.

        Args:
            kind: what it holds, for errors: "attack", "aggregator".
            built_in: ours, by name.
            own: what a user's own may be; a function that says so where that takes torch.
            reserved: names that mean something else.

        """
        self.kind = kind
        self.built_in = dict(built_in)
        self.registered: dict[str, T] = {}
        """Users' own, by name."""
        self.changes = 0
        """How often something was registered: what is remembered by name holds until the next."""
        self._own = own
        self._reserved = reserved

    def __getitem__(self, name: str) -> T:
        return self.built_in[name] if name in self.built_in else self.registered[name]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.registered

    def __iter__(self) -> Iterator[str]:
        return chain(self.built_in, self.registered)

    @property
    def own(self) -> Own:
        """What a spec may name, and users register, of their own."""
        return self._own() if callable(self._own) else self._own

    def available(self) -> list[str]:
        """Return the names that a spec may use, sorted."""
        return sorted(self)

    def register(self, name: str, thing: T) -> None:
        """Let specs name a thing of a user's own.

        An earlier one of that name is replaced, since a notebook's cells are run again and again;
        what is built in stays what it is.

        Raises:
            SpecError: the name is one of ours, or no text, or none that can be given parameters;
                or the thing is not what `own` accepts.

        """
        name = check_text(self.kind, name)
        has_parameters = _is_configured(thing)
        if has_parameters and not re.fullmatch(r"[\w.]+", name):
            raise SpecError(
                f"{self.kind}: {name!r} is not accepted as a name: letters, digits, _ and ."
            )
        if not name.strip():
            raise SpecError(f"{self.kind}: {name!r} is not accepted as a name: a text")
        if name in self.built_in or name in self._reserved:
            raise SpecError(
                f"{self.kind}: the name {name!r} is taken by what is built in; accepted: another"
            )
        own = self.own
        is_made = own.made is not None and isinstance(thing, own.made)
        if not is_made and objection(thing, own):
            raise SpecError(
                f"{self.kind}: {name} is {shown(thing, _LONGEST)}; accepted: {own.accepted}"
            )
        self.registered[name] = thing
        self.changes += 1

    def find(self, name: str) -> T | Callable[..., Any]:
        """Return what a name stands for, here or, as `package.module:attribute`, in a module.

        Raises:
            SpecError: unknown name, or a module's attribute that `own` does not accept.

        """
        name = check_text(self.kind, name)
        return self[name] if name in self else find(self.kind, name, self, self.own)

    def make(self, name: str, parameters: Mapping[str, Any]) -> Any:
        """Make the thing of that name with these parameters of its constructor.

        Raises:
            SpecError: unknown name, unknown parameter, or a value that is not accepted.

        """
        made_by = self.find(name)
        if not callable(made_by):
            self._refuse_unknown(name, parameters, [])
            return made_by
        try:
            accepted, needed = _accepted_by(cast(Hashable, made_by))
        except (TypeError, ValueError) as error:  # of some that are written in C
            raise SpecError(f"{self.kind}: {name} cannot be made ({error})") from error
        if not isinstance(made_by, type):  # a function of anybody's may do anything with them
            self._refuse_unknown(name, parameters, [])
            if needed:
                takes = " and ".join(needed)
                raise SpecError(
                    f"{self.kind}: {name} cannot be called without {takes}; accepted: "
                    f"{self.own.accepted}"
                )
        else:
            self._refuse_unknown(name, parameters, accepted)
        if missing := [each for each in needed if each not in parameters]:
            call = ", ".join(f"{each}=..." for each in needed)
            raise SpecError(
                f"{self.kind}: {name} needs {' and '.join(missing)}; accepted: {name}({call})"
            )
        if lacks := sorted(getattr(made_by, "__abstractmethods__", ())):
            raise SpecError(
                f"{self.kind}: {name} does not define {' and '.join(lacks)}; accepted: "
                f"{self.own.accepted} and defines it"
            )
        try:
            made = made_by(**parameters)
        except PrivRobustError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's class raises
            raise SpecError(f"{self.kind}: {name} cannot be made ({in_a_line(error)})") from error
        if isinstance(made_by, type) and not isinstance(made, made_by):
            raise SpecError(
                f"{self.kind}: {name} made a {type(made).__name__}; accepted: {self.own.accepted}"
            )
        if isinstance(made, Configured):
            refuse_indistinct(self.kind, name, made, parameters)
        return made

    def _refuse_unknown(self, name: str, given: Iterable[str], accepted: Sequence[str]) -> None:
        for each in given:
            if each not in accepted:
                takes = f"it takes: {', '.join(accepted)}" if accepted else "it takes none"
                raise SpecError(
                    f"{self.kind}: {in_short(name)} has no parameter {shown(each)} ({takes})"
                )

    def get(self, text: str) -> Any:
        """Make what a spec names: `krum(f=2)`, or `package.module:Class(f=2)`.

        Raises:
            SpecError: it reads otherwise, or as `make`.

        """
        return self.make(*parse(self.kind, text))

    def canonical(self, text: str, kept: Set[str] = frozenset()) -> str:
        """Write the same in one way: without spaces, and without parameters that are defaults.

        Args:
            text: as `get` reads it.
            kept: parameters that stay where they are given, though they may be defaults.

        Raises:
            SpecError: as `get`.

        """
        name, given = parse(self.kind, text)
        made = self.make(name, given)
        has_parameters = isinstance(made, Configured)
        return written(name, settings(made, kept & given.keys()) if has_parameters else {})

    def entry(self, name: str, note: str = "") -> Entry:
        """Describe what a name stands for, as `privrobust list` shows it.

        Args:
            name: of `available`.
            note: a remark before the paper.

        """
        thing = self[name]
        about = (inspect.getdoc(thing) or "").split("\n")[0]
        if not _is_configured(thing):
            return Entry(name, about, note)
        cls = cast(type[Configured], thing)
        remarks = "; ".join(filter(None, [note, cls.paper]))
        defaults = {each.name: each.default for each in parameters_of(cast(Hashable, cls))}
        return Entry(name, about, remarks, defaults)

    def entries(self) -> list[Entry]:
        """Describe everything, sorted by name."""
        return [self.entry(name) for name in self.available()]


def _is_configured(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Configured)


# Specs are made by the thousand, of a few classes.
@lru_cache(maxsize=256)
def _accepted_by(made_by: Hashable) -> tuple[list[str], list[str]]:
    """List the parameters of a constructor, or of a function, and those without a default."""
    parameters = inspect.signature(cast(Callable[..., Any], made_by)).parameters
    collect = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [
        name
        for name, each in parameters.items()
        if each.default is each.empty and each.kind not in collect
    ]
    return list(parameters), needed
