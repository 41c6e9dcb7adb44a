"""Noise by one compiled loop: keystream, law, rounding and sum in the processor's first cache.

The law is that of `exact`; what is too close to a half is left as NaN for it. numba compiles each
function when it is first called, in some seconds, and keeps the machine code on disk.

The keystream uses the processor's AES instructions, four blocks at a time where it has them for
512-bit vectors; on other processors words are made by `streams` and handed in.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types, uint64
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from privrobust.noise.grid import MOST_STEPS

# Coordinates at a time: values, words and sums of a unit stay in the first-level cache.
UNIT = 1024

# The most that the loop is off by, as a share of the radius (or size) and of the scale. Sums and
# products: 8 units of 2^-53; the fits below: 2^-51; the words' finite length: 2^-48.7.
_SLACK = 2.0**-48
_LEAST_SLACK = 2.0**-55
# Words so close to 0 or to 2^64 that their length tells.
_SHORT, _SHORT_LAPLACE = 1 << 43, 1 << 45

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
_MINUS_2_LN2 = -2 * math.log(2)


def _lanes() -> int:
    """Return how many blocks of AES the instructions take at a time; 0: there are none of x86."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    has = features.split(",") if triple.startswith("x86_64") else ()
    if "+vaes" in has and "+avx512f" in has:
        return 4
    if "+vaes" in has and "+avx2" in has:
        return 2
    return 1 if "+aes" in has else 0


LANES = _lanes()
_AHEAD = 8  # as many instructions of a round are under way at a time
GROUP = 2 * LANES * _AHEAD or UNIT  # words that are made at a time


def _bitcast(target: types.Type, source: types.Type) -> Any:
    @intrinsic
    def cast(_: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return cast


_as_float = _bitcast(types.float64, types.int64)
_as_bits = _bitcast(types.int64, types.float64)


@intrinsic
def _unsigned(_: Any, word: Any) -> Any:
    """Convert a word that is taken as unsigned: without AVX-512 there are no vectors of signed."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.uitofp(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _exponent(_: Any, bits: Any) -> Any:
    """Return the upper 12 bits of a word."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], ir.IntType(64)(52))

    return types.int64(types.int64), generate


@intrinsic
def _widest_vectors(_: Any) -> Any:
    """Let a function use 512-bit vectors: LLVM prefers 256 bits, which take half as long again."""

    def generate(context: Any, builder: Any, *__: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _encrypt_counters(_: Any, schedule: Any, first: Any, out: Any) -> Any:
    """Write AES of the counters first, first + 1, ... to out, in groups of `LANES * _AHEAD`."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        schedule_array = make_array(schedule)(context, builder, arguments[0])
        out_array = make_array(out)(context, builder, arguments[2])
        count = builder.extract_value(out_array.shape, 0)
        groups = builder.sdiv(count, count.type(2 * LANES * _AHEAD))
        _emit_aes(builder, schedule_array.data, arguments[1], out_array.data, groups)
        return context.get_dummy_value()

    return types.void(schedule, types.uint64, out), generate


def _emit_aes(builder: Any, schedule: Any, first: Any, out: Any, groups: Any) -> None:
    word, index = ir.IntType(64), ir.IntType(32)
    block, vector = ir.VectorType(word, 2), ir.VectorType(word, 2 * LANES)

    def constant(first: int, stride: int) -> Any:
        """Low words first, first + stride, ... in the lanes, and high words 0."""
        lows = [first + stride * lane for lane in range(LANES)]
        return ir.Constant(vector, [word for low in lows for word in (low, 0)])

    def spread(value: Any) -> Any:
        """The same block or low word in every lane."""
        kind = value.type
        if kind == block:
            mask = [lane % 2 for lane in range(2 * LANES)]
        else:
            kind = ir.VectorType(word, 2)
            value = builder.insert_element(ir.Constant(kind, [0, 0]), value, index(0))
            mask = [0, 1] * LANES
        places = ir.Constant(ir.VectorType(index, 2 * LANES), mask)
        return builder.shuffle_vector(value, ir.Constant(kind, ir.Undefined), places)

    def instruction(name: str) -> Any:
        name = f"llvm.x86.aesni.{name}" + (f".{128 * LANES}" if LANES > 1 else "")
        known = builder.module.globals.get(name)
        return known or ir.Function(builder.module, ir.FunctionType(vector, [vector] * 2), name)

    middle, last = instruction("aesenc"), instruction("aesenclast")
    keys = []
    blocks = builder.bitcast(schedule, block.as_pointer())
    for turn in range(11):
        key = builder.load(builder.gep(blocks, [word(turn)]))
        key.align = 8
        keys.append(spread(key))
    start = builder.add(spread(first), constant(0, 1))

    entry, loop = builder.block, builder.append_basic_block("aes")
    done = builder.append_basic_block("aes.done")
    builder.cbranch(builder.icmp_signed(">", groups, groups.type(0)), loop, done)
    builder.position_at_end(loop)
    group, counters = builder.phi(word), builder.phi(vector)
    group.add_incoming(word(0), entry)
    counters.add_incoming(start, entry)
    states = [
        builder.xor(builder.add(counters, constant(ahead * LANES, 0)), keys[0])
        for ahead in range(_AHEAD)
    ]
    for key in keys[1:10]:
        states = [builder.call(middle, [state, key]) for state in states]
    vectors = builder.bitcast(out, vector.as_pointer())
    for ahead, state in enumerate(states):
        place = builder.add(builder.mul(group, word(_AHEAD)), word(ahead))
        stored = builder.store(builder.call(last, [state, keys[10]]), builder.gep(vectors, [place]))
        stored.align = 8
    following = builder.add(group, word(1))
    group.add_incoming(following, loop)
    counters.add_incoming(builder.add(counters, constant(_AHEAD * LANES, 0)), loop)
    builder.cbranch(builder.icmp_signed("<", following, groups), loop, done)
    builder.position_at_end(done)


_SBOX = np.frombuffer(
    bytes.fromhex(
        "637c777bf26b6fc53001672bfed7ab76ca82c97dfa5947f0add4a2af9ca472c0"
        "b7fd9326363ff7cc34a5e5f171d8311504c723c31896059a071280e2eb27b275"
        "09832c1a1b6e5aa0523bd6b329e32f8453d100ed20fcb15b6acbbe394a4c58cf"
        "d0efaafb434d338545f9027f503c9fa851a3408f929d38f5bcb6da2110fff3d2"
        "cd0c13ec5f974417c4a77e3d645d197360814fdc222a908846eeb814de5e0bdb"
        "e0323a0a4906245cc2d3ac629195e479e7c8376d8dd54ea96c56f4ea657aae08"
        "ba78252e1ca6b4c6e8dd741f4bbd8b8a703eb5664803f60e613557b986c11d9e"
        "e1f8981169d98e949b1e87e9ce5528df8ca1890dbfe6426841992d0fb054bb16"
    ),
    np.uint8,
)
"""FIPS 197, figure 7."""


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile when first called, without the GIL; machine code is kept where a folder allows it."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract"},
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to write to
        return njit(**options)(function)


_inlined = njit(inline="always")


@_compiled
def _expand(key: Any, schedule: Any) -> None:
    """Write the 11 round keys of AES-128, uint8 `(176,)`, for a key `(16,)` (FIPS 197, 5.2)."""
    schedule[:16] = key
    constant = 1
    for start in range(16, 176, 4):
        for place in range(4):
            byte = schedule[start - 4 + place]
            if start % 16 == 0:
                byte = _SBOX[schedule[start - 4 + (place + 1) % 4]]
                if place == 0:
                    byte ^= constant
            schedule[start + place] = schedule[start + place - 16] ^ byte
        if start % 16 == 0:
            constant = (constant << 1) ^ (0x11B if constant & 0x80 else 0)


if LANES:

    @_inlined
    def _fetch(schedule, first, given, words):
        _encrypt_counters(schedule, uint64(first), words)
        return words

else:

    @_inlined
    def _fetch(schedule, first, given, words):
        return given[2 * first : 2 * first + words.shape[0]]


@_inlined
def _minus_2_log(word, middle, short):
    """Return -2 ln of a fraction of 2^64, and whether it is not precise.

    Of the digits beyond the word, half a unit (`middle`) is taken: near 2^64, where words are
    counted from the other end, it is a whole one off, which is within the slack.
    """
    folded = word ^ (word >> 63)
    fraction = (_unsigned(folded) + middle) * 2.0**-64
    u = 1.0 - fraction if word < 0 else fraction
    bits = _as_bits(u) + (_ONE - _SQRT_HALF)  # u = 2^e mantissa, from sqrt(1/2) to sqrt(2)
    biased = _exponent(bits)
    exponent = _as_float(biased | _TWO_52) - _EXPONENT_OF_1
    mantissa = _as_float((bits & _MANTISSA) + _SQRT_HALF)
    above = -fraction if biased == 1023 else mantissa - 1.0  # near 1, u itself has lost digits
    s = above / (mantissa + 1.0)
    y = s * s
    fit = L0 + y * (L1 + y * (L2 + y * (L3 + y * (L4 + y * (L5 + y * L6)))))
    return s * (y * fit - 4.0) + exponent * _MINUS_2_LN2, folded < short


@_inlined
def _gaussian_pair(word_u, word_t, scale):
    """Return the two draws of a block, rounded, and whether each is doubtful."""
    square, short = _minus_2_log(word_u, 0.5, _SHORT)
    radius = math.sqrt(square * (scale * scale))
    x = _unsigned(word_t << 1) - 2.0**63
    y = x * x
    sine = x * (S0 + y * (S1 + y * (S2 + y * (S3 + y * (S4 + y * (S5 + y * S6))))))
    cosine = C0 + y * (C1 + y * (C2 + y * (C3 + y * (C4 + y * (C5 + y * C6)))))
    signed = _as_float(_as_bits(radius) ^ (word_t & _SIGN))
    up = signed * sine  # of half the angle, which is then doubled
    first, second = up * cosine, signed - 2.0 * up * sine
    whole, other = np.rint(first), np.rint(second)
    room = (0.5 - scale * _LEAST_SLACK) - radius * _SLACK
    return (
        whole,
        other,
        (abs(first - whole) > room) | short,
        (abs(second - other) > room) | short,
    )


@_inlined
def _laplace_one(word, scale):
    square, short = _minus_2_log(word << 1, 1.0, _SHORT_LAPLACE)
    size = square * (0.5 * scale)
    whole = np.rint(size)
    room = (0.5 - scale * _LEAST_SLACK) - size * _SLACK
    return _as_float(_as_bits(whole) ^ (word & _SIGN)), (abs(size - whole) > room) | short


@_compiled
def _gaussian_unit(words, values, scale, step, out):
    """Write `values + noise` on the grid, NaN where doubtful, and return whether any is."""
    _widest_vectors()
    doubtful = 0
    inverse = 1.0 / step
    for i in range(values.shape[0] // 2):
        first, second, a, b = _gaussian_pair(words[2 * i], words[2 * i + 1], scale)
        v, w = np.rint(values[2 * i] * inverse), np.rint(values[2 * i + 1] * inverse)
        a |= not (abs(v) <= MOST_STEPS)
        b |= not (abs(w) <= MOST_STEPS)
        doubtful |= a | b
        out[2 * i] = np.nan if a else (v + first) * step + 0.0  # a zero's sign would tell v's
        out[2 * i + 1] = np.nan if b else (w + second) * step + 0.0
    return doubtful


@_compiled
def _laplace_unit(words, values, scale, step, out):
    _widest_vectors()
    doubtful = 0
    inverse = 1.0 / step
    for i in range(values.shape[0]):
        drawn, doubt = _laplace_one(words[i], scale)
        v = np.rint(values[i] * inverse)
        doubt |= not (abs(v) <= MOST_STEPS)
        doubtful |= doubt
        out[i] = np.nan if doubt else (v + drawn) * step + 0.0
    return doubtful


@_compiled
def _add(laplace, words, values, scale, step, out):
    if laplace:
        return _laplace_unit(words, values, scale, step, out)
    return _gaussian_unit(words, values, scale, step, out)


@_compiled
def add_rows(laplace, keys, given, values, scales, steps, out, marks, start, stop):
    """Add noise on the grid to units from start to stop, counted row by row.

    Args:
        laplace: whether noise is that, or Gaussian.
        keys: uint8 `(rows, 16)`.
        given: int64 `(rows, words)`, where the processor has no AES; else `(rows, 0)`.
        values: float64 `(rows, dim)`.
        scales: float64 `(rows,)`, of the noise, in steps.
        steps: float64 `(rows,)`, gamma.
        out: floats `(rows, dim)`; NaN is written where it is doubtful.
        marks: bool `(rows, units)`; set where a unit of `UNIT` coordinates has doubtful ones.
        start: the first unit.
        stop: the unit after the last.

    """
    dim, units = values.shape[1], marks.shape[1]
    schedule = np.empty(176, np.uint8)
    buffer = np.empty(UNIT, np.int64)
    last, sent = np.zeros(2), np.zeros(2, out.dtype)
    expanded = -1
    for place in range(start, stop):
        row, number = divmod(place, units)
        if row != expanded:
            _expand(keys[row], schedule)
            expanded = row
        low = number * UNIT
        high = min(low + UNIT, dim)
        even = high - (high - low) % 2
        length = min(UNIT, -(-(high - low) // GROUP) * GROUP)
        words = _fetch(schedule, low // 2, given[row], buffer[:length])
        scale, step = scales[row], steps[row]
        doubtful = _add(laplace, words, values[row, low:even], scale, step, out[row, low:even])
        if even < high:  # an odd coordinate has a block of its own
            last[0] = values[row, even]
            doubtful |= _add(laplace, words[even - low :], last, scale, step, sent)
            out[row, even] = sent[0]
        marks[row, number] = doubtful != 0


@_compiled
def fill_rows(keys, out):
    """Write the first words of every key's keystream; int64 `(rows, a multiple of GROUP)`."""
    schedule = np.empty(176, np.uint8)
    for row in range(keys.shape[0]):
        _expand(keys[row], schedule)
        _fetch(schedule, 0, out[row], out[row])


def try_out() -> None:
    """Compile for the types in use: sums in float32, or in float64.

    Raises:
        Exception: whatever numba or LLVM say where they cannot.

    """
    one, keys = np.ones(1), np.zeros((1, 16), np.uint8)
    given, marks = np.zeros((1, UNIT), np.int64), np.zeros((1, 1), np.bool_)
    for kind in (np.float32, np.float64):
        add_rows(False, keys, given, one[None], one, one, np.empty((1, 1), kind), marks, 0, 1)
    fill_rows(keys, given)
