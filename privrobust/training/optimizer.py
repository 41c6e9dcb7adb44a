"""The server's step from an aggregate: weight decay, momentum, learning rate.

All of it is made of messages, parameters and public settings: post-processing, free of privacy
cost. The arithmetic is that of `torch.optim.SGD`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from privrobust.schedules import get_schedule, rate
from privrobust.spec import RunSpec
from privrobust.training.lanes import column


class Descent:
    """Steps of many lanes, each with its own settings."""

    def __init__(self, lanes: Sequence[RunSpec], parameters: Tensor, steps: int) -> None:
        """Prepare for so many steps from parameters `(lanes, dim)`."""
        device = parameters.device
        # as the runs were planned: a budget may end them before their schedules do
        planned = [(spec.schedule, spec.warmup_steps, spec.steps) for spec in lanes]
        factors = {
            (name, warmup, whole): [
                rate(schedule, warmup, step, whole) for step in range(1, steps + 1)
            ]
            for name, warmup, whole in dict.fromkeys(planned)
            for schedule in [get_schedule(name)]
        }
        of_lanes = [
            [spec.learning_rate * factor for factor in factors[plan]]
            for spec, plan in zip(lanes, planned, strict=True)
        ]
        self._rates = torch.tensor(of_lanes, device=device).T.unsqueeze(-1)
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
