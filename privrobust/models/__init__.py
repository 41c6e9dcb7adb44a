"""Models: by name, or any torch module that treats examples one by one.

>>> available_models()[:3]
['bounded_logistic', 'cnn_byzfl', 'cnn_opacus']
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes
from privrobust.core.parameters import parameter
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
    "parameter",
    "register_model",
]

__getattr__ = attributes(
    __name__, {"build_model": "validation", "initial_parameters": "validation"}
)
