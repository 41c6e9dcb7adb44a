"""The privacy of a run: what its honest workers send, through an accountant.

Honest workers hold disjoint data, so a run spends the largest epsilon of any of them (parallel
composition). Everything after the noise (signs, aggregation, momentum, the attack) is free.
"""

from functools import lru_cache

from privrobust.accountants import Release, Spent, spend
from privrobust.data import get_dataset, worker_sizes
from privrobust.errors import SpecError
from privrobust.spec import RunSpec

# Runs of a sweep differ in much that leaves their releases alike.
_spend = lru_cache(maxsize=4096)(spend)


def releases(spec: RunSpec) -> list[Release]:
    """What an honest worker sends over the whole run, one record for each size of local data.

    Raises:
        SpecError: more examples are expected in a batch than a worker holds (q > 1), or a worker
            would hold none.

    """
    sizes = worker_sizes(len(get_dataset(spec.dataset).train), spec.honest)
    if spec.batch_size > min(sizes):
        raise SpecError(
            f"batch_size: {spec.batch_size:g} is more than the {min(sizes)} examples of an honest "
            f"worker (sampling rate above 1); accepted: at most {min(sizes)}"
        )
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
        for size in sorted(set(sizes))
    ]


def spent(spec: RunSpec) -> Spent:
    """The run's (epsilon, delta) and who vouches for it: the most that any honest worker spends.

    Raises:
        SpecError: as `releases`, or the accountant does not support them.

    """
    each = [_spend(release, spec.delta, spec.accountant) for release in releases(spec)]
    return max(each, key=lambda worker: worker.epsilon)
