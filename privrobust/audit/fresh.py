"""What of a message was noised in this step: a momentum tells it to who saw the last message."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from privrobust.aggregators import get_aggregator
from privrobust.spec import RunSpec
from privrobust.training.lanes import column


class Fresh:
    """Takes what messages keep of earlier steps away."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        """Look at messages of these lanes, of one rule."""
        rule = get_aggregator(lanes[0].aggregator, lanes[0].byzantine)
        self.are_signs = rule.message == "sign"
        """Of which nothing can be taken away."""
        self.lost = 0.0 if self.are_signs else max(spec.worker_momentum for spec in lanes)
        """The largest momentum: rounding grows by `1 / (1 - lost)`."""
        cpu = torch.device("cpu")
        beta = column(lanes, lambda spec: spec.worker_momentum, cpu, torch.float64)
        self._beta = beta.unsqueeze(-1)
        self._last: Tensor | None = None

    def __call__(self, sent: Tensor) -> Tensor:
        """Return it of honest messages `(L, workers, dim)` of the next step."""
        if not self.lost:
            return sent
        kept = sent.double()
        before = torch.zeros_like(kept) if self._last is None else self._last
        self._last = kept
        return (kept - self._beta * before) / (1 - self._beta)
