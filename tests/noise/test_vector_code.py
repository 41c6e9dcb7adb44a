"""What is compiled for the widest vectors is: nothing says so where it is not, but the time."""

import re

import numpy as np
import pytest
from numba import njit

from privrobust.noise.backend import compiled_loop

WORDS, NUMBERS = np.zeros(64, np.int64), np.zeros(64)
SENT = np.zeros(64, np.float32)
HALF = NUMBERS[:32]


@pytest.mark.skipif(compiled_loop().LANES != 4, reason="needs vectors of 512 bits")
@pytest.mark.parametrize(
    ("name", "arguments", "instruction"),
    [
        ("_logarithms", (WORDS, HALF, WORDS, WORDS), "vdivpd"),
        ("_gaussian", (HALF, WORDS, WORDS, NUMBERS, 1.0, 1.0, SENT), "vsqrtpd"),
        ("_laplace", (WORDS, WORDS, NUMBERS, 1.0, 1.0, SENT), "vdivpd"),
        ("_logistic", (WORDS, WORDS, NUMBERS, 1.0, 1.0, SENT), "vdivpd"),
    ],
)
def test_loops_take_the_widest_vectors_and_gather_nothing(name, arguments, instruction):
    function = getattr(compiled_loop(), name).py_func
    fresh = njit(error_model="numpy", fastmath={"contract"})(function)
    fresh(*arguments)
    (code,) = fresh.inspect_asm().values()
    assert re.search(rf"{instruction}\s.*%zmm", code)
    assert "gather" not in code
