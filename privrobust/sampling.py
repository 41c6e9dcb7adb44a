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

# Uniform numbers that a stream draws at a time, for as many steps as they last; and so many in all
# are packed at a time.
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
    sampling_rate: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Poisson batches of all workers in every stream, a step at a time.

    Worker i of a stream holds examples `0 .. sizes[stream][i]-1`; each joins its batch
    independently with probability `sampling_rate`, or `batch_size / sizes[stream][i]` if there is
    none. Uniform numbers are doubles: a float32's 2^-24 grid would shift q.

    Yields:
        `slots`, shape `(streams, workers, pad)`: which of its examples each worker draws, padded
        with 0; `present`, the same shape: False where padded. A batch may be empty.

    """
    device = generators[0].device
    rates = [_rates(of_stream, batch_size, sampling_rate).to(device) for of_stream in sizes]
    chunk = _steps_at_once(sum(rate.numel() for rate in rates))
    joins = [
        _joins(rate, steps, chunk, generator)
        for rate, generator in zip(rates, generators, strict=True)
    ]
    shape = (len(rates), len(sizes[0]), max(map(max, sizes)))
    for pieces in zip(*joins, strict=True):
        drawn = torch.zeros(len(pieces[0]), *shape, dtype=torch.bool, device=device)
        for stream, piece in enumerate(pieces):
            drawn[:, stream, :, : piece.shape[-1]] = piece
        yield from _pack(drawn)


def _steps_at_once(draws: int) -> int:
    """How many steps of so many draws, made at a time: a power of two, so that fewer divide it."""
    return 1 << (max(1, _DRAWS // draws).bit_length() - 1)


def _joins(rate: Tensor, steps: int, chunk: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Which examples join the batches of a stream, `(chunk, workers, examples)`, piece by piece.

    How much it draws at a time depends on its own sizes alone, as a GPU's numbers depend on that: a
    run draws the same ones beside others.
    """
    for start in range(0, steps, at_once := _steps_at_once(rate.numel())):
        shape = (min(at_once, steps - start), *rate.shape)
        yield from _uniform(shape, generator).lt(rate).split(chunk)  # which are bytes, not doubles


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)


def _rates(sizes: Sequence[int], batch_size: float, sampling_rate: float | None) -> Tensor:
    """How likely each example is to join, `(workers, most)`: 0 where a worker holds fewer."""
    held_by = torch.tensor(sizes).unsqueeze(-1)
    rates = batch_size / held_by.double()
    if sampling_rate is not None:
        rates = torch.full_like(rates, sampling_rate)
    return (torch.arange(max(sizes)) < held_by) * rates


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
