"""Losses: what a score for each class costs, its gradient, and how sure of itself it sounds.

>>> import torch
>>> scores, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
>>> LOSSES["squared"].values(scores, labels)
tensor([1.])
>>> LOSSES["squared"].errors(scores, labels)
tensor([[ 1., -1.]])
"""

import inspect
from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F

from privrobust.entries import Entry


class Loss(ABC):
    """Of scores `(..., classes)` and labels `(...)`."""

    @abstractmethod
    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of each example, `(...)`, differentiable."""

    @abstractmethod
    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each example's loss with respect to its scores, `(..., classes)`."""

    @abstractmethod
    def confidences(self, scores: Tensor) -> Tensor:
        """Probability that the loss reads from the largest score, `(...)`."""


class CrossEntropy(Loss):
    """`-log softmax(s)_y`, in nats."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """By torch, whose classes come second."""
        flat = F.cross_entropy(scores.flatten(0, -2), labels.flatten(), reduction="none")
        return flat.view(labels.shape)

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`softmax(s) - e_y`"""
        # torch's softmax takes three times as long over few classes, or rounds by batch length
        errors = (scores - scores.amax(-1, keepdim=True)).exp_()
        errors /= errors.sum(-1, keepdim=True)
        return _less_one_hot(errors, labels)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest softmax."""
        return scores.softmax(-1).amax(-1)


class Squared(Loss):
    """`|s - e_y|^2 / 2`: scores are regressed on the indicator of the label."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Half the squared distance."""
        return self.errors(scores, labels).square().sum(-1) / 2

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`s - e_y`"""
        return _less_one_hot(scores.clone(), labels)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest score, as a probability: the regression estimates that of each class."""
        return scores.amax(-1).clamp(0.0, 1.0)


class Logistic(Loss):
    """`sum_k log(1 + exp(-t_k s_k))`, t_k = 1 for the label and -1 for others: one against all."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`softplus(s_k)` over classes, less the label's score."""
        of_label = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return F.softplus(scores).sum(-1) - of_label

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`sigmoid(s) - e_y`"""
        return _less_one_hot(scores.sigmoid(), labels)

    def confidences(self, scores: Tensor) -> Tensor:
        """The largest sigmoid."""
        return scores.amax(-1).sigmoid()


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
