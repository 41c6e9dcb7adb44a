"""Losses, and clipped sums of per-sample gradients of any torch module.

What users may add: a loss (`register_loss`), and a layer whose per-sample gradients are found fast
(`register_layer_rule`).
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes
from privrobust.core.parameters import parameter
from privrobust.gradients.losses import (
    Loss,
    available_losses,
    canonical_loss,
    get_loss,
    list_losses,
    register_loss,
)

if TYPE_CHECKING:
    from privrobust.gradients.factors import Use
    from privrobust.gradients.layer_rules import register_layer_rule

__all__ = [
    "Loss",
    "Use",
    "available_losses",
    "canonical_loss",
    "get_loss",
    "list_losses",
    "parameter",
    "register_layer_rule",
    "register_loss",
]

__getattr__ = attributes(__name__, {"Use": "factors", "register_layer_rule": "layer_rules"})
