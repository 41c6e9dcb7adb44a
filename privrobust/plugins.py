"""Names that specs use: registered ones, and `package.module:attribute` for a user's own."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from privrobust.errors import SpecError, did_you_mean, in_a_line, in_short, shown, unknown_name
from privrobust.numeric import own

T = TypeVar("T")

_LONGEST = 200  # of a path to a module, which people need whole


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
    """Whether a thing's class is this package's: a user's own may fail in ways we cannot know."""
    return type(made).__module__.split(".")[0] == __name__.split(".")[0]


def find(kind: str, name: str, known: Mapping[str, T]) -> T | Callable[..., Any]:
    """What has that name: an entry of `known`, or a callable imported from a user's module.

    Raises:
        SpecError: unknown name, a module that cannot be imported, or no callable.

    """
    name = check_text(kind, name)
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise SpecError(f"{unknown_name(kind, name, known)}; one of your own: module:name")
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        problem = in_short(in_a_line(error), _LONGEST)
        if module in sys.modules:  # it is there, and lacks the attribute
            problem += did_you_mean(attribute, vars(sys.modules[module]))
        raise SpecError(f"{kind}: cannot import {shown(name, _LONGEST)} ({problem})") from error
    if not callable(found):
        raise SpecError(
            f"{kind}: {shown(name, _LONGEST)} is a {type(found).__name__}, not callable"
        )
    result: Callable[..., Any] = found
    return result
