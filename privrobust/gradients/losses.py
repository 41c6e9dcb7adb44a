"""Losses: what a score for each class costs, its gradient, and how sure of itself it sounds.

Both are taken in float64 from what is small, never as a difference of what is nearly equal: the
loss of an example that is classified by a wide margin, and its gradient, are right to the last
digits however small they are.

>>> import torch
>>> scores, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
>>> get_loss("squared").values(scores, labels)
tensor([1.], dtype=torch.float64)
>>> get_loss("squared").errors(scores, labels)
tensor([[ 1., -1.]])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import Configured
from privrobust.core.plugins import Own, is_built_in
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, failure, shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss(Configured, ABC):
    """What the scores of an example cost; a user's own derives from it.

    Its methods take one example or many: each has its loss, whatever stands beside it. They are
    made of tensor operations that `torch.func.vmap` knows.

    >>> class Perceptron(Loss):
    ...     "`max_k s_k - s_y`: by how much another class is ahead of the label."
    ...     def values(self, scores, labels):
    ...         of_label = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    ...         return (scores.amax(-1) - of_label).double()
    ...     def errors(self, scores, labels):
    ...         classes = scores.shape[-1]
    ...         ahead = torch.nn.functional.one_hot(scores.argmax(-1), classes)
    ...         return (ahead - torch.nn.functional.one_hot(labels, classes)).to(scores.dtype)
    ...     def confidences(self, scores):
    ...         return scores.softmax(-1).amax(-1)
    >>> Perceptron().values(torch.tensor([1.0, 3.0]), torch.tensor(0))
    tensor(2., dtype=torch.float64)
    """

    @abstractmethod
    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example, `(...)`, float64, differentiable.

        Args:
            scores: `(..., classes)`, of any floating-point type.
            labels: `(...)`, int64.

        """

    @abstractmethod
    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of each loss with respect to its scores, of their shape and type."""

    @abstractmethod
    def confidences(self, scores: Tensor) -> Tensor:
        """Return the probability that the loss reads from the largest score, `(...)`."""

    def gradients(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `errors`, those of each example from its own scores alone.

        Clipping bounds what one example adds only if it moves no other's gradient. Ours never do; a
        user's own is given one example a call, side by side.

        Args:
            scores: `(..., classes)`.
            labels: `(...)`.

        """
        if is_built_in(self):
            return self.errors(scores, labels)
        of_each = torch.func.vmap(self.errors)(scores.flatten(0, -2), labels.flatten())
        return of_each.view(scores.shape)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """`-log softmax(s)_y`, in nats."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `log(1 + sum_k exp(s_k - s_y))` over the other classes k."""
        scores, places = scores.double(), labels.unsqueeze(-1)
        of_label = scores.gather(-1, places).squeeze(-1)
        others = scores.scatter(-1, places, -torch.inf).logsumexp(-1)
        # a run whose scores overflow has diverged, also where the label's did
        return torch.nn.functional.softplus(others - of_label, threshold=_SURE).masked_fill(
            of_label.isposinf(), torch.nan
        )

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `softmax(s) - e_y`."""
        # torch's softmax takes three times as long over few classes, or rounds by batch length
        sizes = (scores.double() - scores.amax(-1, keepdim=True)).exp_()
        places = labels.unsqueeze(-1)
        others = sizes.scatter(-1, places, 0.0)
        of_label = -others.sum(-1, keepdim=True)
        total = sizes.sum(-1, keepdim=True)
        return others.scatter(-1, places, of_label).div_(total).to(scores.dtype)

    def confidences(self, scores: Tensor) -> Tensor:
        """Return the largest softmax."""
        return _largest_softmax(scores)


@dataclass(frozen=True)
class Brier(Loss):
    """`|softmax(s) - e_y|^2 / 2`, half the Brier score: of two classes, sigmoid's squared error.

    With p = sigmoid(s_1 - s_0) that is `(p - y)^2`. It is not convex, and what is confidently wrong
    hardly moves.

    References:
        Brier, Verification of forecasts expressed in terms of probability (1950).

    """

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return half the squared distance of probabilities."""
        scores, places = scores.double(), labels.unsqueeze(-1)
        classes = torch.arange(scores.shape[-1], device=scores.device)
        # class by class, as all at once take the square of their number in memory
        rivals = torch.stack(
            [scores.masked_fill(classes == k, -torch.inf).logsumexp(-1) for k in classes], dim=-1
        )
        signs = torch.ones_like(scores).scatter(-1, places, -1.0)
        # of each class its probability, of the label what that lacks to 1: logs of sigmoids
        margins = signs * (rivals - scores)
        parts = (-torch.nn.functional.softplus(margins, threshold=_SURE)).exp()
        return parts.square().sum(-1) / 2

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `p_k sum_j p_j (e_k - e_j)` for the probabilities p and `e = p - e_y`."""
        sizes = (scores.double() - scores.amax(-1, keepdim=True)).exp_()
        probabilities = sizes / sizes.sum(-1, keepdim=True)
        places = labels.unsqueeze(-1)
        lacking = probabilities.scatter(-1, places, 0.0).sum(-1, keepdim=True)
        distances = probabilities.scatter(-1, places, -lacking)
        apart = distances.unsqueeze(-1) - distances.unsqueeze(-2)
        return (probabilities * (apart * probabilities.unsqueeze(-2)).sum(-1)).to(scores.dtype)

    def confidences(self, scores: Tensor) -> Tensor:
        """Return the largest softmax."""
        return _largest_softmax(scores)


@dataclass(frozen=True)
class Squared(Loss):
    """`|s - e_y|^2 / 2`: scores are regressed on the indicator of the label."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return half the squared distance."""
        return self.errors(scores.double(), labels).square().sum(-1) / 2

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `s - e_y`."""
        return _less_one_hot(scores.clone(), labels)

    def confidences(self, scores: Tensor) -> Tensor:
        """Return the largest score as a probability, which the regression estimates for each."""
        return scores.amax(-1).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Logistic(Loss):
    """`sum_k log(1 + exp(-t_k s_k))`, t_k = 1 for the label and -1 for others: one against all."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of `softplus(-t_k s_k)` over classes."""
        margins = _against(scores.double(), labels) * scores.double()
        return torch.nn.functional.softplus(margins, threshold=_SURE).sum(-1)

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return `-t_k sigmoid(-t_k s_k)`, which is `sigmoid(s) - e_y`."""
        signs = _against(scores.double(), labels)
        return (signs * (signs * scores).sigmoid_()).to(scores.dtype)

    def confidences(self, scores: Tensor) -> Tensor:
        """Return the largest sigmoid."""
        return scores.amax(-1).sigmoid()


# Beyond, log(1 + exp(x)) is x in float64.
_SURE = 40.0


def _against(scores: Tensor, labels: Tensor) -> Tensor:
    """Make a sign for each score: 1 where a larger one costs more, and -1 of the label's."""
    return torch.ones_like(scores).scatter(-1, labels.unsqueeze(-1), -1.0)


def _largest_softmax(scores: Tensor) -> Tensor:
    """Return it without a division by what underflows: its numerator is 1."""
    largest = scores.amax(-1, keepdim=True)
    return (scores - largest).exp_().sum(-1).reciprocal_()


def _less_one_hot(values: Tensor, labels: Tensor) -> Tensor:
    """Subtract 1 at the label, in place."""
    places = labels.unsqueeze(-1)
    return values.scatter_add_(-1, places, values.new_full((), -1.0).expand(places.shape))


LOSSES: Registry[type[Loss]] = Registry(
    "loss",
    {"brier": Brier, "cross_entropy": CrossEntropy, "logistic": Logistic, "squared": Squared},
    Own((Loss,), "a class that derives from privrobust.gradients.Loss"),
)


def available_losses() -> list[str]:
    """Return the names that a spec may use."""
    return LOSSES.available()


def list_losses() -> list[Entry]:
    """Describe every loss, as `privrobust list losses` shows them."""
    return LOSSES.entries()


def register_loss(name: str, loss: type[Loss]) -> None:
    """Let specs name a loss; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; it is no loss's class;
            or, as `get_loss`, the loss with its default parameters is not what it should be.

    """
    before = dict(LOSSES.registered)
    LOSSES.register(name, loss)
    if any(each.default is MISSING for each in fields(loss)):
        return  # checked once a spec says which parameters
    try:
        get_loss(name)
    except SpecError:
        LOSSES.registered = before
        raise


def get_loss(text: str) -> Loss:
    """Make the loss that a spec names: `cross_entropy`, or `package.module:Class(parameter=1)`.

    One of a user's own is tried out first: its errors have to be the gradient of its values.

    Raises:
        SpecError: no such loss or parameter, a value that it does not accept, or a loss that is
            not what it should be.

    """
    made: Loss = LOSSES.get(text)
    if not is_built_in(made):
        _try_out(made)
    return made


def canonical_loss(text: str) -> str:
    """Write the same loss in one way; raises as `get_loss`."""
    get_loss(text)
    return LOSSES.canonical(text)


# Examples that a user's loss is tried on, and their classes.
_EXAMPLES, _CLASSES = 64, 3


@lru_cache(maxsize=64)
def _try_out(loss: Loss) -> None:
    """Refuse a loss whose errors are not the gradient of its values, or that is none otherwise."""
    try:
        problem = _problem(loss)
    except (Exception, SystemExit) as error:  # whatever a user's loss raises
        raise failure(loss, error, "values and errors of (self, scores, labels)") from error
    if problem:
        raise SpecError(f"loss: {shown(loss)}: {problem}")


def _problem(loss: Loss) -> str | None:
    """Say what is wrong at random scores, in float64 and of each example alone."""
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(_EXAMPLES, _CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.arange(_EXAMPLES) % _CLASSES
    values = loss.values(scores, labels)
    if values.dtype != torch.float64 or values.shape != labels.shape:
        given = f"{values.dtype} {tuple(values.shape)}"
        return f"values of {given}; accepted: torch.float64 {tuple(labels.shape)}"
    of_each = scores.clone().requires_grad_()
    alone = torch.func.vmap(loss.values)(of_each, labels)
    if not torch.allclose(values, alone):
        return "the loss of an example depends on those beside it; accepted: each has its own"
    (gradient,) = torch.autograd.grad(alone.sum(), of_each)
    errors = loss.gradients(scores, labels)
    if not torch.allclose(errors, gradient, rtol=1e-5, atol=1e-6):
        most = float((errors - gradient).abs().max())
        return f"its errors are not the gradient of its values: they are off by up to {most:.3g}"
    narrow = loss.gradients(scores.float(), labels)
    if narrow.dtype != torch.float32:
        return f"errors of {narrow.dtype} for scores of torch.float32; accepted: the same type"
    confidences = loss.confidences(scores)
    if confidences.shape != labels.shape or not ((confidences >= 0) & (confidences <= 1)).all():
        return "its confidences are no probabilities; accepted: one from 0 to 1 an example"
    return None
