"""AES-128 in counter mode by the processor's instructions, for the compiled loop.

Four blocks are encrypted at a time where there are instructions for 512-bit vectors, two for 256
bits, one for 128; on processors without any, words are made by `streams` and handed in.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types, uint64
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from privrobust.noise.intrinsics import compiled, inlined


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
# A round's result takes some cycles, in which the rounds of other blocks can start.
_AHEAD = 8  # instructions of a round that are under way at a time
GROUP = 2 * LANES * _AHEAD  # words that are made at a time


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
        """Put low words first, first + stride, ... in the lanes, and high words 0."""
        lows = [first + stride * lane for lane in range(LANES)]
        return ir.Constant(vector, [word for low in lows for word in (low, 0)])

    def spread(value: Any) -> Any:
        """Repeat a block, or a low word, in every lane."""
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


@compiled
def expand(key: Any, schedule: Any) -> None:
    """Write the 11 round keys of AES-128, uint8 `(176,)`, for a key `(16,)` (FIPS 197, 5.2)."""
    schedule[:16] = key
    words = schedule.view(np.uint32)
    constant = 1
    for start in range(4, 44, 4):
        last = words[start - 1]
        turned = np.int64(constant)
        for place in range(4):
            turned ^= np.int64(_SBOX[(last >> (8 * ((place + 1) % 4))) & 0xFF]) << (8 * place)
        for place in range(start, start + 4):
            turned ^= np.int64(words[place - 4])
            words[place] = turned
        constant = (constant << 1) ^ (0x11B if constant & 0x80 else 0)


if LANES:

    @inlined
    def fetch(schedule, first, given, words):
        """Fill words with the keystream from block `first` on, and return them."""
        _encrypt_counters(schedule, uint64(first), words)
        return words

else:

    @inlined
    def fetch(schedule, first, given, words):
        """Return as many of the given words, from block `first` on."""
        return given[2 * first : 2 * first + words.shape[0]]
