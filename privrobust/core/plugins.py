"""Names that specs use: registered ones, and `package.module:attribute` for a user's own.

A spec that names a module is code, as importing runs it. What a name stands for is nevertheless
looked at before it is called: a class that derives from ours or, where a function makes what is
wanted, a function; nothing that is built into Python or comes with it.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FunctionType, MethodType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from privrobust.core.numbers import own
from privrobust.errors import (
    SpecError,
    did_you_mean,
    in_a_line,
    in_short,
    is_installed,
    shown,
    unknown_name,
)

_LONGEST = 200  # of a path to a module, which people need whole
_MOST_FOLDERS = 4  # that an error lists
_OF_PYTHON = sys.stdlib_module_names | set(sys.builtin_module_names)
_refused = False


class Own(NamedTuple):
    """What a spec may name of a user's own."""

    bases: tuple[type, ...]
    """Classes that a class has to derive from."""
    accepted: str
    """The same in words."""
    made: type | None = None
    """What a function has to return; None where functions are not called."""


def check_text(kind: str, text: object) -> str:
    """Return the text itself, as Python's own.

    Raises:
        SpecError: it is none.

    """
    text = own(kind, text)
    if not isinstance(text, str):
        raise SpecError(f"{kind}: {shown(text)} is not accepted: text")
    return text


def is_built_in(made: object) -> bool:
    """Tell whether a thing's class is ours: a user's own may fail in ways we cannot know."""
    return _package(type(made).__module__) == _package(__name__)


@contextmanager
def without_plugins() -> Iterator[None]:
    """Refuse meanwhile every name of a module in a spec, before anything is imported."""
    global _refused
    before, _refused = _refused, True
    try:
        yield
    finally:
        _refused = before


def look_in(folder: Path) -> None:
    """Let specs name modules of a folder, before others; nothing where modules are refused."""
    name = str(folder.absolute())
    if not _refused and name not in sys.path[:1]:
        sys.path[:] = [name, *(each for each in sys.path if each != name)]


def refuse_unwanted(kind: str, value: object) -> None:
    """Refuse the names of modules in what a spec says, where they are not wanted.

    Args:
        kind: the field, for errors.
        value: a name with its parameters, or a chain of them; mappings and lists too.

    Raises:
        SpecError: there is one, under `without_plugins`.

    """
    if not _refused:
        return
    for text in _texts(value):
        if _NAMES_A_MODULE.search(text):
            raise _unwanted(kind, text)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if "\\" in value:  # a parameter in quotes may write signs as Python does: \\x3a
            yield value.encode("ascii", "replace").decode("unicode_escape", "replace")
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)


# At the start of a text, in a chain, or as a parameter that is a name: `f(against='mine:Rule')`.
_NAMES_A_MODULE = re.compile(r"(?:^|[+'\"(\[,=])\s*[\w.-]+:\w")


def _unwanted(kind: str, name: str) -> SpecError:
    return SpecError(
        f"{kind}: {shown(name, _LONGEST)} names a module, which --no-plugins refuses; accepted: "
        "names that `privrobust list` shows"
    )


def find(kind: str, name: str, known: Iterable[str], wanted: Own) -> Callable[..., Any]:
    """Import what a spec names of a user's own, as `package.module:attribute`.

    Args:
        kind: what it is to be, for errors: "attack", "aggregator".
        name: as the spec has it.
        known: names that it might have meant.
        wanted: what it has to be.

    Raises:
        SpecError: unknown name, a module that cannot be imported, or something else than wanted.

    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise SpecError(f"{unknown_name(kind, name, known)}; one of your own: module:name")
    if _refused:
        raise _unwanted(kind, name)
    if _package(module) in _OF_PYTHON:  # importing some of them does something, too
        raise _not_wanted(kind, name, "is of Python's own library", wanted)
    quoted = shown(name, _LONGEST)
    if not all(module.split(".")) or set("/\\") & set(module):
        raise SpecError(
            f"{kind}: {quoted} names no module; accepted: module:name or package.module:name, as "
            "Python imports it"
        )
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _not_imported(kind, quoted, error) from error  # it is there, another is not
        raise SpecError(
            f"{kind}: {quoted}: there is no module {shown(error.name)}; looked in: {_searched()}"
        ) from None
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise _not_imported(kind, quoted, error) from error
    try:
        found = getattr(imported, attribute)
    except Exception as error:  # of modules with a __getattr__ of their own
        if not isinstance(error, AttributeError):
            raise _not_imported(kind, quoted, error) from error
        hint = did_you_mean(attribute, vars(imported))
        raise SpecError(
            f"{kind}: {quoted}: the module {module} has no {shown(attribute)}{hint}"
        ) from None
    if complaint := objection(found, wanted):
        raise _not_wanted(kind, name, complaint, wanted)
    result: Callable[..., Any] = found
    return result


def _not_imported(kind: str, quoted: str, error: BaseException) -> SpecError:
    return SpecError(f"{kind}: cannot import {quoted} ({in_short(in_a_line(error), _LONGEST)})")


def _searched() -> str:
    """List where modules are looked for, beside what is installed."""
    folders = dict.fromkeys(os.path.abspath(each) for each in sys.path)
    own = [each for each in folders if Path(each).is_dir() and not is_installed(Path(each))]
    return ", ".join(
        [*(shown(each, _LONGEST) for each in own[:_MOST_FOLDERS]), "what is installed"]
    )


def _not_wanted(kind: str, name: str, problem: str, wanted: Own) -> SpecError:
    return SpecError(f"{kind}: {shown(name, _LONGEST)} {problem}; accepted: {wanted.accepted}")


def objection(found: object, wanted: Own) -> str | None:
    """Say why an object is not what is wanted, by looks alone: nothing is called."""
    if isinstance(found, type):
        return None if issubclass(found, wanted.bases) else "is another class"
    if not callable(found):
        return f"is a {type(found).__name__}, not callable"
    if wanted.made is None:
        return f"is a {type(found).__name__}, no class"
    function = _function(found)
    if _package(str(getattr(function, "__module__", ""))) in _OF_PYTHON:
        return "is of Python's own library"
    return None if _may_return(function, wanted.made) else "returns something else"


def _function(called: object) -> object:
    """Return what runs in the end; of an object with a `__call__` its class."""
    while isinstance(called, partial | MethodType):
        called = called.func if isinstance(called, partial) else called.__func__
    return called if isinstance(called, FunctionType | type) else type(called)


def _may_return(function: object, made: type) -> bool:
    """Tell whether the function's annotation, if it has one that can be read, leaves that open."""
    try:
        hint = get_type_hints(function).get("return", made)
    except Exception:  # of names that only type checkers import
        return True
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]
    kinds = [get_origin(each) or each for each in hints]
    return any(
        not isinstance(kind, type) or issubclass(kind, made) or issubclass(made, kind)
        for kind in kinds
    )


def _package(module: str) -> str:
    return module.partition(".")[0]
