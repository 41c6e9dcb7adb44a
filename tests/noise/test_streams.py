"""Keystreams against the published vectors, and keys that nobody shares."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from numba.core.registry import cpu_target
from scipy import stats

from privrobust.errors import PrivRobustWarning
from privrobust.noise import aes, derived_keys, fresh_key, streams
from privrobust.noise.backend import compiled_loop
from privrobust.noise.streams import as_keys, first_words, happen, keystream

SP_800_38A = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")


def encrypted(key, block):
    low, high = (int.from_bytes(half, "little") for half in (block[:8], block[8:]))
    return keystream(key, [low], high).astype("<u8").tobytes()


def test_fips_197_appendix_c():
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    assert encrypted(key, plain).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.parametrize(
    ("counter", "plain", "cipher"),
    [
        ("fb", "6bc1bee22e409f96e93d7e117393172a", "874d6191b620e3261bef6864990db6ce"),
        ("fc", "ae2d8a571e03ac9c9eb76fac45af8e51", "9806f66b7970fdff8617187bb9fffdff"),
        ("fd", "30c81c46a35ce411e5fbc1191a0a52ef", "5ae4df3edbd5d35e5b4f09020db03eab"),
        ("fe", "f69f2445df4f9b17ad2b417be66c3710", "1e031dda2fbe03d1792170a0f3009cee"),
    ],
)
def test_sp_800_38a_counter_mode(counter, plain, cipher):
    """F.5.1, whose counters start at f0f1...feff and count up."""
    first = int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16)
    block = (first + int(counter, 16) - 0xFB).to_bytes(16, "big")
    stream = encrypted(SP_800_38A, block)
    sent = bytes(a ^ b for a, b in zip(stream, bytes.fromhex(plain), strict=True))
    assert sent.hex() == cipher


def test_fips_197_key_expansion():
    """Appendix A.1: the round keys' words 4, 10 and 43."""
    schedule = np.empty(176, np.uint8)
    aes.expand(as_keys(SP_800_38A)[0], schedule)
    words = [schedule[4 * place : 4 * place + 4].tobytes().hex() for place in (4, 10, 43)]
    assert words == ["a0fafe17", "5935807a", "b6630ca6"]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 5001])
def test_the_compiled_keystream_is_the_library_s(count):
    keys = derived_keys(3, "noise", 1, workers=5)
    for key, words in zip(keys, first_words(keys, count), strict=True):
        blocks = range((count + 1) // 2)
        assert np.array_equal(words, keystream(key.tobytes(), blocks).reshape(-1)[:count])


def test_any_block_can_be_drawn_alone():
    key = fresh_key()
    whole = keystream(key, range(1000))
    assert np.array_equal(keystream(key, [999, 7]), whole[[999, 7]])
    assert not np.array_equal(keystream(key, [7], level=1), whole[[7]])


def test_keys_are_those_of_seed_purpose_step_and_worker():
    settings = [
        (seed, purpose, step)
        for seed in (0, 1, -1, 2**32, 2**64)
        for purpose in ("noise", "batches")
        for step in (1, 2, 11)
    ]
    keys = np.concatenate([derived_keys(*each, workers=4) for each in settings])
    assert len(np.unique(keys, axis=0)) == len(keys) == 4 * len(settings)
    assert np.array_equal(derived_keys(1, "noise", 2, 9)[:4], derived_keys(1, "noise", 2, 4))


def test_numbers_of_any_type_have_the_keys_of_their_values():
    for one in (1, True, np.int64(1), np.uint8(1)):
        assert np.array_equal(derived_keys(one, "noise", one, 2), derived_keys(1, "noise", 1, 2))
    with pytest.raises(TypeError):
        derived_keys(1.0, "noise", 1, 2)


@pytest.mark.parametrize(
    ("triple", "features", "lanes"),
    [
        ("x86_64-unknown-linux-gnu", "+aes,+avx2,+avx512f,+vaes", 4),
        ("x86_64-unknown-linux-gnu", "+aes,+avx2,-avx512f,+vaes", 2),
        ("x86_64-apple-darwin", "+aes,+avx2,-vaes", 1),
        ("x86_64-unknown-linux-gnu", "-aes,+sse2", 0),
        ("aarch64-unknown-linux-gnu", "+aes,+neon,+sve", 0),
        ("arm64-apple-darwin", "+aes", 0),
    ],
)
def test_instructions_are_taken_where_they_are(triple, features, lanes, monkeypatch):
    codegen = SimpleNamespace(magic_tuple=lambda: (triple, "", features))
    target = SimpleNamespace(target_context=SimpleNamespace(codegen=lambda: codegen))
    monkeypatch.setattr(aes, "cpu_target", target)
    assert aes._lanes() == lanes


def test_keys_do_not_change():
    """Stored results were drawn so: another value is another results version."""
    assert derived_keys(7, "noise", 3, 2)[1].tobytes().hex() == KEY_OF_7


KEY_OF_7 = "b60e2c31d5f73d13f8e8bb61e3cd2ff2"


def test_fresh_keys_differ():
    assert len({fresh_key() for _ in range(1000)}) == 1000
    assert len(fresh_key()) == 16


def test_bits_are_even():
    """64 places of 10^5 words, of one key and of 10^5 keys: 128 tests, once in 10^7."""
    count = 100_000
    several = np.concatenate([derived_keys(0, "noise", step, 1000) for step in range(100)])
    for words in (first_words(derived_keys(0, "noise", 1, 1), count)[0], first_words(several, 1)):
        bits = np.unpackbits(np.ascontiguousarray(words).reshape(-1).view(np.uint8)).reshape(-1, 64)
        for ones in bits.sum(0, dtype=int):
            assert stats.binomtest(int(ones), count).pvalue > 1e-9


@pytest.mark.parametrize("probability", [1e-30, 2.0**-64, 0.1, 1 / 3, 0.5, 1 - 2.0**-53, 1.0])
def test_events_happen_with_a_probability_that_is_never_above(probability):
    below = int(Fraction(probability) * 2**64)
    words = np.array([0, max(below - 1, 0), min(below, 2**64 - 1), 2**64 - 1], np.uint64)
    expected = [int(word) < below for word in words.tolist()]
    assert happen(words, probability).tolist() == expected


def drawn_elsewhere(**environment):
    """Sums of both laws, in a process with other settings."""
    program = (
        "import json, numpy as np\n"
        "from privrobust.noise import add_noise, backend\n"
        "v = np.linspace(-1, 1, 3001)\n"
        "sent = [add_noise(v, 3.0, 1.0, noise=n, key=bytes(range(16))).tolist()"
        " for n in ('gaussian', 'laplace', 'logistic')]\n"
        "loop = backend.compiled_loop()\n"
        "print(json.dumps([loop and loop.LANES, sent]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_machine_that_cannot_compile_draws_the_same():
    lanes, sent = drawn_elsewhere(NUMBA_DISABLE_JIT="1")
    assert lanes is None
    assert sent == drawn_elsewhere()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "missing", [["vaes"], ["avx512"], ["avx512", "vaes", "aes"], ["avx", "fma", "vaes", "aes"]]
)
def test_other_processors_draw_the_same(missing, tmp_path):
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    kept = [
        f"-{each[1:]}" if any(each[1:].startswith(name) for name in missing) else each
        for each in features
    ]
    lanes, sent = drawn_elsewhere(
        NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=",".join(kept), NUMBA_CACHE_DIR=str(tmp_path)
    )
    assert lanes is not None
    assert ("aes" in missing) == (lanes == 0)
    assert sent == drawn_elsewhere()[1]


def test_a_loop_that_fails_says_so_and_leaves_a_way(monkeypatch):
    def broken():
        raise OSError("no compiler\nhere")

    monkeypatch.setattr(compiled_loop(), "try_out", broken)
    compiled_loop.cache_clear()
    with pytest.warns(
        PrivRobustWarning, match=r"^noise is drawn without numba.*\(OSError: no comp"
    ):
        assert streams.compiled_loop() is None
    compiled_loop.cache_clear()
    monkeypatch.undo()
    assert compiled_loop() is not None
