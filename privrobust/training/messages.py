"""What workers send of their vectors: the vectors, or their signs to a server that counts votes."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.training.server import Rule


def signs_(vectors: Tensor) -> Tensor:
    """Turn vectors into what a vote is sent of them; NaN votes +1, as `MajorityVote` orders it."""
    return vectors.nan_to_num_(nan=1.0).sign_()


class HonestMessages:
    """Messages of the honest workers of all lanes."""

    def __init__(self, lanes: Sequence[RunSpec], rules: Sequence[Rule]) -> None:
        self._signs = [
            (slice(rule.lanes.start + start, rule.lanes.start + end), is_noisy)
            for rule in rules
            if rule.aggregator.message == "sign"
            for start, end, is_noisy in _runs([spec.noise_scale > 0 for spec in lanes[rule.lanes]])
        ]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Send noisy vectors, or their signs, which take their place; `(lanes, honest, dim)`."""
        for lanes, are_noisy in self._signs:
            if are_noisy:
                # the accounts know two values of a noisy sign: a third would tell more than is
                # charged
                vectors[lanes].lt_(0).mul_(-2).add_(1)
            else:
                signs_(vectors[lanes])
        return vectors


def _runs(values: Sequence[bool]) -> Iterator[tuple[int, int, bool]]:
    """Yield where each run of equal values starts and ends, and its value."""
    start = 0
    for value, equal in groupby(values):
        end = start + len(list(equal))
        yield start, end, value
        start = end
