"""Sums of clipped gradients whose rounding is proven to be small, in float64.

Clipping leaves a gradient at most `C (1 - 2^-20)`, and the rest of C is for rounding. With
u = 2^-53 and n examples in a worker's batch, of two sums with and without one of them:

- a *norm* is a sum of at most `d <= 2^30` squares or sizes, each float64: off by `d u <= 2^-23`;
- the *factor* that clips, its division by B and its product with a float32 number are off by 3 u,
  and the product of two float32 numbers is exact;
- a *sum* of m terms, in whatever order and with or without fused products, is off by at most
  `m u` times the sizes of the terms (Higham, Accuracy and Stability, section 4.2). Those are
  at most n C together where an example is one term of a coordinate, and `n k C` where it is
  several whose sizes are at most k times its norm.

`longest(n, k)` is the number of terms for which `n k (m + 4) u <= 2^-22`: longer sums are cut
there, and the pieces are added with compensation, which is off by 2 u however many they are.
Twice 2^-22, for both sums, 2^-23 and a few u are less than 2^-20. So the exact difference of the
two float64 averages has a norm of at most C / B, for n up to 2^20 and any number of coordinates.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from privrobust.errors import SpecError

ROOM = 1 - 2.0**-20
"""The share of C that clipping uses; the rest is for rounding."""

_MOST_EXAMPLES = 1 << 20

# Numbers of a matrix from which a batched product writes to a strided view as fast as to a new one.
_DIRECT = 1 << 12


def longest(examples: int, cancellation: int = 1) -> int:
    """Return of how many terms a sum may be before it has to be cut.

    Args:
        examples: n, the places for examples in a batch.
        cancellation: k, how much larger than its sum an example's terms may be; at most 2^7.

    Raises:
        SpecError: the batch has more examples than the proof covers.

    """
    if examples > _MOST_EXAMPLES:
        raise SpecError(
            f"batch_size: {examples} examples of one worker in a step; rounding is bounded up to "
            f"{_MOST_EXAMPLES}: accepted: a smaller batch_size"
        )
    return (1 << 31) // (examples * cancellation) - 4


def product(left: Tensor, right: Tensor, out: Tensor, examples: int, cancellation: int = 1) -> None:
    """Write `left @ right` to `out`, cut into pieces where rounding would be too large.

    Args:
        left: float64 `(..., p, terms)`.
        right: float64 `(..., terms, d)`.
        out: float64 `(..., p, d)`, a view of any strides.
        examples: as of `longest`.
        cancellation: as of `longest`.

    """
    at_once = longest(examples, cancellation)
    if left.shape[-1] > at_once:
        pieces = zip(left.split(at_once, -1), right.split(at_once, -2), strict=True)
        add_up((some @ others for some, others in pieces), out)
    elif out.dim() == 3 and out[0].numel() >= _DIRECT:
        torch.bmm(left, right, out=out)
    else:
        out.copy_(left @ right)


def add_up(parts: Iterable[Tensor], out: Tensor) -> None:
    """Write the sum of float64 parts to `out`, off by one rounding however many they are.

    What each addition loses is kept and added at the end (Neumaier 1974, with Knuth's exact
    difference).
    """
    lost: Tensor | None = None
    of_all = iter(parts)
    first = next(of_all, None)
    if first is None:
        out.zero_()
        return
    out.copy_(first)
    for part in of_all:
        lost = torch.zeros_like(part) if lost is None else lost
        total = out + part
        rounded = total - out
        lost += (out - (total - rounded)) + (part - rounded)
        out.copy_(total)
    if lost is not None:
        out += lost
