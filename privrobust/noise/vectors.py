"""Noise for a training loop of your own."""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from privrobust.errors import SpecError, unknown_name
from privrobust.noise.addition import NOISE_LAWS, add_to_rows
from privrobust.noise.grid import Grids, grid
from privrobust.noise.streams import KEY_BYTES, as_keys, fresh_key
from privrobust.numeric import as_float, own, shown

_SMALLEST, _LARGEST = 1e-100, 1e100  # squares and grids of them are doubles
_RANGE = f"a number from {_SMALLEST:g} to {_LARGEST:g}"

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

    Formal guarantees:
        If one unit (an example, or a whole worker) moves the vector by at most `sensitivity`, what
        is returned reveals no more than the vector plus real-valued noise of this scale: the
        epsilon of `Release` holds, of its bits. The vector is rounded to a public grid, the noise
        is the rounding of a real-valued draw, with all of its tails; they are added in whole
        numbers, and the scale is enlarged by 2^-12 for what rounding adds to the distance of
        neighbours. Keys come from the operating system, and the bits from AES-128 in counter mode.
        Not covered: how long it takes, what stays in memory, and that an error is raised.

    Args:
        vector: a tensor on any device, or a numpy array; floats, any shape, finite.
        scale: b: the standard deviation of Gaussian noise, the scale parameter of Laplace noise.
        sensitivity: the most that one unit moves the vector, in L2 for Gaussian noise and in L1 for
            Laplace noise. For a sum of gradients clipped to C and divided by B it is C / B.
        noise: "gaussian" or "laplace".
        key: 16 bytes, for experiments that repeat (`derived_keys` makes them); whoever knows it can
            subtract the noise, and one that is used twice protects nothing. By default a new one.

    Returns:
        The same kind of array, of the same shape, type and device.

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
    numbers = _numbers(vector)
    if not numbers.size:
        return vector
    grids = Grids.of([grid(b, moved, numbers.size, NOISE_LAWS[noise].order)])
    sent = np.empty_like(numbers)
    add_to_rows(numbers, as_keys(key), grids, noise, sent)
    if isinstance(vector, Tensor):
        return torch.from_numpy(sent).view(vector.shape).to(vector)
    return sent.reshape(vector.shape).astype(vector.dtype)


def _numbers(vector: object) -> "np.ndarray[Any, Any]":
    """Return a copy in float64, `(1, dim)`."""
    if isinstance(vector, Tensor) and vector.is_floating_point():
        numbers = vector.detach().double().cpu().numpy()
    elif isinstance(vector, np.ndarray) and np.issubdtype(vector.dtype, np.floating):
        numbers = vector
    else:
        kind = getattr(vector, "dtype", type(vector).__name__)
        raise SpecError(f"vector: {kind} is not accepted: a tensor or a numpy array of floats")
    numbers = np.array(numbers, dtype=np.float64, order="C").reshape(1, -1)
    if not np.isfinite(numbers).all():
        raise SpecError("vector: it holds NaN or an infinity; accepted: finite numbers")
    return numbers
