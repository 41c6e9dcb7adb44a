"""The noise that every honest worker adds to its gradient.

A noise law draws the unit-scale xi of the paper; the training step multiplies by b.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class NoiseLaw(Protocol):
    """Symmetric, unimodal, i.i.d. noise of unit scale."""

    def __call__(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw a float32 tensor of that shape from that stream."""
        ...


def gaussian(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Normal noise of variance 1."""
    return torch.randn(*shape, generator=generator)


def laplace(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Laplace noise of scale parameter 1 (variance 2): the difference of two exponentials."""
    exponential = torch.empty(2, *shape).exponential_(generator=generator)
    return exponential[0] - exponential[1]


NOISE_LAWS: dict[str, NoiseLaw] = {"gaussian": gaussian, "laplace": laplace}
