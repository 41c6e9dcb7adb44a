"""The bound on gradients that a run may state in place of clipping, held against what it sees."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from privrobust.spec import RunSpec

# Relative slack when norms are held against a proven bound: float32 rounding, not the gradient.
_SLACK = 1e-5


class Failure(NamedTuple):
    """Where and why a run ended without a result."""

    step: int
    reason: str


class GradientBounds:
    """The `grad_norm_bound` of the lanes that state one."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        self.failures: dict[int, Failure] = {}
        """By lane."""
        self._lanes = len(lanes)
        self._stated = {
            lane: spec.grad_norm_bound
            for lane, spec in enumerate(lanes)
            if spec.grad_norm_bound is not None
        }

    def check(self, step: int, norms: Tensor) -> None:
        """Record the first violation of each lane; norms are `(lanes, honest, units)`."""
        for lane, bound in self._stated.items():
            worst = norms[lane].amax(-1)  # NaN, which keeps no bound, is the largest to amax
            if lane not in self.failures and not bool((worst <= bound * (1 + _SLACK)).all()):
                worker = int(worst.argmax())
                self.failures[lane] = Failure(
                    step,
                    f"grad_norm_bound: at step {step}, honest worker {worker} has a gradient of "
                    f"norm {float(worst[worker]):.6g}, above the bound {bound:g}; the run is ended",
                )

    def broken_by_all(self) -> bool:
        """Tell whether no lane is left to train."""
        return len(self.failures) == self._lanes
