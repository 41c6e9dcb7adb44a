"""The server's step from an aggregate: weight decay, momentum, learning rate; rates of all steps.

All of it is made of messages, parameters and public settings: post-processing, free of privacy
cost. The arithmetic is that of `torch.optim.SGD`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from privrobust.schedules import get_schedule, rate
from privrobust.spec import RunSpec
from privrobust.training.lanes import column


def learning_rates(
    lanes: Sequence[RunSpec], steps: int, device: torch.device, whole: Callable[[RunSpec], float]
) -> Tensor:
    """Return every lane's rate at each of so many steps, `(steps, lanes, 1)`.

    It is the `whole` rate of the lane times the factor of its schedule.
    """
    # as the runs were planned: a budget may end them before their schedules do
    planned = [(spec.schedule, spec.warmup_steps, spec.steps) for spec in lanes]
    factors = {
        (name, warmup, all_steps): [
            rate(schedule, warmup, step, all_steps) for step in range(1, steps + 1)
        ]
        for name, warmup, all_steps in dict.fromkeys(planned)
        for schedule in [get_schedule(name)]
    }
    of_lanes = [
        [whole(spec) * factor for factor in factors[plan]]
        for spec, plan in zip(lanes, planned, strict=True)
    ]
    return torch.tensor(of_lanes, device=device).T.unsqueeze(-1)


class Descent:
    """Steps of many lanes, each with its own settings."""

    def __init__(self, lanes: Sequence[RunSpec], parameters: Tensor, steps: int) -> None:
        """Prepare for so many steps from parameters `(lanes, dim)`."""
        device = parameters.device
        self._rates = learning_rates(lanes, steps, device, lambda spec: spec.learning_rate)
        self._momentum = column(lanes, lambda spec: spec.momentum, device)
        self._has_momentum = bool(self._momentum.any())
        self._weight_decay = column(lanes, lambda spec: spec.weight_decay, device)
        self._decays = bool(self._weight_decay.any())
        self._velocity = torch.zeros_like(parameters)

    def __call__(self, step: int, parameters: Tensor, update: Tensor) -> Tensor:
        """Return the parameters after a step, from 1, along the aggregate; both `(lanes, dim)`."""
        if self._decays:
            decayed = torch.addcmul(update, parameters, self._weight_decay)
            update = torch.where(self._weight_decay > 0, decayed, update)  # 0 times infinity is NaN
        if self._has_momentum:
            self._velocity.mul_(self._momentum).masked_fill_(self._momentum == 0, 0.0).add_(update)
            update = self._velocity
        return parameters - self._rates[step - 1] * update
