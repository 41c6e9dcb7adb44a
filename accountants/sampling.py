"""Sampling schemes: how the examples of a step are drawn, and which numbers that needs.

`ABOUT` says what each does; under "full" all join every step. Epochs have n / B steps, rounded up.
Sums are divided by the public B under each scheme.
"""

import math
from fractions import Fraction
from typing import Literal

from privrobust.errors import SpecError

Sampling = Literal["poisson", "full", "shuffled", "fixed", "balls_in_bins"]

ABOUT = {
    "poisson": "Each example joins each step by a coin of its own, with probability q.",
    "shuffled": "Each epoch is a random order, cut into batches of B; the last may be smaller.",
    "fixed": "Each step draws B of n examples, uniformly and anew.",
    "balls_in_bins": "In each epoch every example picks one of the steps, uniformly.",
}
"""By the name that a run gives it, what a scheme is; without sampling, "full", is none of them."""

WHOLE = ("shuffled", "fixed")
"""Schemes whose batches have a size, which is whole."""
IN_EPOCHS = ("shuffled", "balls_in_bins")
"""Schemes in which an example takes part once an epoch."""


def steps_per_epoch(batch_size: float, dataset_size: int) -> int:
    """Return how many batches an epoch is cut into: n / B, rounded up."""
    return math.ceil(dataset_size / Fraction(batch_size))


def check_whole(sampling: str, batch_size: float) -> None:
    """Refuse a batch size that no batch can have."""
    if sampling in WHOLE and batch_size % 1:
        raise SpecError(
            f"batch_size: {batch_size:g} with sampling {sampling!r}; accepted: a whole number"
        )


def rate_by_size(
    sampling: str, batch_size: float | None, dataset_size: int | None, rate: float | None
) -> float:
    """Return the share of steps that an example takes part in, of a scheme that goes by n.

    Raises:
        SpecError: B or n is missing or too large, or a rate is given beside them.

    """
    if rate is not None:
        raise SpecError(
            f"sampling_rate: {rate:g} with sampling {sampling!r}, which goes by dataset_size; "
            "accepted: sampling='poisson'"
        )
    if batch_size is None or dataset_size is None:
        missing = "batch_size" if batch_size is None else "dataset_size"
        raise SpecError(f"{missing}: sampling {sampling!r} needs it")
    if batch_size > dataset_size:
        raise SpecError(f"batch_size: {batch_size:.12g} exceeds dataset_size, {dataset_size}")
    check_whole(sampling, batch_size)
    if sampling in IN_EPOCHS:
        return 1 / steps_per_epoch(batch_size, dataset_size)
    return batch_size / dataset_size


def check_neighbours(sampling: str, adjacency: str) -> None:
    """Refuse neighbours of which nothing is proven, of a scheme that goes by n."""
    proven = ("zero-out",) if sampling == "balls_in_bins" else ("zero-out", "replace-one")
    if adjacency not in proven:
        raise SpecError(
            f"adjacency: {adjacency!r} with sampling {sampling!r}; accepted: {', '.join(proven)}"
        )


def check_full(size: float | None, total: int | None, rate: float | None) -> None:
    """Refuse full batches, of this B and n at this rate, that are not the dataset."""
    if rate is not None and rate < 1:
        raise SpecError(
            f"sampling_rate: {rate:g} with sampling='full'; accepted: 1, or sampling='poisson'"
        )
    if total is None and (rate is None or size is None):
        raise SpecError(
            "dataset_size: full batches need it (the batch is the dataset), or a batch_size "
            "with sampling_rate=1"
        )
    if rate is None and size is not None and size != total:
        raise SpecError(
            f"batch_size: {size:.12g} with sampling='full' is not dataset_size, {total}"
        )
