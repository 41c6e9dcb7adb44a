"""What workers send of their vectors: the vectors, or their signs to a server that counts votes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.training.lanes import column
from privrobust.training.server import Rule


def signs_(vectors: Tensor) -> Tensor:
    """Turn vectors into what a vote is sent of them; NaN votes +1, as `MajorityVote` orders it."""
    return vectors.nan_to_num_(nan=1.0).sign_()


class HonestMessages:
    """Messages of the honest workers of all lanes."""

    def __init__(
        self, lanes: Sequence[RunSpec], rules: Sequence[Rule], device: torch.device
    ) -> None:
        self._rules = rules
        self._is_noisy = column(lanes, lambda spec: spec.noise_scale, device).unsqueeze(-1) > 0

    def __call__(self, vectors: Tensor) -> Tensor:
        """Send noisy vectors, or their signs, which take their place; `(lanes, honest, dim)`."""
        for rule in self._rules:
            if rule.aggregator.message == "sign":
                sent = signs_(vectors[rule.lanes])
                # the accounts know two values of a noisy sign: a third would tell more than is
                # charged
                sent.masked_fill_((sent == 0) & self._is_noisy[rule.lanes], 1.0)
        return vectors
