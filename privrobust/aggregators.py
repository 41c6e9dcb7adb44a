"""Aggregation rules: messages of all workers `(..., n, d)` in, one update direction `(..., d)` out.

>>> import torch
>>> Median()(torch.tensor([[1.0], [2.0], [9.0], [4.0]]))
tensor([3.])
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from privrobust.errors import SpecError, unknown_name
from privrobust.selection import mean_of_ranks


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
        return mean_of_ranks(messages, (n - 1) // 2, n // 2 + 1)


@dataclass(frozen=True)
class TrimmedMean:
    """Coordinate-wise mean without the f largest and f smallest values (Yin et al. 2018, Def. 2).

    Args:
        f: how many values to leave out at each end; a spec gives its number of Byzantine workers.

    """

    message: ClassVar[Literal["vector", "sign"]] = "vector"

    f: int

    def __call__(self, messages: Tensor) -> Tensor:
        """Mean of the values between, over workers; finite while at most f messages are not.

        Raises:
            SpecError: nothing is left between.

        """
        n = messages.shape[-2]
        if n <= 2 * self.f:
            raise SpecError(
                f"trimmed_mean: {n} workers cannot spare {self.f} at each end; "
                f"accepted: more than {2 * self.f} workers"
            )
        return mean_of_ranks(messages, self.f, n - self.f)


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


_AGGREGATORS: dict[str, Callable[[int], Aggregator]] = {
    "mean": lambda f: Mean(),
    "median": lambda f: Median(),
    "majority_vote": lambda f: MajorityVote(),
    "trimmed_mean": TrimmedMean,
}


def available_aggregators() -> list[str]:
    """Names that a spec may use."""
    return sorted(_AGGREGATORS)


def get_aggregator(name: str, byzantine: int = 0) -> Aggregator:
    """The aggregator of that name, made to withstand so many Byzantine workers.

    Raises:
        SpecError: no aggregator has that name.

    """
    if name not in _AGGREGATORS:
        raise unknown_name("aggregator", name, _AGGREGATORS)
    return _AGGREGATORS[name](byzantine)
