"""Noise for a training loop of your own."""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from privrobust.core.numbers import as_float, own, shown
from privrobust.errors import SpecError, unknown_name
from privrobust.noise.addition import add_to_rows
from privrobust.noise.grid import Grids, grid
from privrobust.noise.laws import NOISE_LAWS
from privrobust.noise.streams import KEY_BYTES, as_keys, fresh_key

_SMALLEST, _LARGEST = 1e-100, 1e100  # squares and grids of them are doubles
_RANGE = f"a number from {_SMALLEST:g} to {_LARGEST:g}"

_TENSORS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Vector = TypeVar("Vector", Tensor, "np.ndarray[Any, Any]")


def add_noise(
    vector: Vector,
    scale: float,
    sensitivity: float,
    *,
    noise: str = "gaussian",
    key: bytes | None = None,
) -> Vector:
    """Return the vector with noise added, to send instead of it.

    Example usage:
        >>> import torch
        >>> sent = add_noise(torch.zeros(650), scale=0.1, sensitivity=1 / 32)
        >>> sent.shape, sent.dtype
        (torch.Size([650]), torch.float32)

    Formal guarantee:
        If one unit (an example, or a whole worker) moves the vector by at most `sensitivity`, what
        is returned reveals no more than the vector plus real-valued noise of this scale: the
        epsilon of `Release` holds, of its bits. The vector is rounded to a public grid, the noise
        is the rounding of a real-valued draw, with all of its tails; they are added in whole
        numbers, and the scale is enlarged by 2^-12 for what rounding adds to the distance of
        neighbours. Keys come from the operating system, and the bits from AES-128 in counter mode.
        Not covered: how long it takes, what stays in memory, and that an error is raised.

    Args:
        vector: a dense tensor on any device, or a numpy array; finite, any shape, of float16 to
            float64.
        scale: b: the standard deviation of Gaussian noise, the scale parameter of the others.
        sensitivity: the most that one unit moves the vector, in L1 for Laplace noise and in L2 for
            the others. For a sum of gradients clipped to C and divided by B it is C / B.
        noise: "gaussian", "laplace" or "logistic".
        key: 16 bytes, for experiments that repeat (`derived_keys` makes them); whoever knows it can
            subtract the noise, and one that is used twice protects nothing. By default a new one.

    Returns:
        A new tensor for a tensor, and numpy array for an array, of the same shape, type and device.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    References:
        Mironov 2012; Canonne, Kamath, Steinke 2020; `privrobust.noise.exact` for the law.

    """
    noise = own("noise", noise)
    if not isinstance(noise, str) or noise not in NOISE_LAWS:
        raise unknown_name("noise", noise, NOISE_LAWS)
    b = as_float("scale", scale, _RANGE, least=_SMALLEST, most=_LARGEST)
    moved = as_float("sensitivity", sensitivity, _RANGE, least=_SMALLEST, most=_LARGEST)
    if key is None:
        key = fresh_key()
    elif not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise SpecError(f"key: {shown(key)} is not accepted: {KEY_BYTES} bytes")
    numbers = in_float64("vector", vector).reshape(1, -1)
    if not np.isfinite(numbers).all():
        raise SpecError("vector: it holds NaN or an infinity; accepted: finite numbers")
    sent = numbers.copy()
    if numbers.size:
        grids = Grids.of([grid(b, moved, numbers.size, NOISE_LAWS[noise].order, field="scale")])
        add_to_rows(numbers, as_keys(key), grids, noise, sent)
    return like(vector, sent)


def in_float64(field: str, vector: object) -> "np.ndarray[Any, Any]":
    """Return a copy in float64, of the same shape, which holds every number exactly.

    Raises:
        SpecError: it is no dense tensor or array of floating-point numbers.

    """
    try:
        if isinstance(vector, Tensor) and vector.dtype in _TENSORS:
            return vector.detach().resolve_neg().double().cpu().numpy().copy()
        if isinstance(vector, np.ndarray) and _is_exact(vector):
            return np.array(vector, dtype=np.float64, order="C", subok=False)
    except Exception:  # sparse, nested, on no device, within a transformation of functions, ...
        pass
    name = type(vector).__name__ + (
        f" of {vector.dtype}" if isinstance(vector, Tensor | np.ndarray) else ""
    )
    raise SpecError(
        f"{field}: {name} is not accepted: a dense tensor or numpy array of float16, bfloat16, "
        "float32 or float64"
    )


def like(vector: Vector, numbers: "np.ndarray[Any, Any]") -> Vector:
    """Return float64 numbers in the shape and type of a vector, and on its device."""
    if isinstance(vector, Tensor):
        sent = torch.from_numpy(numbers).view(vector.shape)
        return sent.to(vector.device, vector.dtype)
    with np.errstate(over="ignore"):
        return numbers.reshape(vector.shape).astype(vector.dtype)


def _is_exact(vector: "np.ndarray[Any, Any]") -> bool:
    """Return whether float64 holds its numbers; of long doubles it would lose digits."""
    is_double = vector.dtype.kind == "f" and vector.dtype.itemsize <= 8
    return is_double and not isinstance(vector, np.ma.MaskedArray)
