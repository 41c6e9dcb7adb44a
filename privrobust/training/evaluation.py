"""How good parameters are on held-out examples: accuracy, loss, calibration."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from privrobust.data import Split
from privrobust.gradients.calls import activations, side_by_side
from privrobust.gradients.isolation import called, own_copy, scores_of_each, vmaps
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import Loss
from privrobust.gradients.row_wise import rows_stay_apart
from privrobust.training.measures import Evaluation

# Numbers that layers may put out together in an evaluation (64 MiB).
_HELD = 1 << 24

# Of the expected calibration error, as Guo et al. 2017 have it.
_BINS = 15


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

    def __init__(self, model: nn.Module, layout: Layout, split: Split, loss: Loss) -> None:
        self._model = own_copy(model)
        self._split = split
        self._loss = loss
        self._layout = layout
        first = split.examples(slice(1))
        self._is_proven = rows_stay_apart(model, first)
        self._is_apart = not self._is_proven and vmaps(model, first)
        self._side_by_side = side_by_side(model, layout, first)
        self._held = activations(model, first)

    def __call__(self, parameters: Tensor) -> Evaluated:
        """Evaluate parameters `(lanes, dim)`."""
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
        """Call the model on the split, `(lanes, examples, classes)`, a part of it at a time."""
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
    """Compute the expected calibration error with 15 equal bins (Guo et al. 2017, equation 3).

    It is the mean over examples of |accuracy - confidence| in the bin that an example's confidence
    falls into.

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
