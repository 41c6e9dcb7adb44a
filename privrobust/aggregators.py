"""Aggregation rules: messages of all workers `(..., n, d)` in, one update direction `(..., d)` out.

>>> import torch
>>> Median()(torch.tensor([[1.0], [2.0], [9.0], [4.0]]))
tensor([3.])
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from privrobust.errors import unknown_name
from privrobust.selection import order_statistics


class Aggregator(Protocol):
    """What the server does with the messages of one step."""

    message: ClassVar[Literal["vector", "sign"]]
    """What this rule asks the workers to send: the noisy vector, or its sign."""

    def __call__(self, messages: Tensor) -> Tensor:
        """Aggregate over the worker axis: `(..., n, d)` to `(..., d)`."""
        ...


@dataclass(frozen=True)
class Mean:
    """The average: the non-robust baseline. One worker can move it anywhere, to NaN included."""

    message: ClassVar[Literal["vector", "sign"]] = "vector"

    def __call__(self, messages: Tensor) -> Tensor:
        """Mean over workers."""
        return messages.mean(dim=-2)


@dataclass(frozen=True)
class Median:
    """Coordinate-wise median (noisy medianSGD; Chen et al. 2020, Algorithm 2).

    For an even number of workers it is the mean of the two middle values. NaN is ordered as
    +infinity, so the result is finite while fewer than n/2 messages are not.
    """

    message: ClassVar[Literal["vector", "sign"]] = "vector"

    def __call__(self, messages: Tensor) -> Tensor:
        """Median over workers."""
        n = messages.shape[-2]
        if n % 2:
            return order_statistics(messages, (n // 2,))[0]
        low, high = order_statistics(messages, (n // 2 - 1, n // 2))
        return 0.5 * low + 0.5 * high


@dataclass(frozen=True)
class MajorityVote:
    """Coordinate-wise majority vote of signs (noisy signSGD; Chen et al. 2020, Algorithm 1).

    Every message counts by its sign alone: one worker has one vote, however large its values.
    A zero abstains, a tie gives 0, NaN votes +1 (it is ordered as +infinity).
    """

    message: ClassVar[Literal["vector", "sign"]] = "sign"

    def __call__(self, messages: Tensor) -> Tensor:
        """Sign of the sum of signs over workers, in {-1, 0, 1}."""
        return messages.nan_to_num(nan=1.0).sign().sum(dim=-2).sign()


_AGGREGATORS: dict[str, type[Aggregator]] = {
    "mean": Mean,
    "median": Median,
    "majority_vote": MajorityVote,
}


def available_aggregators() -> list[str]:
    """Names that a spec may use."""
    return sorted(_AGGREGATORS)


def get_aggregator(name: str) -> Aggregator:
    """The aggregator of that name.

    Raises:
        SpecError: no aggregator has that name.

    """
    if name not in _AGGREGATORS:
        raise unknown_name("aggregator", name, _AGGREGATORS)
    return _AGGREGATORS[name]()
