"""What a run reports."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from privrobust.accountants import Spent
from privrobust.backward import activations, side_by_side
from privrobust.data import Split
from privrobust.honest import Failure
from privrobust.parameters import Layout
from privrobust.privacy import spent_by_worker
from privrobust.spec import RunSpec

# Numbers that layers may put out together in an evaluation (64 MiB).
_HELD = 1 << 24


@dataclass(frozen=True, eq=False)
class RunResult:
    """The outcome of one run."""

    spec: RunSpec
    spent: Spent
    """(epsilon, delta), the accountant that vouches for it, and why epsilon is infinite if so."""
    history: pd.DataFrame
    """A row an evaluation: `step`, `accuracy` and `loss` on the held-out split."""
    steps: int
    """Steps taken: fewer than `spec.steps` where `max_epsilon` ended the run."""
    failure: str | None = None
    """Why the run ended without a result: accuracy and loss are NaN, epsilon is infinite."""

    @property
    def accuracy(self) -> float:
        """Mean accuracy, in [0, 1], of the last `spec.final_evaluations` evaluations."""
        return self._final("accuracy")

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats, of the same evaluations."""
        return self._final("loss")

    def ended_by(self, failure: Failure) -> "RunResult":
        """The same run without a result: what it claimed of its gradients is false."""
        spent = replace(self.spent, epsilon=math.inf, reason="the stated gradient bound was broken")
        kept = self.history[self.history["step"] < failure.step]
        return replace(self, spent=spent, history=kept, failure=failure.reason)

    @property
    def epsilon(self) -> float:
        """The run's epsilon at `spec.delta`: the largest over honest workers."""
        return self.spent.epsilon

    @property
    def epsilon_by_worker(self) -> pd.Series:
        """What each honest worker spends; those with less data spend more."""
        spent = [worker.epsilon for worker in spent_by_worker(self.spec)]
        return pd.Series(spent, name="epsilon").rename_axis("worker")

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being finite; such outputs count as wrong answers."""
        return not bool(np.isfinite(self.history["loss"].astype(float)).all())

    def _final(self, column: str) -> float:
        if self.failure:
            return math.nan
        return float(self.history[column].tail(self.spec.final_evaluations).mean(skipna=False))


class Evaluation(NamedTuple):
    """Accuracy and mean loss of every lane, `(lanes,)` each."""

    accuracy: Tensor
    loss: Tensor


def evaluate(model: nn.Module, parameters: Tensor, split: Split) -> Evaluation:
    """Evaluate parameters `(lanes, dim)`; outputs that are not finite count as wrong answers."""
    with torch.no_grad():
        scores = _scores(model, parameters, split.inputs)
        correct = (scores.argmax(-1) == split.labels) & scores.isfinite().all(-1)
        labels = split.labels.expand(scores.shape[:-1])
        losses = cross_entropy(scores.transpose(1, 2), labels, reduction="none")
        return Evaluation(correct.double().mean(-1).cpu(), losses.double().mean(-1).cpu())


def _scores(model: nn.Module, parameters: Tensor, inputs: Tensor) -> Tensor:
    """`(lanes, examples, classes)`, side by side as far as memory and speed allow."""
    layout = Layout(model)
    lanes = len(parameters) if side_by_side(model) else 1
    examples = max(1, _HELD // (lanes * activations(model, inputs[:1])))

    def scores(named: dict[str, Tensor], some: Tensor) -> Tensor:
        result: Tensor = functional_call(model, named, (some,))
        return result

    def alone(named: dict[str, Tensor], some: Tensor) -> Tensor:
        return scores({name: of[0] for name, of in named.items()}, some).unsqueeze(0)

    side = vmap(scores, in_dims=(0, None)) if lanes > 1 else alone
    return torch.cat(
        [
            torch.cat(
                [side(layout.unflatten(of_lanes), some) for some in inputs.split(examples)],
                dim=1,
            )
            for of_lanes in parameters.split(lanes)
        ]
    )
