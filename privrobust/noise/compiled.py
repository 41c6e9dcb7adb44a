"""Noise by one compiled loop: keystream, law, rounding and sum in the processor's first cache.

The law is that of `exact`; what is too close to a half is left as NaN for it. numba compiles each
function when it is first called, in some seconds, and keeps the machine code on disk.

The keystream is made by the processor's AES instructions (`aes`); where it has none, words are made
by `streams` and handed in.
"""

import math
from types import MappingProxyType

import numpy as np

from privrobust.noise import aes
from privrobust.noise.aes import LANES as LANES
from privrobust.noise.aes import expand, fetch
from privrobust.noise.grid import MOST_STEPS
from privrobust.noise.intrinsics import (
    as_bits,
    as_float,
    compiled,
    exponent_bits,
    inlined,
    unsigned,
    widest_vectors,
)

CODES = MappingProxyType({"gaussian": 0, "laplace": 1, "logistic": 2})
"""The laws that the loop draws, and what its argument `law` is for each."""

_GAUSSIAN, _LAPLACE, _LOGISTIC = CODES.values()

# Coordinates at a time: values, words and sums of a unit stay in the first-level cache.
UNIT = 1024

# Words that are made at a time.
GROUP = aes.GROUP or UNIT

# The most that the loop is off by, as a share of the radius (or size) and of the scale. Sums and
# products: 8 units of 2^-53; the fits below: 2^-51; the words' finite length: 2^-48.7.
_SLACK = 2.0**-48
_LEAST_SLACK = 2.0**-55
# Words so close to 0 or to 2^64 that their length tells.
_SHORT, _SHORT_ALONE = 1 << 43, 1 << 45  # of a block's radius; of what is drawn by one word

# Chebyshev fits in the square of the variable (tests/noise recompute them): of -4 (atanh(s) / s -
# 1) / s^2 for |s| up to that of sqrt(2), and of sin and 2 cos of (pi / 4) x for |x| up to 1.
_LOG = (
    -1.333333333333334, -0.7999999999979901, -0.5714285725195097, -0.4444442226959016,
    -0.36365778250523445, -0.30663443201112084, -0.2923289937008681,
)  # fmt: skip
_SINE = (
    0.7853981633974483, -0.08074551218828054, 0.002490394570188844, -3.657620415891387e-05,
    3.133616225433416e-07, -1.7571500746983935e-09, 6.877360573166326e-12,
)  # fmt: skip
_COSINE = (
    2.0, -0.6168502750680757, 0.031708688487483094, -0.0006519837729670803,
    7.181718359700476e-06, -4.9219014188056233e-08, 2.2730938415462706e-10,
)  # fmt: skip
L0, L1, L2, L3, L4, L5, L6 = _LOG
# For x = 2^-63 times a whole number, which is never multiplied by it.
S0, S1, S2, S3, S4, S5, S6 = (c * 2.0 ** (-63 * (2 * k + 1)) for k, c in enumerate(_SINE))
C0, C1, C2, C3, C4, C5, C6 = (c * 2.0 ** (-63 * 2 * k) for k, c in enumerate(_COSINE))
_SIGN = -(1 << 63)
# Bits of float64: of sqrt(1/2), 1 and 2^52, and the mantissa's.
_SQRT_HALF, _ONE, _TWO_52 = 0x3FE6A09E667F3BCD, 1023 << 52, 1075 << 52
_MANTISSA = (1 << 52) - 1
_EXPONENT_OF_1 = 2.0**52 + 1023
# Added and taken away again, it rounds what is at most 2^51 to whole numbers, halves to even ones;
# in between, the exponent is that of 2^52. What it leaves of a zero is 0.0: a sum of -0.0 would
# tell the value's sign.
_ROUNDER = 1.5 * 2.0**52
# Of the distance to the nearest whole number, up to which it is certain that this is the nearest.
# With a slack of s the distance may be 1/2 - s, the square of which is above 1/4 - s; 2^-53 is for
# the roundings in this. Of draws beyond 2^46 none is certain.
_LARGEST_SQUARE = 0.25 - 2.0**-53
_MINUS_2_LN2 = -2 * math.log(2)


@inlined
def _minus_2_log(word, middle):
    """Return -2 ln of a fraction of 2^64, and how far the word is from both ends.

    Of the digits beyond the word, half a unit (`middle`) is taken: near 2^64, where words are
    counted from the other end, it is a whole one off, which is within the slack.
    """
    folded = word ^ (word >> 63)
    fraction = unsigned(folded) * 2.0**-64 + middle * 2.0**-64
    u = 1.0 - fraction if word < 0 else fraction
    bits = as_bits(u) + (_ONE - _SQRT_HALF)  # u = 2^e mantissa, from sqrt(1/2) to sqrt(2)
    biased = exponent_bits(bits)
    exponent = as_float(biased | _TWO_52) - _EXPONENT_OF_1
    mantissa = as_float((bits & _MANTISSA) + _SQRT_HALF)
    above = -fraction if biased == 1023 else mantissa - 1.0  # near 1, u itself has lost digits
    s = above / (mantissa + 1.0)
    y = s * s
    fit = L0 + y * (L1 + y * (L2 + y * (L3 + y * (L4 + y * (L5 + y * L6)))))
    return s * (y * fit - 4.0) + exponent * _MINUS_2_LN2, folded


@compiled
def _logarithms(words, squares, turns, doubts):
    """Write each block's -2 ln u and t apart, and a negative number to doubts where u is short.

    A loop of its own, as division and root wait for each other where they are in one.
    """
    widest_vectors()
    for i in range(squares.shape[0]):
        word_u, word_t = words[2 * i], words[2 * i + 1]  # of either alone they would be gathered
        squares[i], folded = _minus_2_log(word_u, 0.5)
        turns[i], doubts[i] = word_t, folded - _SHORT


@compiled
def _gaussian(squares, turns, doubts, values, scale, step, out):
    """Write the sums of blocks, add to their doubts, and return whether there may be any.

    A doubt is a negative number, of which signs are gathered: masks take more instructions.
    """
    widest_vectors()
    most, inverse = _LARGEST_SQUARE - scale * _LEAST_SLACK, 1.0 / step
    doubtful = large = 0
    for i in range(squares.shape[0]):
        word = turns[i]
        radius = math.sqrt(squares[i]) * scale
        x = unsigned(word << 1) - 2.0**63
        y = x * x
        sine = x * (S0 + y * (S1 + y * (S2 + y * (S3 + y * (S4 + y * (S5 + y * S6))))))
        cosine = C0 + y * (C1 + y * (C2 + y * (C3 + y * (C4 + y * (C5 + y * C6)))))
        signed = as_float(as_bits(radius) ^ (word & _SIGN))
        up = signed * sine  # of half the angle, which is then doubled
        first, second = up * cosine, signed - 2.0 * up * sine
        whole, other = (first + _ROUNDER) - _ROUNDER, (second + _ROUNDER) - _ROUNDER
        apart, other_apart = first - whole, second - other
        room = most - radius * _SLACK
        doubts[i] |= as_bits(room - apart * apart) | as_bits(room - other_apart * other_apart)
        doubtful |= doubts[i]
        v, w = values[2 * i] * inverse + _ROUNDER, values[2 * i + 1] * inverse + _ROUNDER
        large |= (as_bits(v) ^ _TWO_52) | (as_bits(w) ^ _TWO_52)
        out[2 * i] = ((v - _ROUNDER) + whole) * step
        out[2 * i + 1] = ((w - _ROUNDER) + other) * step
    return doubtful < 0 or exponent_bits(large) != 0


@compiled
def _laplace(words, doubts, values, scale, step, out):
    """Write the sums of words, and their doubts, and return whether there may be any."""
    widest_vectors()
    most, inverse = _LARGEST_SQUARE - scale * _LEAST_SLACK, 1.0 / step
    doubtful = large = 0
    for i in range(values.shape[0]):
        square, folded = _minus_2_log(words[i] << 1, 1.0)
        size = square * (0.5 * scale)
        whole = (size + _ROUNDER) - _ROUNDER
        apart = size - whole
        doubts[i] = (folded - _SHORT_ALONE) | as_bits(most - size * _SLACK - apart * apart)
        doubtful |= doubts[i]
        v = values[i] * inverse + _ROUNDER
        large |= as_bits(v) ^ _TWO_52
        out[i] = ((v - _ROUNDER) + as_float(as_bits(whole) ^ (words[i] & _SIGN))) * step
    return doubtful < 0 or exponent_bits(large) != 0


@compiled
def _logistic(words, doubts, values, scale, step, out):
    """Write the sums of words, and their doubts, and return whether there may be any."""
    widest_vectors()
    most, inverse = _LARGEST_SQUARE - scale * _LEAST_SLACK, 1.0 / step
    doubtful = large = 0
    for i in range(values.shape[0]):
        of_below, folded = _minus_2_log(words[i], 0.5)
        of_above, _ = _minus_2_log(~words[i], 0.5)
        drawn = (of_above - of_below) * (0.5 * scale)
        size = (of_above + of_below) * (0.5 * scale)  # either may be off by its share of it
        whole = (drawn + _ROUNDER) - _ROUNDER
        apart = drawn - whole
        doubts[i] = (folded - _SHORT_ALONE) | as_bits(most - size * _SLACK - apart * apart)
        doubtful |= doubts[i]
        v = values[i] * inverse + _ROUNDER
        large |= as_bits(v) ^ _TWO_52
        out[i] = ((v - _ROUNDER) + whole) * step
    return doubtful < 0 or exponent_bits(large) != 0


@compiled
def _add(law, words, scratch, values, scale, step, out):
    """Write `values + noise` on the grid, NaN where doubtful, and return whether any may be."""
    squares, turns, doubts = scratch
    if law == _LAPLACE:
        doubtful = _laplace(words, doubts, values, scale, step, out)
    elif law == _LOGISTIC:
        doubtful = _logistic(words, doubts, values, scale, step, out)
    else:
        blocks = values.shape[0] // 2
        _logarithms(words, squares[:blocks], turns, doubts)
        doubtful = _gaussian(squares[:blocks], turns, doubts, values, scale, step, out)
    if doubtful:
        for i in range(values.shape[0]):
            doubt = doubts[i // 2 if law == _GAUSSIAN else i] < 0
            if doubt or not (abs(values[i] / step) <= MOST_STEPS):
                out[i] = np.nan
    return doubtful


@compiled
def _aligned(size):
    """Return room for words from a line of the cache on; vectors across two lines take longer."""
    words = np.empty(size + 8, np.int64)
    start = -words.ctypes.data // 8 % 8
    return words[start : start + size]


@compiled
def add_rows(law, keys, given, values, scales, steps, out, marks, starts, dim, start, stop):
    """Add noise on the grid to units from start to stop, counted row by row.

    Args:
        law: one of `CODES`.
        keys: uint8 `(rows, 16)`.
        given: int64 `(rows, words)`, where the processor has no AES; else `(rows, 0)`.
        values: float64, a vector that all rows are parts of.
        scales: float64 `(rows,)`, of the noise, in steps.
        steps: float64 `(rows,)`, gamma.
        out: floats, a vector that all rows are parts of; NaN is written where it is doubtful.
        marks: bool `(rows, units)`; set where a unit of `UNIT` coordinates may have doubtful ones.
        starts: int64 `(2, rows)`, where each row starts in values and in out.
        dim: coordinates of a row.
        start: the first unit.
        stop: the unit after the last.

    """
    units = marks.shape[1]
    schedule = np.empty(176, np.uint8)
    buffer, doubts = _aligned(UNIT), _aligned(UNIT)
    scratch = _aligned(UNIT // 2).view(np.float64), _aligned(UNIT // 2), doubts
    last, one = np.zeros(2), np.zeros(2, out.dtype)
    expanded = -1
    for place in range(start, stop):
        row, number = divmod(place, units)
        if row != expanded:
            expand(keys[row], schedule)
            expanded = row
        low = number * UNIT
        count = min(UNIT, dim - low)
        even = count - count % 2
        words = fetch(schedule, low // 2, given[row], buffer[: -(-count // GROUP) * GROUP])
        scale, step = scales[row], steps[row]
        first, sent = starts[0, row] + low, starts[1, row] + low
        inputs, outputs = values[first : first + even], out[sent : sent + even]
        doubtful = _add(law, words, scratch, inputs, scale, step, outputs)
        if even < count:  # an odd coordinate has a block of its own
            last[0] = values[first + even]
            doubtful |= _add(law, words[even:], scratch, last, scale, step, one)
            out[sent + even] = one[0]
        marks[row, number] = doubtful


@compiled
def fill_rows(keys, out):
    """Write the first words of every key's keystream; int64 `(rows, a multiple of GROUP)`."""
    schedule = np.empty(176, np.uint8)
    for row in range(keys.shape[0]):
        expand(keys[row], schedule)
        fetch(schedule, 0, out[row], out[row])


def try_out() -> None:
    """Compile for the types in use: sums in float32, or in float64.

    Raises:
        Exception: whatever numba or LLVM say where they cannot.

    """
    one, keys, starts = np.ones(1), np.zeros((1, 16), np.uint8), np.zeros((2, 1), np.int64)
    given, marks = np.zeros((1, UNIT), np.int64), np.zeros((1, 1), np.bool_)
    for kind in (np.float32, np.float64):
        add_rows(_GAUSSIAN, keys, given, one, one, one, np.empty(1, kind), marks, starts, 1, 0, 1)
    fill_rows(keys, given)
