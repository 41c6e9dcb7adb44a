"""Printing numbers that must not be printed too small, or more exact than they are."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context


def rounded_up(value: float, digits: int) -> str:
    """Write a finite number with so many significant digits, never below its value."""
    up = Context(prec=digits, rounding=ROUND_CEILING).create_decimal_from_float(value)
    return f"{up:.{digits}g}"


def rounded_down(value: float, digits: int) -> str:
    """Write a finite number with so many significant digits, never above its value."""
    down = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal_from_float(value)
    return f"{down:.{digits}g}"


def in_percent(mean: float, half: float) -> tuple[str, str]:
    """A share and its uncertainty, in percent, with as many digits as that leaves.

    Args:
        mean: the share.
        half: half of its interval, NaN if it has none: the second text is empty then.

    """
    if math.isnan(half):
        return f"{100 * mean:.1f}", ""
    digits = decimals(100 * half)
    return f"{100 * mean:.{digits}f}", f"{100 * half:.{digits}f}"


def decimals(half: float) -> int:
    """How many decimals a value with this uncertainty deserves, at most 2.

    The uncertainty keeps one digit, two if the first is 1: 0.62 is 0.6, 0.14 stays, 14.4 is 14.
    """
    if half <= 0:
        return 1
    exponent = math.floor(math.log10(half))
    leading = half / 10**exponent
    return min(2, max(0, (1 if leading < 2 else 0) - exponent))
