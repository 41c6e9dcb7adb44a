"""Models by name, and factories of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

from privrobust.core.lazy_imports import nn
from privrobust.core.parameters import parse, settings, written
from privrobust.core.plugins import Own, check_text
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError
from privrobust.models import architectures
from privrobust.models.architectures import Architecture

if TYPE_CHECKING:
    import torch

Factory: TypeAlias = "Callable[[torch.Size, int], nn.Module]"
"""Makes a module for the shape of one example and the number of classes."""

Named: TypeAlias = "Factory | type[Architecture]"
"""What a name stands for: a factory, or a class of factories with parameters."""

_BUILT_IN: dict[str, Named] = {
    "bounded_logistic": architectures.bounded_logistic,
    "cnn_byzfl": architectures.cnn_byzfl,
    "cnn_opacus": architectures.cnn_opacus,
    "lenet": architectures.lenet,
    "logistic": architectures.Logistic,
    "mlp": architectures.MLP,
    "resnet18": architectures.resnet18,
}


def _own() -> Own:
    """Return what a user's own may be, which takes torch to know."""
    accepted = "a function (shape, classes) to a torch.nn.Module, or a class of such"
    return Own((Architecture, nn.Module), accepted, made=nn.Module)


MODELS = Registry("model", _BUILT_IN, _own)


def available_models() -> list[str]:
    """Return the names that a spec may use."""
    return MODELS.available()


def list_models() -> list[Entry]:
    """Describe every model, as `privrobust list models` shows them."""
    return MODELS.entries()


def register_model(name: str, factory: Named) -> None:
    """Let specs name a model; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed code a new one.

    Args:
        name: any text; of an `Architecture`, letters, digits, _ and .
        factory: a function `(shape, classes)` that makes a module for examples of that shape, a
            class of modules with such a constructor, or an `Architecture`.

    Raises:
        SpecError: the name is one of ours, or no text; or it is no factory.

    """
    MODELS.register(name, factory)


def get_factory(text: str) -> Factory:
    """Return what makes the model that a spec names: `mlp(hidden=32)`, or `package.module:factory`.

    Raises:
        SpecError: no such name or parameter, a value that it does not accept, or nothing that can
            be called.

    """
    text = check_text("model", text)
    name, given = parse("model", text) if "(" in text and text not in MODELS else (text, {})
    found = MODELS.find(name)
    if isinstance(found, type) and issubclass(found, Architecture):
        made: Factory = MODELS.make(name, given)
        return made
    if given:
        raise SpecError(f"model: {name} has no parameter {next(iter(given))!r} (it takes none)")
    return cast("Factory", found)


def canonical_model(text: str) -> str:
    """Write the same model in one way, without importing anything.

    Raises:
        SpecError: a known model has no such parameter, or does not accept its value.

    """
    name = text.partition("(")[0].strip()
    if ":" in name and "(" in text:
        return written(*parse("model", text))
    if name not in MODELS:  # a user's own, perhaps still to be registered
        return text
    made = get_factory(text)
    return written(name, settings(made)) if isinstance(made, Architecture) else name
