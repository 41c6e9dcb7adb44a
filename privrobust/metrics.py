"""What a run reports."""

import math
from collections.abc import Sequence
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
    """A row an evaluation: `step`, `accuracy` and `loss` on the held-out split, and how well the
    step's aggregate stood for the honest messages (`privrobust.measures.Measures`)."""
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

    @property
    def kappa(self) -> float:
        """Empirical robustness coefficient: the largest kappa of the steps that were measured."""
        return float(self.history["kappa"].max())

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


class Evaluator:
    """Evaluates parameters of a model on one split, side by side as far as memory and speed allow.

    Outputs that are not finite count as wrong answers.
    """

    def __init__(self, model: nn.Module, split: Split) -> None:
        self._model = model
        self._split = split
        self._layout = Layout(model)
        self._side_by_side = side_by_side(model, split.inputs[:1])
        self._held = activations(model, split.inputs[:1])

    def __call__(self, parameters: Tensor) -> Evaluation:
        """Of parameters `(lanes, dim)`."""
        with torch.no_grad():
            scores = self._scores(parameters)
            labels = self._split.labels
            correct = (scores.argmax(-1) == labels) & scores.isfinite().all(-1)
            of_lanes = labels.expand(scores.shape[:-1])
            losses = cross_entropy(scores.transpose(1, 2), of_lanes, reduction="none")
            return Evaluation(correct.double().mean(-1).cpu(), losses.double().mean(-1).cpu())

    def _scores(self, parameters: Tensor) -> Tensor:
        """`(lanes, examples, classes)`"""
        lanes = len(parameters) if self._side_by_side else 1
        parts = self._split.inputs.split(max(1, _HELD // (lanes * self._held)))
        if lanes == 1:
            of_lanes = [self._of_lane(each, parts).unsqueeze(0) for each in parameters]
            return torch.cat(of_lanes)
        named = self._layout.unflatten(parameters)
        return torch.cat([vmap(self._call, (0, None))(named, part) for part in parts], dim=1)

    def _of_lane(self, parameters: Tensor, parts: Sequence[Tensor]) -> Tensor:
        named = self._layout.unflatten(parameters)
        return torch.cat([self._call(named, part) for part in parts])

    def _call(self, named: dict[str, Tensor], inputs: Tensor) -> Tensor:
        scores: Tensor = functional_call(self._model, named, (inputs,))
        return scores
