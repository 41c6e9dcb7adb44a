"""Models: by name, or any torch module that treats examples one by one.

>>> available_models()[:3]
['bounded_logistic', 'cnn_byzfl', 'cnn_opacus']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from privrobust.models.architectures import Architecture
from privrobust.models.registry import (
    available_models,
    canonical_model,
    get_factory,
    list_models,
    register_model,
)

if TYPE_CHECKING:
    from privrobust.models.validation import build_model, initial_parameters

__all__ = [
    "Architecture",
    "available_models",
    "build_model",
    "canonical_model",
    "get_factory",
    "initial_parameters",
    "list_models",
    "register_model",
]


def __getattr__(name: str) -> Any:
    """Import torch only for who builds a model: names alone need none of it (PEP 562)."""
    if name in ("build_model", "initial_parameters"):
        return getattr(import_module("privrobust.models.validation"), name)
    raise AttributeError(f"module 'privrobust.models' has no attribute {name!r}")
