"""Frozen records whose errors are one line that names the field, its value and what is accepted."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from privrobust.core.numbers import own, shown
from privrobust.errors import SpecError, did_you_mean, unknown_name

_TEXT = "text, in quotes where it reads as a number or a truth value"


class Record(BaseModel):
    """A frozen record of settings, checked whenever one is made.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    _place: ClassVar[tuple[str, ...]] = ()
    """Of the record in another, for errors."""
    _stand_ins: ClassVar[tuple[str, ...]] = ()
    """What may be given in place of fields."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**{name: _own(name, value) for name, value in settings.items()})
        except ValidationError as error:
            refused = self._refused(error)
            raise refused from refused.__cause__

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, checked as a new one is.

        Raises:
            SpecError: as the constructor.

        """
        if not update:
            return super().model_copy(deep=deep)
        return type(self)(**self._changed(update))

    def _changed(self, update: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(update)

    @classmethod
    def _refused(cls, error: ValidationError) -> SpecError:
        """Make the error of the first problem that pydantic found."""
        problem = error.errors(include_url=False)[0]
        cause = problem.get("ctx", {}).get("error")
        path = [*cls._place, *map(str, problem["loc"])]
        field = shown(".".join(path)).strip("'")
        if isinstance(cause, SpecError):
            line = str(cause)
        elif problem["type"] == "extra_forbidden" and len(path) == 1:
            line = str(unknown_name("field", field, [*cls.model_fields, *cls._stand_ins]))
        elif problem["input"] is None:
            line = f"{field}: nothing is given; accepted: {_accepted(problem)}"
        else:
            line = f"{field}: {shown(problem['input'])} is not accepted: {_accepted(problem)}"
        made = SpecError(line)
        made.field = getattr(cause, "field", None) or next(map(str, problem["loc"]), None)
        made.__cause__ = getattr(cause, "__cause__", None)
        return made


def _accepted(problem: ErrorDetails) -> str:
    """Say what a field accepts in place of what pydantic found, as the suite's own errors do."""
    words = _ACCEPTED.get(problem["type"])
    if words is None:
        return problem["msg"]
    bounds = {name: value for name, value in problem.get("ctx", {}).items() if name != "error"}
    accepted = words.format_map(bounds)
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        accepted += did_you_mean(problem["input"], re.findall("'([^']*)'", accepted))
    return accepted


_NAMED = "a name, or a name with its parameters"
_ACCEPTED = {
    "string_type": _TEXT,
    "greater_than": "above {gt:.10g}",
    "greater_than_equal": "at least {ge:.10g}",
    "less_than": "below {lt:.10g}",
    "less_than_equal": "at most {le:.10g}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    "int_parsing_size": "a whole number of fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _NAMED),
}
"""By the type of pydantic's errors."""


def _own(field: str, value: Any) -> Any:
    """Return a number or text as Python's own; bytes, which pydantic would decode, are no text."""
    if isinstance(value, bytes | bytearray):
        raise SpecError(f"{field}: {shown(value)} is not accepted: a text or a number")
    return own(field, value)
