"""On which training examples a run's fit is measured, and when.

The honest workers hold the whole training split between them. Where it is larger than the held-out
split a fixed sample of it is measured, so that this costs no more than an evaluation, and only in
the last evaluations, which a run's results average.

These are measurements of whoever runs an experiment, who sees all data: no release, and not covered
by epsilon.
"""

from collections.abc import Sequence

import numpy as np
import torch

from privrobust.data import Split
from privrobust.spec import RunSpec

_SEED = 0  # which examples are measured is public, and never depends on a run's seed


def fitted_examples(train: Split, most: int) -> Split:
    """Return the whole training split, or where it is larger a sample of so many examples.

    The sample is uniform, and the same for all runs on the same data.
    """
    if len(train) <= most:
        return train
    places = np.random.default_rng(_SEED).choice(len(train), most, replace=False)
    return train.only(torch.from_numpy(np.sort(places)).to(train.labels.device))


def fitted_at(lanes: Sequence[RunSpec], steps: int) -> frozenset[int]:
    """Return the steps of the last evaluations, as many as any lane averages.

    Args:
        lanes: runs of one `evaluate_every`.
        steps: that they take.

    """
    every, last = lanes[0].evaluate_every, max(spec.final_evaluations for spec in lanes)
    return frozenset([*range(every, steps, every)[-last:], steps][-last:])
