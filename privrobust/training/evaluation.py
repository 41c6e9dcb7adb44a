"""How good parameters are on some examples: accuracy, loss, calibration."""

import threading
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from privrobust.core.threads import in_threads
from privrobust.data import Split
from privrobust.gradients.calls import activations, side_by_side
from privrobust.gradients.isolation import called, own_copy, scores_of_each, vmaps
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import Loss
from privrobust.gradients.row_wise import rows_stay_apart
from privrobust.training.measures import Evaluation

# Numbers that layers may put out together in an evaluation: 64 MiB, or what stays in a cache.
_HELD = 1 << 24
_CACHED = 1 << 21

# Of the expected calibration error, as Guo et al. 2017 have it.
_BINS = 15


class Evaluated(NamedTuple):
    """An evaluation, and what it found of each example."""

    means: Evaluation
    correct: Tensor
    """`(lanes, examples)`, boolean."""


class Evaluator:
    """Evaluates parameters of a model, side by side as far as memory and speed allow.

    What is evaluated is what is trained: a model that is not proven to keep the rows of a batch
    apart is called on single examples, or, where vmap does not know it, at least in the state that
    its factory left it in. Outputs that are not finite count as wrong answers.
    """

    def __init__(self, model: nn.Module, layout: Layout, example: Tensor, loss: Loss) -> None:
        """Find out, on an example `(1, *features)`, how the model may be called."""
        self._model = own_copy(model)
        self._loss = loss
        self._layout = layout
        self._is_proven = rows_stay_apart(model, example)
        self._is_apart = not self._is_proven and vmaps(model, example)
        self._side_by_side = side_by_side(model, layout, example) and not _rounds_by_lanes(model)
        self._held = activations(model, example)
        self._of_thread = threading.local()

    def __call__(self, parameters: Tensor, split: Split) -> Evaluated:
        """Evaluate parameters `(lanes, dim)` on the examples of a split."""
        with torch.no_grad():
            scores = self._scores(parameters, split)
            finite = scores.isfinite().all(-1)
            labels = split.labels.expand(scores.shape[:-1])
            correct = (scores.argmax(-1) == labels) & finite
            means = Evaluation(
                accuracy=correct.double().mean(-1).cpu(),
                loss=self._loss.values(scores, labels).double().mean(-1).cpu(),
                calibration_error=calibration_error(
                    self._loss.confidences(scores).masked_fill(~finite, torch.nan), correct
                ).cpu(),
            )
            return Evaluated(means, correct.cpu())

    def _scores(self, parameters: Tensor, split: Split) -> Tensor:
        """Call the model on a split, `(lanes, examples, classes)`, a part of it at a time."""
        together = len(parameters) if self._side_by_side else 1
        held = _CACHED if parameters.device.type == "cpu" else _HELD
        size = max(1, held // (together * self._held))
        parts = [slice(start, start + size) for start in range(0, len(split), size)]
        several = parameters.split(together)
        scores: dict[tuple[int, int], Tensor] = {}

        def call(lanes: int, part: int) -> None:
            with torch.no_grad():  # which is each thread's own
                examples = split.examples(parts[part])
                scores[lanes, part] = self._of_examples(several[lanes], examples)

        places = list(product(range(len(several)), range(len(parts))))
        # what others' code shares is unknown: it is not called by two threads at once
        in_threads([partial(call, *place) for place in places], are_small=not self._is_proven)
        of_lanes = [
            torch.cat([scores[lanes, part] for part in range(len(parts))], dim=1)
            for lanes in range(len(several))
        ]
        return torch.cat(of_lanes)

    def _of_examples(self, parameters: Tensor, examples: Tensor) -> Tensor:
        """Call the model of some lanes on some examples."""
        named = self._layout.unflatten(parameters)
        if len(parameters) > 1:
            of_all: Callable[..., Tensor] = vmap(partial(self._call, self._fresh()), (0, None))
            return of_all(named, examples)
        of_lane = {name: value[0] for name, value in named.items()}
        return self._call(self._fresh(), of_lane, examples).unsqueeze(0)

    def _fresh(self) -> nn.Module:
        """Return what a call may use: a thread's own, or a copy where a call may store something.

        A proven model stores nothing, but is given its parameters in place.
        """
        if not self._is_proven:
            return own_copy(self._model)
        if not hasattr(self._of_thread, "model"):
            self._of_thread.model = own_copy(self._model)
        found: nn.Module = self._of_thread.model
        return found

    def _call(self, model: nn.Module, named: dict[str, Tensor], inputs: Tensor) -> Tensor:
        if self._is_apart:
            return scores_of_each(model, named, inputs)
        if self._is_proven:
            return called(model, named, inputs)
        values = {name: value.clone() for name, value in named.items()}
        return called(model, values, inputs.clone())


def _rounds_by_lanes(model: nn.Module) -> bool:
    """Tell whether vmap rounds it otherwise: torch has another product for a single column."""
    return any(
        isinstance(layer, nn.Linear) and layer.out_features == 1 for layer in model.modules()
    )


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
