"""Random bits: AES-128 in counter mode, under keys that nobody can collide with or guess.

A *key* is 16 bytes and belongs to one vector of one worker in one step. Block i of its keystream is
AES of the counter i: 128 bits, the words `2 i` and `2 i + 1`, drawn without any of the others. So
numbers are the same for any number of threads, any order of workers and beside any other runs.

- Runs that must repeat derive keys from (seed, purpose, step, worker) by SHAKE-256: two different
  ones share a key with probability 2^-128.
- Everything else takes keys from the operating system (`fresh_key`).

References: NIST FIPS 197 (AES), SP 800-38A (counter mode), FIPS 202 (SHAKE).
"""

import hashlib
import secrets
from collections.abc import Iterable
from fractions import Fraction
from operator import index

import numpy as np
import numpy.typing as npt

from privrobust.noise.backend import compiled_loop

Words = npt.NDArray[np.uint64]
Keys = npt.NDArray[np.uint8]
"""`(keys, 16)`"""

KEY_BYTES = 16


def fresh_key() -> bytes:
    """Return a key from the operating system's generator, for noise that is to protect somebody."""
    return secrets.token_bytes(KEY_BYTES)


def derived_keys(seed: int, purpose: str, step: int, workers: int) -> Keys:
    """Return the keys of workers 0, 1, ... of a run in one step, `(workers, 16)`.

    Args:
        seed: the run's, an integer of any type.
        purpose: what the bits are for ("noise", "batches", ...).
        step: of the run.
        workers: how many; a worker's key does not depend on it.

    """
    named = repr((index(seed), purpose, index(step))).encode()
    return as_keys(hashlib.shake_256(named).digest(KEY_BYTES * workers))


def as_keys(joined: bytes) -> Keys:
    """Return keys that lie one after the other, `(keys, 16)`."""
    # a copy: the loop would be compiled once more for arrays that cannot be written to
    return np.frombuffer(joined, np.uint8).reshape(-1, KEY_BYTES).copy()


def keystream(key: bytes, blocks: Iterable[int], level: int = 0) -> Words:
    """Return the two words of each of these blocks, `(blocks, 2)`.

    Args:
        key: 16 bytes.
        blocks: their numbers, the low half of the counter.
        level: the high half; 0 for first words, 1, 2, ... for the bits that continue them.

    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    low = np.fromiter(blocks, "<u8")
    counters = np.stack([low, np.full_like(low, level)], axis=-1)
    # Block by block is counter mode here: the counters are what is encrypted.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(counters.tobytes()), "<u8").reshape(-1, 2)


def first_words(keys: Keys, count: int) -> Words:
    """Return the first words of each key's keystream, `(keys, count)`."""
    loop = compiled_loop()
    if loop is None or not loop.LANES:
        blocks = range(-(-count // 2))
        return np.stack([keystream(key.tobytes(), blocks).reshape(-1) for key in keys])[:, :count]
    words = np.empty((len(keys), -(-count // loop.GROUP) * loop.GROUP), np.int64)
    loop.fill_rows(keys, words)
    return words[:, :count].view(np.uint64)


def happen(words: Words, probability: float) -> npt.NDArray[np.bool_]:
    """Return which of some events take place, each by a word of its own.

    The probability is rounded down to a multiple of 2^-64: never above what is accounted for.
    """
    below = int(Fraction(probability) * 2**64)
    return words <= np.uint64(below - 1) if below else np.zeros(words.shape, np.bool_)
