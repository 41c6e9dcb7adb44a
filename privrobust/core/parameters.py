"""Things with parameters, as specs write them: attacks, aggregation rules, schedules.

Each is a frozen dataclass whose fields say what they accept, so that specs, Python and
`privrobust list` agree, and whose repr makes it again.

>>> @dataclass(frozen=True)
... class Push(Configured):
...     scale: float = parameter(1.0, above=0)
>>> Push(scale=2)
Push(scale=2.0)
>>> parse("attack", "push(scale=2)")
('push', {'scale': 2})
"""

import ast
import math
import re
import sys
from collections.abc import Hashable, Mapping, Set
from copy import deepcopy
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from privrobust.core.numbers import as_float, own
from privrobust.core.plugins import check_text
from privrobust.errors import SpecError, shown


def parameter(
    default: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Any:
    """Make a dataclass field that accepts numbers between these bounds.

    >>> @dataclass(frozen=True)
    ... class Push(Configured):
    ...     scale: float = parameter(1.0, above=0, most=10)

    Args:
        default: its value where none is given.
        above: what a number has to exceed.
        least: the least number.
        below: what a number has to stay below.
        most: the largest number.

    """
    bounds = {"above": above, "least": least, "below": below, "most": most}
    return field(default=default, metadata={k: v for k, v in bounds.items() if v is not None})


@dataclass(frozen=True)
class Configured:
    """Parameters that are checked as they are given."""

    paper: ClassVar[str] = ""
    """Where it is from."""

    def __post_init__(self) -> None:
        """Refuse what a field does not accept, and make whole numbers floats where they should be.

        Raises:
            SpecError: names the parameter, its value and what is accepted.

        """
        hints = _hints(cast(Hashable, type(self)))
        for each in _parameters(self):
            name, given = f"{type(self).__name__}.{each.name}", getattr(self, each.name)
            value = _converted(name, given, hints[each.name])
            if not _accepts(each, hints[each.name], value):
                accepted = _accepted(each, hints[each.name])
                if value is None:
                    raise SpecError(f"{name}: nothing is given; accepted: {accepted}")
                raise SpecError(f"{name}: {shown(value)} is not {accepted}")
            object.__setattr__(self, each.name, value)


# Specs are made by the thousand, of a few classes; Python reads these from their source each time.
@lru_cache(maxsize=256)
def _hints(of_class: Hashable) -> dict[str, Any]:
    """Read the types of a class's fields."""
    return get_type_hints(cast(type, of_class))


@lru_cache(maxsize=256)
def parameters_of(of_class: Hashable) -> "tuple[Field[Any], ...]":
    """Return a class's fields as people list them: those that are shared with others last."""
    return tuple(sorted(fields(cast(type, of_class)), key=attrgetter("kw_only")))


def _parameters(made: Configured) -> "tuple[Field[Any], ...]":
    return parameters_of(cast(Hashable, type(made)))


def _kinds(hint: Any) -> list[Any]:
    """Split `float | None` into `[float, NoneType]`."""
    return list(get_args(hint)) if get_origin(hint) in (UnionType, Union) else [hint]


def _converted(name: str, value: Any, hint: Any) -> Any:
    """Return a value as its field keeps it: numbers as Python's own, of the field's type."""
    kinds = _kinds(hint)
    if {int, float, bool, str} & set(kinds) or _choices(hint):
        value = own(name, value)
    elif isinstance(value, np.generic):
        value = value.item()
    if type(value) is int and float in kinds and int not in kinds:
        finite = abs(value) <= sys.float_info.max
        return as_float(name, value, "a finite number") if finite else value
    if type(value) is float and int in kinds and float not in kinds:
        return int(value) if value.is_integer() else value
    return value


def _accepts(each: "Field[Any]", hint: Any, value: Any) -> bool:
    kinds = _kinds(hint)
    if any(type(value) is type(choice) and value == choice for choice in _choices(hint)):
        return True
    if type(value) in (int, float):
        return type(value) in kinds and _within(each, value)
    if isinstance(value, bool):
        return bool in kinds
    return any(
        isinstance(value, get_origin(kind) or kind)
        for kind in kinds
        if get_origin(kind) is not Literal
    )


def _choices(hint: Any) -> list[Any]:
    return [
        choice for kind in _kinds(hint) if get_origin(kind) is Literal for choice in get_args(kind)
    ]


def _within(each: "Field[Any]", value: float) -> bool:
    bounds = each.metadata
    return (
        abs(value) <= sys.float_info.max  # no infinity, no NaN, and no whole number beyond them
        and value > bounds.get("above", -math.inf)
        and value >= bounds.get("least", -math.inf)
        and value < bounds.get("below", math.inf)
        and value <= bounds.get("most", math.inf)
    )


def _literal(value: Any) -> str:
    """Write a value; Python writes no whole number of 4,300 digits, and nobody reads a hundred."""
    return hex(value) if type(value) is int and value.bit_length() > 64 else repr(value)


_WORDS = {str: "text", bool: "true or false", type(None): "none"}


def _accepted(each: "Field[Any]", hint: Any) -> str:
    """Say in words what a field accepts."""
    if choices := _choices(hint):
        return f"one of {', '.join(map(repr, choices))}"
    kinds = _kinds(hint)
    if not {int, float} & set(kinds):
        return " or ".join(
            _WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}" for kind in kinds
        )
    words = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
    limits = [f"{words[name]} {bound:g}" for name, bound in each.metadata.items()]
    number = "a whole number" if int in kinds else "a finite number"
    return " ".join([number, " and ".join(limits)]).strip() + (
        " or none" if type(None) in kinds else ""
    )


def refuse_indistinct(
    kind: str, name: str, made: Configured, parameters: Mapping[str, Any]
) -> None:
    """Refuse parameters that equality, and so keys and caches, would not see."""
    known = {each.name for each in _parameters(made)}
    for given in parameters:
        if given not in known:
            raise SpecError(
                f"{kind}: {name}: its parameter {shown(given)} is no dataclass field; accepted: a "
                "class with @dataclass(frozen=True) and a field for each parameter"
            )
    try:
        hash(made)
    except TypeError as error:
        raise SpecError(
            f"{kind}: {name} with {shown(dict(parameters))} is not accepted, as its parameters "
            "cannot be told from others; accepted: numbers, text or tuples"
        ) from error


_LONG = 200
_CALL = re.compile(r"\s*([\w.]+(?::\w+)?)\s*(?:\((.*)\))?\s*", re.DOTALL)


def parse(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Read `krum(f=2)` as `("krum", {"f": 2})`.

    Raises:
        SpecError: it reads otherwise.

    """
    text = check_text(kind, text)
    try:
        name, given = _read(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        # the last two are Python's for nesting that is too deep
        raise SpecError(
            f"{kind}: {shown(text, _LONG)} is not accepted: a name, or name(parameter=value, ...)"
        ) from None
    return name, deepcopy(given)


class _OfYAML(ast.NodeTransformer):
    """Reads `true`, `false` and `null`, as YAML has them, as Python's."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace a word by what it says."""
        words = {"true": True, "false": False, "null": None}
        return ast.Constant(words[node.id]) if node.id in words else node


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[str, dict[str, Any]]:
    call = _CALL.fullmatch(text)
    if call is None:
        raise ValueError(text)
    tree = _OfYAML().visit(ast.parse(f"f({call[2] or ''})", mode="eval"))
    expression = tree.body
    if not (isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name)):
        raise ValueError(text)
    given = {str(each.arg): ast.literal_eval(each.value) for each in expression.keywords}
    if expression.args or len(given) < len(expression.keywords):
        raise ValueError(text)
    return call[1], given


def settings(made: Configured, kept: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the parameters that are not the defaults, and those to be kept."""
    values = {each.name: (getattr(made, each.name), each.default) for each in _parameters(made)}
    return {
        name: value for name, (value, default) in values.items() if name in kept or value != default
    }


def parts(kind: str, text: str) -> list[str]:
    """Split `arc + nnm + median` at each `+`.

    Raises:
        SpecError: it is no text.

    """
    return re.split(r"\+(?![^(]*\))", check_text(kind, text))


def written(name: str, parameters: Mapping[str, Any]) -> str:
    """Write a name and its parameters as `parse` reads them."""
    inside = ", ".join(f"{key}={_literal(value)}" for key, value in parameters.items())
    return f"{name}({inside})" if inside else name
