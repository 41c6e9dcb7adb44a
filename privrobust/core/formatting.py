"""Write numbers so that no epsilon looks smaller, and no mean more exact, than it is."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_MOST_DIGITS = 9  # of whole numbers without an exponent

NBSP = "\N{NO-BREAK SPACE}"
"""Stands within a number and its unit, where no line may break."""


def number(value: object) -> str:
    """Write a setting in short: a float with six significant digits, anything else as it is."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(count: int, noun: str) -> str:
    """Return how many there are of what a regular noun names: `1 run`, `2,800 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def in_full(value: float) -> str:
    """Write a number with every digit that it has: 0.1234567, and 32 for 32.0."""
    return repr(float(value)).removesuffix(".0")


def rounded_up(value: float, digits: int) -> str:
    """Write so many significant digits that are never below the value; ∞ for infinity.

    But for 1 in 10^12: a double's own rounding error makes no 2.75 of 2.74, and no 3.21 of 3.2.
    """
    return _rounded(value, digits, ROUND_CEILING)


def rounded_down(value: float, digits: int) -> str:
    """Write so many significant digits that are never above the value; ∞ for infinity.

    But for 1 in 10^12, as `rounded_up`.
    """
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    if math.isinf(value):
        return "∞"
    short = f"{value:.{digits}g}"
    is_short = math.isclose(float(short), value, rel_tol=1e-12)
    context = Context(prec=digits, rounding=rounding)
    exact = Decimal(short) if is_short else context.create_decimal_from_float(value)
    if digits <= exact.adjusted() < _MOST_DIGITS:
        return f"{exact:f}"  # 1750, and not 1.75e+3
    return f"{exact:.{digits}g}"


def percent(share: float) -> str:
    """Write a share in percent with one decimal; nothing for NaN."""
    return "" if math.isnan(share) else f"{100 * share:z.1f}"


def in_percent(mean: float, half: float) -> tuple[str, str]:
    """Write a share and its uncertainty in percent, with as many digits as that leaves.

    Args:
        mean: the share.
        half: half of its interval, NaN if it has none: the second text is empty then.

    """
    return with_digits(100 * mean, 100 * half, 1, 2)


def with_digits(mean: float, half: float, usual: int, most: int) -> tuple[str, str]:
    """Write a number and its uncertainty with as many digits as that leaves.

    Args:
        mean: the number.
        half: half of its interval, NaN if it has none: the second text is empty then.
        usual: decimals where there is no interval.
        most: decimals however small the interval is.

    """
    if math.isnan(half):
        return f"{mean:z.{usual}f}", ""
    digits = decimals(half, most)
    return f"{mean:z.{digits}f}", f"{half:.{digits}f}"


def decimals(half: float, most: int = 2) -> int:
    """Return how many decimals a value with this uncertainty deserves, at most so many.

    The uncertainty keeps one digit, two if the first is 1: 0.62 is 0.6, 0.14 stays, 14.4 is 14.
    """
    if half <= 0:
        return 1
    exponent = math.floor(math.log10(half))
    leading = half / 10**exponent
    return min(most, max(0, (1 if leading < 2 else 0) - exponent))
