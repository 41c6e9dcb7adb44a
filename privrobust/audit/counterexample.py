"""One example that moves its worker's sum of gradients by more than clipping allows.

Epsilon rests on what one example moves. Whoever shows one that moves more has refuted that by an
example, not by chance: there is no confidence to it. The sums are the run's own, with and without
an example among others: as it is, and so far from all others that it has a vast gradient, or would
move theirs if a module mixed examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import GradientSum

_AMONG = 8
"""Examples of a batch that are looked at, at most."""
_SLACK = 1e-3
"""For rounding, as a share of the clipping norm."""
_FAR = (1.0, 1e4)
"""What an example's features are multiplied with."""


def counterexample(
    gradients: GradientSum, parameters: Tensor, batch: Batch, clip_norms: Tensor, order: int
) -> str | None:
    """Look for an example that moves its worker's sum too far, and say how far.

    Args:
        gradients: sums them.
        parameters: of one lane, `(1, dim)`.
        batch: of its workers.
        clip_norms: C, `(1,)`.
        order: of its norm.

    """
    some = batch[..., :_AMONG]
    bound = float(clip_norms)
    if not some.labels.numel() or not bound < torch.inf:
        return None
    inputs, labels = some.inputs, some.labels
    there = torch.ones_like(labels, dtype=torch.bool)
    without = there.clone()
    without[..., 0] = False
    for times in _FAR if inputs.is_floating_point() else _FAR[:1]:
        moved = inputs.clone()
        moved[:, :, 0] *= times
        both, others = (
            gradients(parameters, Batch.of(moved, labels, present), clip_norms).sums
            for present in (there, without)
        )
        norms = torch.linalg.vector_norm(both - others, order, dim=-1)
        furthest = float(norms.nan_to_num(nan=torch.inf).max())
        if furthest > bound * (1 + _SLACK):
            return (
                f"an example moved its worker's sum of gradients by {furthest / bound:.4g} times "
                "what clipping allows"
            )
    return None
