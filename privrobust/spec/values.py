"""How the values of fields are read, whatever they are given as."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from privrobust.core.numbers import as_float, as_whole, own, plain, shown
from privrobust.core.parameters import written
from privrobust.errors import SpecError

# Training computes in float32 and accounting in float64: what is accounted must exist in both.
SMALLEST, LARGEST = 1e-30, 1e30


def _read_number(value: Any, info: ValidationInfo) -> Any:
    """Read a number of any type; text is pydantic's to read."""
    if value is None or isinstance(value, str):
        return value
    as_float(str(info.field_name), value, "accepted: a finite number")
    return plain(value)  # whole numbers stay whole in pydantic's errors


def _read_whole(value: Any, info: ValidationInfo) -> Any:
    """Read a whole number of any type; text is pydantic's to read."""
    if value is None or isinstance(value, str):
        return value
    return as_whole(str(info.field_name), value, "accepted: a whole number")


def _plain_zero(value: float | None) -> float | None:
    """Drop the sign of zero: text may say minus zero, which has another key than 0."""
    return value or (None if value is None else 0.0)


def named(value: Any) -> Any:
    """Read `krum(f=2)` and `{name: krum, f: 2}`, which name one rule, as the former."""
    if isinstance(value, dict) and isinstance(name := own("name", value.get("name")), str):
        given = {key: _literal(f"{name}.{key}", value[key]) for key in value if key != "name"}
        return written(name, given)
    return value


def _literal(field: str, value: Any) -> Any:
    """Return a parameter as text can say it."""
    if isinstance(value, list | tuple):
        return type(value)(_literal(field, each) for each in value)
    if isinstance(value, dict):
        return {key: _literal(field, each) for key, each in value.items()}
    return scalar(field, value)


def scalar(field: str, value: Any) -> bool | int | float | str | None:
    """Return one value of a parameter as Python's own.

    Raises:
        SpecError: it is no number, text or truth value.

    """
    value = own(field, value)
    if not isinstance(value, bool | int | float | str | None):
        raise SpecError(
            f"{field}: {shown(value)} is not accepted: a number, text, or a truth value"
        )
    return value


_NUMBER = BeforeValidator(_read_number)
_ZERO = AfterValidator(_plain_zero)
Number = Annotated[float, _NUMBER, _ZERO]
PerhapsNumber = Annotated[float | None, _NUMBER, _ZERO]
Whole = Annotated[int, BeforeValidator(_read_whole)]
PerhapsWhole = Annotated[int | None, BeforeValidator(_read_whole)]
Named = Annotated[str, BeforeValidator(named)]
"""Text that names a thing, with its parameters if any."""
PerhapsNamed = Annotated[str | None, BeforeValidator(named)]
