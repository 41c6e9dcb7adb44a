"""A rule that trusts a gradient of the server's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from privrobust.aggregators.base import Aggregator, Generators, described
from privrobust.aggregators.distances import bounded, combined, dots
from privrobust.aggregators.scaling import are_safe, exponents, lengths, scaled, unit
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FLTrust(Aggregator):
    """Messages count by their cosine to the server's own gradient, cut at 0, and at its norm.

    The server's gradient is of a few public examples, which in a run come from the validation
    split. Messages are scaled to its norm, so that none counts more than another that points the
    same way, and a majority of Byzantine ones moves the result no further than that norm. Where no
    message is trusted the result is 0.

    Args:
        examples: how many public examples the server holds.

    References:
        FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping
        (https://arxiv.org/abs/2012.13995).

    >>> messages = torch.tensor([[3.0, 4.0], [-9.0, 0.0]])
    >>> FLTrust()(messages, public=torch.tensor([1.0, 0.0]))
    tensor([0.6000, 0.8000])
    """

    paper: ClassVar[str] = "Cao, Fang, Liu, Gong 2021, Algorithm 2"

    examples: int = parameter(100, least=1)

    def __post_init__(self) -> None:
        """Ask for the server's gradient."""
        super().__post_init__()
        object.__setattr__(self, "public_examples", self.examples)

    def given(self, generator: Generators, public: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Trust what is like this gradient."""
        return partial(self._trusting, public=public)

    def aggregate(self, messages: Tensor) -> Tensor:
        """Refuse to aggregate: nothing is known of whom to trust."""
        return self._trusting(messages, None)

    def _trusting(self, messages: Tensor, public: Tensor | None) -> Tensor:
        public = checked_public(self, messages, public)
        vectors, norm = bounded(public.unsqueeze(-2))
        messages, norms = _of_safe_norms(messages)
        cosines = dots(messages, unit(vectors.squeeze(-2))) / norms
        trust = cosines.nan_to_num(0.0).clamp(0.0, 1.0)
        total = trust.sum(-1, keepdim=True)
        weights = (trust / total / norms).nan_to_num(0.0, 0.0, 0.0)
        direction = combined(weights.unsqueeze(-2), messages).squeeze(-2)
        # a length of vectors may be no number of their type
        share, power = torch.frexp(norm)
        most = torch.finfo(messages.dtype).max
        return scaled(direction * share.to(messages.dtype), power).clamp_(-most, most)


def _of_safe_norms(messages: Tensor) -> tuple[Tensor, Tensor]:
    """Return messages, the tiny and the vast brought to about 1, and their norms in float64."""
    messages, norms = bounded(messages)
    unsafe = ~are_safe(norms.square())
    if bool((unsafe & (norms > 0)).any()):
        messages = scaled(messages, -exponents(messages) * unsafe.unsqueeze(-1))
        norms = lengths(messages)
    return messages, norms


def checked_public(rule: Aggregator, messages: Tensor, public: Tensor | None) -> Tensor:
    """Return the server's own gradient itself.

    Raises:
        SpecError: it is missing, or of other lanes, coordinates or type than the messages.

    """
    expected = (*messages.shape[:-2], messages.shape[-1])
    if (
        not isinstance(public, torch.Tensor)
        or public.shape != expected
        or public.dtype != messages.dtype
    ):
        raise SpecError(
            f"{type(rule).__name__}: public {described(public)} is not accepted: {messages.dtype} "
            f"{expected}, the gradient of the server's examples"
        )
    return public
