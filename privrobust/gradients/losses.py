"""Losses: what a score for each class costs, its gradient, and how sure of itself it sounds.

Both are taken in float64 from what is small, never as a difference of what is nearly equal: the
loss of an example that is classified by a wide margin, and its gradient, are right to the last
digits however small they are.

>>> import torch
>>> scores, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
>>> LOSSES["squared"].values(scores, labels)
tensor([1.], dtype=torch.float64)
>>> LOSSES["squared"].errors(scores, labels)
tensor([[ 1., -1.]])
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from privrobust.core.late import torch

if TYPE_CHECKING:
    from torch import Tensor

from privrobust.core.entries import Entry


class Loss(ABC):
    """Of scores `(..., classes)` and labels `(...)`."""

    @abstractmethod
    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of each example, `(...)`, float64, differentiable."""

    @abstractmethod
    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each example's loss with respect to its scores, of their shape and type."""

    @abstractmethod
    def confidences(self, scores: Tensor) -> Tensor:
        """Probability that the loss reads from the largest score, `(...)`."""


class CrossEntropy(Loss):
    """`-log softmax(s)_y`, in nats."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`log(1 + sum_k exp(s_k - s_y))` over the other classes k."""
        scores, places = scores.double(), labels.unsqueeze(-1)
        of_label = scores.gather(-1, places).squeeze(-1)
        others = scores.scatter(-1, places, -torch.inf).logsumexp(-1)
        # a run whose scores overflow has diverged, also where the label's did
        return torch.nn.functional.softplus(others - of_label, threshold=_SURE).masked_fill(
            of_label.isposinf(), torch.nan
        )

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`softmax(s) - e_y`"""
        # torch's softmax takes three times as long over few classes, or rounds by batch length
        sizes = (scores.double() - scores.amax(-1, keepdim=True)).exp_()
        places = labels.unsqueeze(-1)
        is_label = torch.zeros_like(sizes, dtype=torch.bool).scatter(-1, places, True)
        others = sizes.masked_fill(is_label, 0.0)
        of_label = -others.sum(-1, keepdim=True)
        total = sizes.sum(-1, keepdim=True)
        return (torch.where(is_label, of_label, others) / total).to(scores.dtype)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest softmax."""
        return scores.softmax(-1).amax(-1)


class Squared(Loss):
    """`|s - e_y|^2 / 2`: scores are regressed on the indicator of the label."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Half the squared distance."""
        return self.errors(scores.double(), labels).square().sum(-1) / 2

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`s - e_y`"""
        return _less_one_hot(scores.clone(), labels)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest score, as a probability: the regression estimates that of each class."""
        return scores.amax(-1).clamp(0.0, 1.0)


class Logistic(Loss):
    """`sum_k log(1 + exp(-t_k s_k))`, t_k = 1 for the label and -1 for others: one against all."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`softplus(-t_k s_k)` over classes."""
        margins = _against(scores.double(), labels) * scores.double()
        return torch.nn.functional.softplus(margins, threshold=_SURE).sum(-1)

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`-t_k sigmoid(-t_k s_k)`, which is `sigmoid(s) - e_y`."""
        signs = _against(scores.double(), labels)
        return (signs * (signs * scores).sigmoid_()).to(scores.dtype)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest sigmoid."""
        return scores.amax(-1).sigmoid()


# Beyond, log(1 + exp(x)) is x in float64.
_SURE = 40.0


def _against(scores: Tensor, labels: Tensor) -> Tensor:
    """Make a sign for each score: 1 where a larger one costs more, and -1 of the label's."""
    return torch.ones_like(scores).scatter(-1, labels.unsqueeze(-1), -1.0)


def _less_one_hot(values: Tensor, labels: Tensor) -> Tensor:
    """Subtract 1 at the label, in place."""
    places = labels.unsqueeze(-1)
    return values.scatter_add_(-1, places, values.new_full((), -1.0).expand(places.shape))


def list_losses() -> list[Entry]:
    """What `privrobust list losses` shows, an entry a loss."""
    return [Entry(name, inspect.getdoc(loss) or "") for name, loss in LOSSES.items()]


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "logistic": Logistic(),
    "squared": Squared(),
}
