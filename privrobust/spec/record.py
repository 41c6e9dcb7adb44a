"""Frozen records whose errors are one line that names the field, its value and what is accepted."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from privrobust.core.numbers import own, shown
from privrobust.errors import SpecError, unknown_name

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
            raise self._refused(error) from None

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
        else:
            accepted = _TEXT if problem["type"] == "string_type" else problem["msg"]
            line = f"{field}: {shown(problem['input'])} is not accepted: {accepted}"
        made = SpecError(line)
        made.field = getattr(cause, "field", None) or next(map(str, problem["loc"]), None)
        return made


def _own(field: str, value: Any) -> Any:
    """Return a number or text as Python's own; bytes, which pydantic would decode, are no text."""
    if isinstance(value, bytes | bytearray):
        raise SpecError(f"{field}: {shown(value)} is not accepted: a text or a number")
    return own(field, value)
