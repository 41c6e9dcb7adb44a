"""`add_noise`, for a training loop of one's own."""

import math

import numpy as np
import pytest
import torch

from privrobust.errors import SpecError
from privrobust.noise import add_noise


@pytest.mark.parametrize(
    "vector",
    [
        torch.zeros(7),
        torch.zeros(2, 3, 4, dtype=torch.float64),
        torch.zeros(5, dtype=torch.float16),
        torch.zeros(5, dtype=torch.bfloat16),
        torch.tensor(0.5),
        torch.zeros(4, 6)[:, ::2],
        torch.zeros(3, requires_grad=True),
        torch.zeros(0),
    ],
)
def test_tensors_keep_their_kind(vector):
    sent = add_noise(vector, 1.0, 1.0)
    assert (sent.shape, sent.dtype, sent.device) == (vector.shape, vector.dtype, vector.device)
    assert not sent.requires_grad
    assert sent.isfinite().all()
    assert not vector.any() or float(vector) == 0.5  # as it was


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_arrays_keep_their_kind(dtype):
    vector = np.ones((4, 3), dtype)[::2]
    sent = add_noise(vector, 0.1, 1.0, noise="laplace")
    assert (sent.shape, sent.dtype) == (vector.shape, vector.dtype)
    assert (vector == 1).all()


def test_what_float16_does_not_hold_is_infinite_without_a_word():
    with np.errstate(all="raise"):
        assert not np.isfinite(add_noise(np.zeros(9, np.float16), 1e9, 1e9)).all()


def test_a_view_of_negated_numbers_is_read_as_such():
    conjugate = torch.tensor([1 + 2e9j], dtype=torch.complex128).conj().imag
    assert float(add_noise(conjugate, 1.0, 1.0)[0]) == pytest.approx(-2e9, rel=1e-6)


@pytest.mark.parametrize(
    ("noise", "std"),
    [("gaussian", 1.0), ("laplace", math.sqrt(2)), ("logistic", math.pi / math.sqrt(3))],
)
def test_noise_has_the_scale_that_is_asked_for(noise, std):
    sent = add_noise(np.full(1_000_000, 5.0), 0.2, 1e-3, noise=noise)
    assert abs(sent.mean() - 5) < 6 * 0.2 * std / 1000
    assert abs(sent.std() / (0.2 * std) - 1) < 0.01  # 6 standard errors, and the grid's 0.024 %


def test_every_call_draws_anew_and_a_key_draws_again():
    vector = torch.zeros(1000)
    assert len({float(add_noise(vector, 1.0, 1.0)[0]) for _ in range(100)}) > 98
    again = [add_noise(vector, 1.0, 1.0, key=bytes(16)) for _ in range(2)]
    assert torch.equal(*again)


def test_a_vector_of_any_type_gets_the_noise_of_its_values():
    values = torch.linspace(-1, 1, 99)
    first = add_noise(values, 0.5, 1.0, key=bytes(16))
    assert torch.equal(first, torch.from_numpy(add_noise(values.numpy(), 0.5, 1.0, key=bytes(16))))
    assert torch.equal(first, add_noise(values.double(), 0.5, 1.0, key=bytes(16)).float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vector": [1.0, 2.0]}, "vector: list is not accepted: a dense tensor or numpy array of"),
        ({"vector": torch.tensor([1])}, "vector: Tensor of torch.int64 is not accepted"),
        ({"vector": np.array([1j])}, "vector: ndarray of complex128 is not accepted"),
        ({"vector": np.array(["a"])}, "vector: ndarray of <U1 is not accepted"),
        ({"vector": torch.tensor([math.nan])}, "vector: it holds NaN or an infinity"),
        ({"vector": np.array([math.inf])}, "vector: it holds NaN or an infinity"),
        ({"scale": 0.0}, "scale: 0.0 is not a number from 1e-100 to 1e"),
        ({"scale": math.nan}, "scale: nan is not a number from"),
        ({"scale": "1"}, "scale: '1' is not a number from"),
        ({"scale": True}, "scale: true is not a number from"),
        ({"scale": 1e30}, r"scale: 1e\+30 is too large for a grid"),
        ({"vector": np.ma.array([1.0], mask=[True])}, "vector: MaskedArray of float64 is not acc"),
        ({"vector": np.ones(2, np.longdouble)}, "vector: ndarray of float128 is not accepted"),
        ({"vector": torch.zeros(3).to_sparse()}, "vector: Tensor of torch.float32 is not accepted"),
        ({"vector": torch.zeros(3, device="meta")}, "vector: Tensor of torch.float32 is not acc"),
        ({"sensitivity": -1}, "sensitivity: -1 is not a number from"),
        ({"sensitivity": math.inf}, "sensitivity: inf is not a number from"),
        ({"noise": "gauss"}, "noise: unknown name 'gauss'; did you mean 'gaussian'"),
        ({"noise": None}, "noise: unknown name None"),
        ({"key": b"short"}, r"key: b'short' is not accepted: 16 bytes"),
        ({"key": 7}, "key: 7 is not accepted: 16 bytes"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message):
    given = {"vector": torch.zeros(3), "scale": 1.0, "sensitivity": 1.0} | arguments
    with pytest.raises(SpecError, match=f"^{message}") as caught:
        add_noise(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_vector_on_a_gpu_stays_there():
    sent = add_noise(torch.zeros(10, device="cuda"), 1.0, 1.0)
    assert sent.device.type == "cuda"
