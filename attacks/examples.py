"""Examples as attacks change them: data that is poisoned, or that success is measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from privrobust.aggregators.base import described
from privrobust.core.displayed import told
from privrobust.core.lazy_imports import torch
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


class Examples(NamedTuple):
    """Inputs with their labels, as a dataset holds them; an attack returns others, never these."""

    inputs: Tensor
    """`(examples, *features)`: float32, pixels as bytes, or whole numbers that are embedded."""
    labels: Tensor
    """`(examples,)`, int64, from 0 to `classes - 1`."""
    classes: int

    def __repr__(self) -> str:
        """Say in a line how many they are."""
        shape, kind = tuple(self.inputs.shape), str(self.inputs.dtype)
        return told(type(self).__name__, "", [f"{kind} {shape}", f"{self.classes} classes"])


def check_examples(made: object, before: Examples) -> None:
    """Refuse examples that no model of these could be trained or tested on.

    Raises:
        SpecError: other types or shapes, inputs that are not finite, or a label that is no class.

    """
    if not isinstance(made, Examples):
        raise SpecError(f"it makes {described(made)}; accepted: privrobust.attacks.Examples")
    inputs, labels = made.inputs, made.labels
    accepted = before.inputs[:0]
    if (
        not isinstance(inputs, torch.Tensor)
        or (inputs.dtype, inputs.shape[1:]) != (accepted.dtype, accepted.shape[1:])
        or inputs.device != accepted.device
    ):
        raise SpecError(
            f"it makes inputs {described(inputs)}; accepted: {accepted.dtype} "
            f"(examples, {', '.join(map(str, accepted.shape[1:]))}) on {accepted.device}"
        )
    if (
        not isinstance(labels, torch.Tensor)
        or labels.dtype != torch.int64
        or labels.shape != inputs.shape[:1]
        or labels.device != inputs.device
    ):
        raise SpecError(
            f"it makes labels {described(labels)} of {len(inputs)} inputs; accepted: torch.int64, "
            "one an input"
        )
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        raise SpecError("it makes inputs that hold NaN or infinity; accepted: finite numbers")
    foreign = labels[(labels < 0) | (labels >= before.classes)]
    if len(foreign):
        raise SpecError(
            f"it makes the label {int(foreign[0])}; accepted: 0 to {before.classes - 1}"
        )
