"""Training where nothing compiles, and bits of threads that torch has not yet met."""

import subprocess
import sys

WITHOUT = """
import sys, warnings
sys.modules["llvmlite"] = None
from privrobust import RunSpec, train
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    result = train(RunSpec(steps=2, honest=3, clip_norm=1.0, noise_scale=0.1))
assert any("without compiled kernels" in str(each.message) for each in seen), seen
print(result.test_accuracy if hasattr(result, "test_accuracy") else "trained")
"""
THREADS = """
import torch
torch.set_num_threads(2)
from privrobust.core.threads import in_threads, one_layer_of_threads
left, right, found = torch.randn(105, 784), torch.randn(784, 100), []
import threading
both = threading.Barrier(2, timeout=30)
def multiply():
    both.wait()
    found.append(left @ right)
with one_layer_of_threads():
    here = left @ right
    in_threads([multiply, multiply])
assert all(torch.equal(here, there) for there in found)
"""


def run(program):
    environment = {"PATH": "", "HOME": "/nonexistent"}  # no OMP_NUM_THREADS
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_model_trains_where_nothing_compiles():
    run(WITHOUT)


def test_products_of_new_threads_have_the_bits_of_the_first():
    run(THREADS)
