"""What a run reports."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import vmap

from privrobust.accountants import Spent
from privrobust.backward import activations, side_by_side
from privrobust.data import Split, get_dataset
from privrobust.dealing import codes, shares
from privrobust.honest import Failure
from privrobust.isolation import called, own_copy, scores_of_each, vmaps
from privrobust.losses import Loss
from privrobust.measures import Evaluation
from privrobust.parameters import Layout
from privrobust.privacy import spent_by_worker
from privrobust.proven import rows_stay_apart
from privrobust.spec import RunSpec

# Numbers that layers may put out together in an evaluation (64 MiB).
_HELD = 1 << 24

# Of the expected calibration error (Guo et al. 2017).
_BINS = 15


@dataclass(frozen=True, eq=False)
class RunResult:
    """The outcome of one run."""

    spec: RunSpec
    spent: Spent
    """(epsilon, delta), the accountant that vouches for it, and why epsilon is infinite if so."""
    history: pd.DataFrame
    """A row an evaluation: `step`, `accuracy`, `loss` and `calibration_error` on the held-out
    split, and how well the step's aggregate stood for the honest messages
    (`privrobust.measures.Measures`)."""
    correct: np.ndarray
    """For each held-out example, the share of the last `spec.final_evaluations` evaluations that
    classified it correctly, `(examples,)`."""
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
        """Mean loss (cross-entropy in nats, or `spec.loss`) of the same evaluations."""
        return self._final("loss")

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, in [0, 1], of the same evaluations (Guo et al. 2017)."""
        return self._final("calibration_error")

    @property
    def accuracy_by_class(self) -> pd.Series:
        """Accuracy on the examples of each class in the same evaluations; NaN for a class without.

        Who pays for privacy and robustness: rare classes often do.
        """
        dataset = get_dataset(self.spec.dataset, self.spec.data_dir)
        labels = dataset.held_out(self.spec.evaluate_on).labels.numpy()
        return pd.Series(
            _mean_by(labels, self.correct, dataset.classes), name="accuracy"
        ).rename_axis("class")

    @property
    def accuracy_by_worker(self) -> pd.Series:
        """Accuracy on held-out examples such as each honest worker's own.

        They are weighted to the labels that the worker holds, or with `partition: groups` to its
        groups; NaN where it holds a label or group that the held-out split lacks.
        """
        dataset = get_dataset(self.spec.dataset, self.spec.data_dir)
        held_out, partition = dataset.held_out(self.spec.evaluate_on), self.spec.dealt_by
        mine = codes(dataset, dataset.train, partition)
        kinds = max(dataset.classes, len(dataset.group_names))
        accuracy = _mean_by(codes(dataset, held_out, partition).numpy(), self.correct, kinds)
        mixes = [
            np.bincount(mine[share], minlength=kinds) / len(share) for share in shares(self.spec)
        ]
        by_worker = [float(np.sum(mix[mix > 0] * accuracy[mix > 0])) for mix in mixes]
        return pd.Series(by_worker, name="accuracy").rename_axis("worker")

    @property
    def kappa(self) -> float:
        """Empirical robustness coefficient: the largest kappa of the steps that were measured."""
        return float(self.history["kappa"].max())

    def ended_by(self, failure: Failure) -> "RunResult":
        """The same run without a result: what it claimed of its gradients is false."""
        spent = replace(self.spent, epsilon=math.inf, reason="the stated gradient bound was broken")
        kept = self.history[self.history["step"] < failure.step]
        correct = np.full_like(self.correct, np.nan)
        return replace(self, spent=spent, history=kept, correct=correct, failure=failure.reason)

    @property
    def epsilon(self) -> float:
        """The run's epsilon at `spec.delta`: the largest over honest workers.

        Neighbours are "zero-out", one contribution set to zero and n public; with a
        `sampling_rate` of examples "add-or-remove", that rate being public.
        """
        return self.spent.epsilon

    @property
    def epsilon_by_worker(self) -> pd.Series:
        """What each honest worker spends; those with less data spend more."""
        spent = [
            math.inf if self.failure else worker.epsilon for worker in spent_by_worker(self.spec)
        ]
        return pd.Series(spent, name="epsilon").rename_axis("worker")

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being finite; such outputs count as wrong answers."""
        return not bool(np.isfinite(self.history["loss"].astype(float)).all())

    def _final(self, column: str) -> float:
        if self.failure:
            return math.nan
        return float(self.history[column].tail(self.spec.final_evaluations).mean(skipna=False))


def _mean_by(codes: np.ndarray, values: np.ndarray, kinds: int) -> np.ndarray:
    """The mean value of each code from 0 to kinds - 1, NaN of those that do not occur."""
    counts = np.bincount(codes, minlength=kinds)
    sums = np.bincount(codes, values, minlength=kinds)
    means: np.ndarray = np.divide(sums, counts, out=np.full(kinds, np.nan), where=counts > 0)
    return means


class Evaluated(NamedTuple):
    """An evaluation, and what it found of each example."""

    means: Evaluation
    correct: Tensor
    """`(lanes, examples)`, boolean."""


class Evaluator:
    """Evaluates parameters of a model on one split, side by side as far as memory and speed allow.

    What is evaluated is what is trained: a model that is not proven to keep the rows of a batch
    apart is called on single examples, or, where vmap does not know it, at least in the state that
    its factory left it in. Outputs that are not finite count as wrong answers.
    """

    def __init__(self, model: nn.Module, split: Split, loss: Loss) -> None:
        self._model = own_copy(model)
        self._split = split
        self._loss = loss
        self._layout = Layout(model)
        first = split.examples(slice(1))
        self._is_proven = rows_stay_apart(model, first)
        self._is_apart = not self._is_proven and vmaps(model, first)
        self._side_by_side = side_by_side(model, first)
        self._held = activations(model, first)

    def __call__(self, parameters: Tensor) -> Evaluated:
        """Of parameters `(lanes, dim)`."""
        with torch.no_grad():
            scores = self._scores(parameters)
            finite = scores.isfinite().all(-1)
            labels = self._split.labels.expand(scores.shape[:-1])
            correct = (scores.argmax(-1) == labels) & finite
            means = Evaluation(
                accuracy=correct.double().mean(-1).cpu(),
                loss=self._loss.values(scores, labels).double().mean(-1).cpu(),
                calibration_error=calibration_error(
                    self._loss.confidences(scores).masked_fill(~finite, torch.nan), correct
                ).cpu(),
            )
            return Evaluated(means, correct.cpu())

    def _scores(self, parameters: Tensor) -> Tensor:
        """`(lanes, examples, classes)`"""
        lanes = len(parameters) if self._side_by_side else 1
        size = max(1, _HELD // (lanes * self._held))
        parts = [
            self._split.examples(slice(start, start + size))
            for start in range(0, len(self._split), size)
        ]
        if lanes == 1:
            of_lanes = [self._of_lane(each, parts).unsqueeze(0) for each in parameters]
            return torch.cat(of_lanes)
        named = self._layout.unflatten(parameters)
        of_parts = [
            vmap(partial(self._call, self._fresh()), (0, None))(named, part) for part in parts
        ]
        return torch.cat(of_parts, dim=1)

    def _of_lane(self, parameters: Tensor, parts: Sequence[Tensor]) -> Tensor:
        named = self._layout.unflatten(parameters)
        return torch.cat([self._call(self._fresh(), named, part) for part in parts])

    def _fresh(self) -> nn.Module:
        """Return what a call may use: a proven model stores nothing, of others each has its own."""
        return self._model if self._is_proven else own_copy(self._model)

    def _call(self, model: nn.Module, named: dict[str, Tensor], inputs: Tensor) -> Tensor:
        if self._is_apart:
            return scores_of_each(model, named, inputs)
        if self._is_proven:
            return called(model, named, inputs)
        values = {name: value.clone() for name, value in named.items()}
        return called(model, values, inputs.clone())


def calibration_error(confidences: Tensor, correct: Tensor) -> Tensor:
    """Expected calibration error with 15 equal bins (Guo et al. 2017, equation 3).

    The mean over examples of |accuracy - confidence| in the bin that an example's confidence falls
    into.

    Args:
        confidences: of the predictions, in [0, 1], `(..., examples)`.
        correct: whether they are right, boolean, the same shape.

    Returns:
        `(...)`, float64; NaN where a confidence is no number.

    """
    excess = correct.double() - confidences
    confidences = confidences.nan_to_num(0.0)
    bins = (confidences * _BINS).ceil().long().sub_(1).clamp_(0, _BINS - 1)
    sums = excess.new_zeros(*excess.shape[:-1], _BINS).scatter_add_(-1, bins, excess)
    return sums.abs().sum(-1) / confidences.shape[-1]
