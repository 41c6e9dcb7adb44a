"""What workers send of their vectors: the vectors, or their signs to a server that counts votes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from privrobust.aggregators import Aggregator
from privrobust.spec import RunSpec
from privrobust.training.lanes import column
from privrobust.training.server import Rule


def message(vectors: Tensor, aggregator: Aggregator) -> Tensor:
    """Return what this rule is sent; NaN votes +1, as `MajorityVote` orders it."""
    return vectors.nan_to_num(nan=1.0).sign_() if aggregator.message == "sign" else vectors


class HonestMessages:
    """Messages of the honest workers of all lanes."""

    def __init__(
        self, lanes: Sequence[RunSpec], rules: Sequence[Rule], device: torch.device
    ) -> None:
        self._rules = rules
        self._is_noisy = column(lanes, lambda spec: spec.noise_scale, device).unsqueeze(-1) > 0

    def __call__(self, vectors: Tensor) -> Tensor:
        """Send noisy vectors, or their signs; both `(lanes, honest, dim)`."""
        sent = [self._of_rule(rule, vectors[rule.lanes]) for rule in self._rules]
        return sent[0] if len(sent) == 1 else torch.cat(sent)

    def _of_rule(self, rule: Rule, vectors: Tensor) -> Tensor:
        sent = message(vectors, rule.aggregator)
        if rule.aggregator.message == "sign":
            # the accounts know two values of a noisy sign: a third would tell more than is charged
            sent.masked_fill_((sent == 0) & self._is_noisy[rule.lanes], 1.0)
        return sent
