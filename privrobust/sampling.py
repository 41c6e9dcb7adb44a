"""Random streams and Poisson batches.

Every run owns one stream a purpose, derived from its seed alone, so that a run draws the same
numbers alone or beside others. Runs of equal seed and shape draw equal batches and equal noise
whatever their b, aggregator or attack: common random numbers, which make their comparison sharper.
Within a run, workers and steps take successive, disjoint pieces of the stream. torch's generator
keeps 32 bits of its seed: two streams coincide with probability 2^-32, and none is cryptographic.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

# Pads are multiples of this: sums over them then round alike however long the padding is, so that
# a run gives the same bits beside runs that draw larger batches.
_PAD = 8

# Uniform numbers drawn at a time, for as many steps as they last: they stay in the cache.
_DRAWS = 1 << 20


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a run's draws for one purpose ("batches", "noise", ...), on that device."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1)[0]))


def distinct(values: Sequence[T], device: torch.device) -> tuple[list[T], Tensor]:
    """The distinct values, and for every value its place among them."""
    kept = list(dict.fromkeys(values))
    return kept, torch.tensor([kept.index(value) for value in values], device=device)


def poisson_batches(
    sizes: Sequence[Sequence[int]],
    batch_size: float,
    steps: int,
    generators: Sequence[torch.Generator],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Poisson batches of all workers in every stream, a step at a time.

    Worker i of a stream holds examples `0 .. sizes[stream][i]-1`; each joins its batch
    independently with probability `batch_size / sizes[stream][i]`. Uniform numbers are doubles: a
    float32's 2^-24 grid would shift q.

    Yields:
        `slots`, shape `(streams, workers, pad)`: which of its examples each worker draws, padded
        with 0; `present`, the same shape: False where padded. A batch may be empty.

    """
    device = generators[0].device
    rates = [_rates(of_stream, batch_size).to(device) for of_stream in sizes]
    chunk = max(1, _DRAWS // sum(rate.numel() for rate in rates))
    shape = (len(rates), len(sizes[0]), max(map(max, sizes)))
    for start in range(0, steps, chunk):
        count = min(chunk, steps - start)
        drawn = torch.zeros(count, *shape, dtype=torch.bool, device=device)
        for stream, (rate, generator) in enumerate(zip(rates, generators, strict=True)):
            uniform = torch.rand(
                count, *rate.shape, dtype=torch.float64, generator=generator, device=device
            )
            drawn[:, stream, :, : rate.shape[-1]] = uniform < rate
        yield from _pack(drawn)


def _rates(sizes: Sequence[int], batch_size: float) -> Tensor:
    """How likely each example is to join, `(workers, most)`: 0 where a worker holds fewer."""
    held_by = torch.tensor(sizes).unsqueeze(-1)
    return (torch.arange(max(sizes)) < held_by) * (batch_size / held_by.double())


def _pack(drawn: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Boolean `(steps, streams, workers, examples)` to padded indices and masks, step by step."""
    counts = drawn.sum(-1)
    widths = [
        _PAD * math.ceil(most / _PAD) for most in counts.flatten(1).amax(-1).clamp(min=1).tolist()
    ]
    present = torch.arange(max(widths), device=drawn.device) < counts.unsqueeze(-1)
    slots = torch.zeros(present.shape, dtype=torch.long, device=drawn.device)
    slots[present] = drawn.nonzero()[:, -1]
    for step, width in enumerate(widths):
        yield slots[step, ..., :width], present[step, ..., :width]
