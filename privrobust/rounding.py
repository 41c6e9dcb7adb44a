"""Printing numbers that must not be printed too small."""

from decimal import ROUND_CEILING, Context


def rounded_up(value: float, digits: int) -> str:
    """A finite number to so many significant digits, never below its value."""
    up = Context(prec=digits, rounding=ROUND_CEILING).create_decimal_from_float(value)
    return f"{up:.{digits}g}"
