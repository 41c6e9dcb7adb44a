"""Noise to any precision, in whole numbers: the reference that both fast paths fall back on.

The two words of a block are the first 64 binary digits of two real numbers, u and t, uniform on
[0, 1); more digits follow in the stream when asked for. Of them,

- *Gaussian* noise is Box and Muller's: the coordinates of a block are `m r sin(phi)` and
  `m r cos(phi)` with `r = sqrt(-2 ln u)` and phi from t, uniform on the circle: the first digit of
  t is a sign for both, the others are a v uniform on [0, 1), and phi is `pi (v - 1/2)`.
- *Laplace* noise takes one of u and t a coordinate: the first digit is the sign, the others are a v
  uniform on [0, 1), and the size is `-m ln v`.
- *Logistic* noise takes one of u and t a coordinate, and inverts the law's distribution function:
  the draw is `m (ln u - ln(1 - u))`, of t likewise.

Each is then rounded to the nearest whole number. Here that is done in interval arithmetic, with
more digits until both ends round alike: the result is the rounding of a real-valued draw, exactly.
A fast path may compute in floating point as it likes if it knows how far off it can be, and sends
here the rare numbers that are too close to a half for it. So all paths give the same integers.
"""

from collections.abc import Callable
from functools import lru_cache
from math import isqrt

More = Callable[[int], tuple[int, int]]
"""Gives the words that continue u and t at a level 0, 1, 2, ..., 64 digits each."""

Interval = tuple[int, int]
"""The ends of an interval, in units of 2^-bits; what is meant lies within."""


def gaussian(coordinate: int, scale: float, more: More) -> int:
    """Return coordinate 0 or 1 of a block of Gaussian noise.

    Args:
        coordinate: 0 for the sine, 1 for the cosine.
        scale: the standard deviation m, in steps of the grid.
        more: the block's words.

    """

    def enclosed(u: int, t: int, digits: int) -> Interval | None:
        if u == 0:
            return None
        bits = digits + 32
        radius = tuple(map(isqrt, (2 * end << bits for end in _minus_log(u, digits, bits))))
        half = 1 << (digits - 1)
        negative, v = divmod(t, half)
        turned = _sine_or_cosine(coordinate, v - half // 2, digits - 1, bits)
        products = [r * c for r in (radius[0], radius[1] + 1) for c in turned]
        low, high = min(products) >> bits, -(-max(products) >> bits)
        return _scaled((-high, -low) if negative else (low, high), scale, bits)

    return _first_certain(enclosed, more)


def laplace(coordinate: int, scale: float, more: More) -> int:
    """Return coordinate 0 or 1 of a block of Laplace noise, as `gaussian`; m is its parameter."""

    def enclosed(u: int, t: int, digits: int) -> Interval | None:
        negative, v = divmod((u, t)[coordinate], 1 << (digits - 1))
        if v == 0:
            return None
        bits = digits + 32
        low, high = _minus_log(v, digits - 1, bits)
        return _scaled((-high, -low) if negative else (low, high), scale, bits)

    return _first_certain(enclosed, more)


def logistic(coordinate: int, scale: float, more: More) -> int:
    """Return coordinate 0 or 1 of a block of logistic noise, as `gaussian`; m is its parameter."""

    def enclosed(u: int, t: int, digits: int) -> Interval | None:
        below = (u, t)[coordinate]
        above = (1 << digits) - 1 - below
        if below == 0 or above == 0:
            return None
        bits = digits + 32
        of_below, of_above = (_minus_log(each, digits, bits) for each in (below, above))
        return _scaled((of_above[0] - of_below[1], of_above[1] - of_below[0]), scale, bits)

    return _first_certain(enclosed, more)


def _first_certain(enclosed: Callable[[int, int, int], Interval | None], more: More) -> int:
    """Return what all of an interval rounds to, found with as many digits as that takes."""
    u = t = level = 0
    while True:
        word_u, word_t = more(level)
        u, t, level = u << 64 | word_u, t << 64 | word_t, level + 1
        if (ends := enclosed(u, t, 64 * level)) and ends[0] == ends[1]:
            return ends[0]


def _scaled(interval: Interval, scale: float, bits: int) -> Interval:
    """Return the whole numbers nearest to the ends of an interval times a scale."""
    numerator, denominator = scale.as_integer_ratio()
    half, unit = denominator << (bits - 1), denominator << bits
    low, high = ((end * numerator + half) // unit for end in interval)
    return low, high


def _minus_log(u: int, digits: int, bits: int) -> Interval:
    """Enclose -ln of a real number in `[u, u + 1] 2^-digits`, u above 0, at most 1."""
    low = digits * _ln2(bits)[0] - _ln(u + 1, bits)[1]
    high = digits * _ln2(bits)[1] - _ln(u, bits)[0]
    return max(low, 0), high


def _ln(whole: int, bits: int) -> Interval:
    """Enclose ln of a whole number: k ln 2 + 2 atanh(s) of whole = 2^k (1 + s) / (1 - s)."""
    exponent = whole.bit_length() - 1
    if whole * whole >> (2 * exponent + 1):  # above sqrt(2) 2^k: the nearer power is the next
        exponent += 1
    power = 1 << exponent
    low, high = _twice_atanh(whole - power, whole + power, bits)
    return low + exponent * _ln2(bits)[0], high + exponent * _ln2(bits)[1]


@lru_cache
def _ln2(bits: int) -> Interval:
    return _twice_atanh(1, 3, bits)


def _twice_atanh(numerator: int, denominator: int, bits: int) -> Interval:
    """Enclose `2 (s + s^3 / 3 + s^5 / 5 + ...)` of s = numerator / denominator, at most 1/3."""
    power = (numerator << (bits + 1)) // denominator
    square = (numerator * numerator << bits) // (denominator * denominator)
    total, terms = power, 1
    while power not in (0, -1):
        power = power * square >> bits
        total += power // (2 * terms + 1)
        terms += 1
    # Each power is off by at most 3 units (its own rounding, that of the square and of the last
    # power, both times less than 2/3), each quotient by 4, and what is left out by less than 1.
    return total - 4 * terms - 1, total + 4 * terms + 1


def _sine_or_cosine(coordinate: int, angle: int, digits: int, bits: int) -> Interval:
    """Enclose the sine (0) or cosine (1) of pi times a number in `[angle, angle + 1] 2^-digits`.

    That number is in [-1/2, 1/2].
    """
    phi = angle * _pi(bits) >> digits  # off by at most 2: pi's own rounding and this one
    square = phi * phi >> bits
    term, count = ((1 << bits), 0) if coordinate else (phi, 1)
    total, terms = term, 1
    while term not in (0, -1):
        term = -(term * square >> bits) // ((count + 1) * (count + 2))
        total += term
        count, terms = count + 2, terms + 1
    # A term is off by at most 8 units, as the square is by 8 (|phi| < 2) and falls from there.
    spread = 8 * terms + 4 + (4 << (bits - digits))  # phi itself: pi 2^-digits, and 2 units
    return total - spread, total + spread


@lru_cache
def _pi(bits: int) -> int:
    """Return pi, off by less than one unit: Machin's 16 atan(1/5) - 4 atan(1/239)."""
    guard = bits + 16
    return (16 * _arctangent_of_inverse(5, guard) - 4 * _arctangent_of_inverse(239, guard)) >> 16


def _arctangent_of_inverse(whole: int, bits: int) -> int:
    power = (1 << bits) // whole
    total, count, sign = power, 1, -1
    while power:
        power //= whole * whole
        count += 2
        total += sign * (power // count)
        sign = -sign
    return total
