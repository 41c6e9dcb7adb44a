"""What workers drew in a step: which examples, and where they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Batches of all workers of all lanes, padded to one length; inputs are gathered on demand.

    >>> labels = torch.ones(1, 2, 3, dtype=torch.long)
    >>> batch = Batch.of(torch.rand(1, 2, 3, 28), labels, present=labels > 0)
    >>> batch[..., :1].inputs.shape
    torch.Size([1, 2, 1, 28])
    """

    examples: Callable[[Tensor], Tensor]
    """Indices `(...)` to inputs `(..., *features)`"""
    places: Tensor
    """`(lanes, workers, pad)`: the index of each example, or any where padded"""
    labels: Tensor
    """`(lanes, workers, pad)`"""
    present: Tensor
    """`(lanes, workers, pad)`, boolean"""

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor, present: Tensor) -> "Batch":
        """Make one of inputs `(lanes, workers, pad, *features)`."""
        places = torch.arange(labels.numel(), device=labels.device).view(labels.shape)
        rows = inputs.flatten(0, labels.dim() - 1)

        def examples(which: Tensor) -> Tensor:
            # a copy of rows, which takes torch half of what indexing takes
            return rows.index_select(0, which.flatten()).view(*which.shape, *rows.shape[1:])

        return cls(examples, places, labels, present)

    @property
    def inputs(self) -> Tensor:
        """Those of all places, `(lanes, workers, pad, *features)`."""
        return self.examples(self.places)

    @property
    def apart(self) -> "Batch":
        """Return the same, each worker a lane of one worker: `(lanes * workers, 1, pad)`."""
        parts = self.places, self.labels, self.present
        return Batch(self.examples, *(part.flatten(0, 1).unsqueeze(1) for part in parts))

    def __getitem__(self, at: Any) -> "Batch":
        """Return a part of it, by an index of tensors `(lanes, workers, pad)`."""
        return Batch(self.examples, self.places[at], self.labels[at], self.present[at])
