"""Powers of two, which bring numbers to where their squares are numbers too, and round nothing.

The square of a float32 below 1e-22 is 0, of one above 1e19 infinite; of float64, 1e-162 and 1e154.
Numbers are scaled only where they are about as small or large: others keep what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import torch

if TYPE_CHECKING:
    from torch import Tensor

# The power of two up to which, and from whose inverse on, numbers are squared as they are: their
# squares are far from where a float32 loses digits.
_SAFE = 40


def are_safe(squares: Tensor) -> Tensor:
    """Tell which sums of squares have lost nothing to the range of their type."""
    return (squares > 4.0**-_SAFE) & (squares < 4.0**_SAFE)


def all_are_safe(squares: Tensor) -> bool:
    """Tell whether all are, in one pass."""
    if not squares.numel():
        return True
    least, most = squares.aminmax()
    return bool(least > 4.0**-_SAFE) and bool(most < 4.0**_SAFE)


def exponents(vectors: Tensor, dims: int | tuple[int, ...] = -1) -> Tensor:
    """Return the power of two just above the largest value over these axes, which are kept.

    It is 0 where all are 0, or one is no finite number.
    """
    if not vectors.numel():
        return vectors.sum(dims, keepdim=True).int()
    largest = vectors.abs().amax(dims, keepdim=True)
    found: Tensor = torch.frexp(largest).exponent
    return found.masked_fill_(~largest.isfinite(), 0)


def scaled(values: Tensor, powers: Tensor) -> Tensor:
    """Return `values * 2 ** powers`, rounded only where the product leaves the normal range."""
    half = powers >> 1  # two factors, as the whole power may be no number of that type
    return values * _two_to(half, values) * _two_to(powers - half, values)


def of_unit_size(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Bring lanes `(..., n, d)` whose squares would not be safe to a largest value of about 1.

    Returns:
        The messages and the power of two, `(..., 1, 1)`, that they are to be scaled by to be what
        they were; 0 where they are so.

    """
    squares = sums_of_squares(messages)
    if all_are_safe(squares):
        return messages, squares.new_zeros((*squares.shape, 1, 1), dtype=torch.int32)
    powers = exponents(messages, (-2, -1)) * ~are_safe(squares)[..., None, None]
    return scaled(messages, -powers), powers


def sums_of_squares(messages: Tensor) -> Tensor:
    """Return that of all numbers of a lane, `(..., n, d)` to `(...)`, as they are."""
    return _norms(messages).square().sum(-1)


def lengths(vectors: Tensor) -> Tensor:
    """Return Euclidean norms `(...)` in float64 of vectors `(..., d)` of any size."""
    found = _norms(vectors)
    if not all_are_safe(found.square()):
        unsafe = ~are_safe(found.square())
        some = vectors[unsafe]
        powers = exponents(some)
        found[unsafe] = scaled(_norms(scaled(some, -powers)), powers.squeeze(-1))
    return found


def unit(vectors: Tensor) -> Tensor:
    """Return vectors `(..., d)` of any size divided by their length; 0 stays."""
    norms = lengths(vectors).unsqueeze(-1)
    powers = exponents(norms) * ~are_safe(norms.square())
    if bool(powers.any()):
        vectors, norms = scaled(vectors, -powers), scaled(norms, -powers)
    return vectors / norms.masked_fill(norms == 0, 1.0).to(vectors.dtype)


def _norms(vectors: Tensor) -> Tensor:
    """Return Euclidean norms in float64, of squares in the vectors' own type."""
    found: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return found.double()


def _two_to(powers: Tensor, like: Tensor) -> Tensor:
    """Return 2 to these exactly, of a float64's bits: `torch.exp2` and `ldexp` may round."""
    return ((powers.long() + 1023) << 52).view(torch.float64).to(like.dtype)
