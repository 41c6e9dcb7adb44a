"""The noise that every honest worker adds to its gradient.

A noise law draws the unit-scale xi of the paper; the training step multiplies by b.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from privrobust.parallel import in_threads
from privrobust.sampling import distinct, stream

# A run of one seed draws from at most so many streams, each of at least so many numbers a step.
_STREAMS = 8
_LEAST = 1 << 16

Fill = Callable[[Tensor, torch.Generator], object]
"""Fills a tensor with draws from a stream."""


@dataclass(frozen=True)
class NoiseLaw:
    """Symmetric, unimodal, i.i.d. noise of unit scale."""

    fill: Fill
    """Draws xi, in float32."""
    std: float
    """Of xi."""
    tail: Callable[[Tensor], Tensor] | None = None
    """P(xi > x) of x >= 0, for signs drawn by `noisy_signs`; None where adding xi is as fast."""


def _gaussian(out: Tensor, generator: torch.Generator) -> None:
    """Normal noise of variance 1, which torch draws about as fast as uniform numbers."""
    out.normal_(generator=generator)


def _laplace(out: Tensor, generator: torch.Generator) -> None:
    """Laplace noise of scale parameter 1 (variance 2), by inversion of its distribution."""
    uniform = torch.empty_like(out, dtype=torch.float64).uniform_(-1, 1, generator=generator)
    size = torch.log1p(-uniform.abs().clamp_(max=1 - 2.0**-53))
    out.copy_(torch.copysign(size, uniform))


def _laplace_tail(x: Tensor) -> Tensor:
    return torch.exp(-x).mul_(0.5)


NOISE_LAWS: dict[str, NoiseLaw] = {
    "gaussian": NoiseLaw(_gaussian, std=1.0),
    "laplace": NoiseLaw(_laplace, math.sqrt(2), _laplace_tail),
}


def chances(out: Tensor, generator: torch.Generator) -> None:
    """Uniform int32 numbers from 0 to 2^31 - 1, for `noisy_signs`."""
    out.random_(generator=generator)


class Draws:
    """One draw a step for every honest worker of every lane, in streams that run in parallel.

    How many streams a run has follows from its shape alone: it draws the same numbers beside other
    runs and on any number of cores.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        purpose: str,
        fill: Fill,
        shape: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """For lanes of these seeds, `shape` being (workers, dim)."""
        apart, self._seed_of = distinct(seeds, device)
        self._drawn = torch.empty(len(apart), *shape, dtype=dtype, device=device)
        pieces = min(_STREAMS, max(1, self._drawn[:1].numel() // _LEAST), shape[0])
        self._tasks = [
            partial(fill, part, stream(seed, f"{purpose} {piece}", device))
            for seed, of_run in zip(apart, self._drawn, strict=True)
            for piece, part in enumerate(of_run.tensor_split(pieces))
        ]
        self._are_small = device.type != "cpu" or self._drawn.numel() < 2 * _LEAST

    def __call__(self) -> Tensor:
        """`(lanes, workers, dim)`, lanes of equal seed alike; valid until the next call."""
        in_threads(self._tasks, self._are_small)
        seeds = len(self._drawn)
        if seeds == 1:
            return self._drawn.expand(len(self._seed_of), -1, -1)
        return self._drawn if seeds == len(self._seed_of) else self._drawn[self._seed_of]


def noisy_signs(
    vectors: Tensor, scales: Tensor, tail: Callable[[Tensor], Tensor], chance: Tensor
) -> Tensor:
    """`sign(vectors + scales xi)` without xi: a sign flips with the probability `P(xi > |v| / b)`.

    Args:
        vectors: any shape.
        scales: b, broadcast against `vectors`; where 0, the plain sign (0 of 0).
        tail: of the noise law.
        chance: draws of `chances`, broadcast against `vectors`. Of a probability p, their steps
            and float32 miss at most `2^-31 + 2^-23 p`.

    """
    threshold = tail(vectors.abs() / scales).mul_(2.0**31)
    flips = chance < threshold  # never where that is 0/0, of a 0 without noise
    signs = vectors.sign().add_((vectors == 0) & (scales > 0))
    return signs.mul_(flips.to(signs.dtype).mul_(-2.0).add_(1.0))
