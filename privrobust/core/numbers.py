"""Numbers from users, made Python's own once, as they enter.

Frames, arrays, tensors and YAML hold numbers of many types, whose arithmetic differs: float16
rounds to three digits, uint64 has no negative differences. What is computed must depend on a
number's value and not on its type, so each becomes an `int` or a `float` of exactly that value, or
is refused.

>>> as_float("noise_scale", np.float32(0.5), "a finite number")
0.5
>>> as_whole("steps", 300.0, "a whole number")
300

Text is alike: `own` makes numpy's Python's. A spec, as YAML has it, may write its numbers as text;
no other place reads numbers from text.
"""

import math
import sys
from decimal import Decimal
from numbers import Rational
from typing import Any

import numpy as np

from privrobust.errors import SpecError
from privrobust.errors import shown as shown  # what shows numbers is asked for here, too

# Beyond these powers of ten a Decimal is no float, and its integer ratio may not fit into memory.
_MOST_DIGITS, _FINEST = 400, -1100


class Inexact(ValueError):
    """A number that no int and no float of Python is equal to."""


def plain(value: object) -> int | float:
    """Return the exact value of a number of any type, as Python's own int or float.

    Args:
        value: an int, a float, one of numpy's (0-d arrays too), a 0-d tensor, a Fraction or a
            Decimal. Infinities and NaN pass, minus zero is 0.

    Raises:
        TypeError: it is no real number: a truth value, text, complex, an array with axes.
        Inexact: it is one that Python's types have not.

    """
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise TypeError
    # The base classes' own methods: a subclass may print and compare as it likes.
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, np.longdouble):
        finite = bool(np.isfinite(value))
        return _of_ratio(*value.as_integer_ratio()) if finite else float(value)
    # numpy's times are Rational too, in units of their own, and go the way of arrays.
    if isinstance(value, Rational) and not hasattr(value, "dtype"):
        try:
            ratio = int(value.numerator), int(value.denominator)
        except Exception:  # whatever a user's class raises
            raise TypeError from None
        return _of_ratio(*ratio)
    return _of_array(value)


def as_float(
    field: str,
    value: object,
    accepted: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """Return a finite float of exactly that value, within the bounds.

    Args:
        field: its name, for the error.
        value: of any type that `plain` takes.
        accepted: what is, in words.
        above: what it must exceed.
        least: the least that it may be.
        below: what it must stay below.
        most: the most that it may be.

    Raises:
        SpecError: names the field, the value and what is accepted.

    """
    try:
        number = plain(value)
        within = abs(number) <= sys.float_info.max and above < number < below
        if not (within and least <= number <= most):
            raise TypeError
        if float(number) != number:
            raise Inexact
    except Inexact:
        raise _inexact(field, value) from None
    except TypeError:
        raise SpecError(f"{field}: {shown(value)} is not {accepted}") from None
    return float(number)


def as_whole(
    field: str, value: object, accepted: str, *, least: float = -math.inf, most: float = math.inf
) -> int:
    """Return an int of exactly that value, within the bounds; 300.0 is whole.

    Args:
        field: its name, for the error.
        value: of any type that `plain` takes.
        accepted: what is, in words.
        least: the least that it may be.
        most: the most that it may be.

    Raises:
        SpecError: names the field, the value and what is accepted.

    """
    try:
        number = plain(value)
        if isinstance(number, float) and not number.is_integer():
            raise TypeError
        if not least <= number <= most:
            raise TypeError
    except (TypeError, Inexact):
        raise SpecError(f"{field}: {shown(value)} is not {accepted}") from None
    return int(number)


def own(field: str, value: Any) -> Any:
    """Return a number, a truth value or a text as Python's own, and anything else as it is.

    Raises:
        SpecError: a number that no int and no float is equal to.

    """
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return plain(value)
    except Inexact:
        raise _inexact(field, value) from None
    except TypeError:
        pass
    try:
        item = value.item() if value.ndim == 0 else None
    except Exception:  # it is nothing of the kind
        return value
    return item if isinstance(item, (bool, str)) else value


def _inexact(field: str, value: object) -> SpecError:
    return SpecError(
        f"{field}: {shown(value)} has no exact value in double precision; accepted: one that has"
    )


def _of_decimal(value: Decimal) -> int | float:
    if not value.is_finite():
        return math.nan if value.is_nan() else float(value)
    if value and not (value.adjusted() < _MOST_DIGITS and value.as_tuple().exponent >= _FINEST):  # type: ignore[operator]
        raise Inexact
    return _of_ratio(*value.as_integer_ratio()) if value else 0


def _of_ratio(numerator: int, denominator: int) -> int | float:
    if numerator % denominator == 0:
        return numerator // denominator
    try:
        nearest = numerator / denominator
    except OverflowError:
        raise Inexact from None
    above, below = nearest.as_integer_ratio()
    if above * denominator != below * numerator:
        raise Inexact
    return nearest


def _of_array(value: Any) -> int | float:
    """Read a scalar or an array without axes, numpy's, torch's or one that reads like them."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")  # torch's types have no kind
    try:
        if value.ndim != 0 or kind not in "iufO":  # times would turn into whole numbers
            raise TypeError
        if isinstance(value, np.ma.MaskedArray) and value.mask:  # a value that is not there
            raise TypeError
        item = value.item()
    except Exception:  # as tensors without values do, and what has no axes to speak of
        raise TypeError from None
    if not isinstance(item, (int, float, np.longdouble, Decimal, Rational)):
        raise TypeError
    return plain(item)
