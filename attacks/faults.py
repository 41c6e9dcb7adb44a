"""Messages without a plan: noise, nothing, and what is no number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.attacks.base import Attack, Generators, Sees, constant, normal
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gaussian(Attack):
    """Normal numbers, drawn anew for each Byzantine worker and step.

    Args:
        mean: of every coordinate.
        std: of every coordinate.

    References:
        Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
        (https://arxiv.org/abs/1703.02757).

    """

    paper: ClassVar[str] = "Blanchard et al. 2017"
    sees: ClassVar[Sees] = "nothing"

    mean: float = parameter(0.0)
    std: float = parameter(1.0, least=0)

    def craft(self, seen: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `mean + std * xi`, xi standard normal."""
        return normal(seen, byzantine, generator).mul_(self.std).add_(self.mean)


@dataclass(frozen=True)
class _Constant(Attack):
    """The same number everywhere."""

    sees: ClassVar[Sees] = "nothing"
    value: ClassVar[float]

    def craft(self, seen: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return a constant vector, from every Byzantine worker."""
        return constant(seen, byzantine, self.value)


@dataclass(frozen=True)
class Zero(_Constant):
    """Zeros: workers that send nothing of use.

    References:
        Free-rider Attacks on Model Aggregation in Federated Learning
        (https://arxiv.org/abs/2006.11901).

    """

    paper: ClassVar[str] = "Fraboni, Vidal, Lorenzi 2021, plain free-riding"

    value: ClassVar[float] = 0.0


@dataclass(frozen=True)
class NotANumber(_Constant):
    """NaN in every coordinate.

    References:
        AggregaThor: Byzantine Machine Learning via Robust Gradient Aggregation (SysML 2019).

    """

    paper: ClassVar[str] = "Damaskinos et al. 2019, AggregaThor"

    value: ClassVar[float] = float("nan")


@dataclass(frozen=True)
class Infinity(_Constant):
    """Infinity in every coordinate.

    References:
        AggregaThor: Byzantine Machine Learning via Robust Gradient Aggregation (SysML 2019).

    """

    paper: ClassVar[str] = "Damaskinos et al. 2019, AggregaThor"

    value: ClassVar[float] = float("inf")
