"""Releases by sigma, q and T: the terms that the literature reports in."""

from typing import Any

from privrobust.accountants import Release

DATASET_SIZE = 10_000


def release(q: float, sigma: float, steps: int, **fields: Any) -> Release:
    """A release with clipping norm 1 whose batches hold a fraction q of the examples."""
    batch_size = q * DATASET_SIZE
    return Release(
        noise_scale=sigma / batch_size,
        clip_norm=1.0,
        batch_size=batch_size,
        dataset_size=DATASET_SIZE,
        steps=steps,
        **fields,
    )
