"""Models by name, and factories of a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

from privrobust.core.entries import Entry
from privrobust.core.late import nn
from privrobust.core.naming import Own, check_text, find
from privrobust.core.parameters import build, described, parse, settings, written
from privrobust.errors import SpecError
from privrobust.models import architectures
from privrobust.models.architectures import Architecture

if TYPE_CHECKING:
    import torch

Factory: TypeAlias = "Callable[[torch.Size, int], nn.Module]"
"""Makes a module for the shape of one example and the number of classes."""

Named: TypeAlias = "Factory | type[Architecture]"
"""What a name stands for: a factory, or a class of factories with parameters."""

_MODELS: dict[str, Named] = {
    "bounded_logistic": architectures.bounded_logistic,
    "cnn_byzfl": architectures.cnn_byzfl,
    "cnn_opacus": architectures.cnn_opacus,
    "lenet": architectures.lenet,
    "logistic": architectures.Logistic,
    "mlp": architectures.MLP,
    "resnet18": architectures.resnet18,
}
_BUILT_IN = dict(_MODELS)
_WITH_PARAMETERS = Own((Architecture,), "a class that derives from privrobust.models.Architecture")


def available_models() -> list[str]:
    """Names that a spec may use."""
    return sorted(_MODELS)


def list_models() -> list[Entry]:
    """What `privrobust list models` shows: a name, and the first line of its docstring."""
    return [
        described(name, made)
        if _has_parameters(made)
        else Entry(name, (inspect.getdoc(made) or "").split("\n")[0])
        for name, made in sorted(_MODELS.items())
    ]


def register_model(name: str, factory: Named) -> None:
    """Let specs name a model; an earlier one of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is no text.

    """
    _MODELS[check_text("model", name)] = factory


def registered_models() -> dict[str, Named]:
    """Those of `register_model`, by name."""
    return {name: made for name, made in _MODELS.items() if _BUILT_IN.get(name) is not made}


def get_factory(text: str) -> Factory:
    """What makes the model that a spec names: `mlp(hidden=32)`, or `package.module:factory`.

    Raises:
        SpecError: no such name or parameter, a value that it does not accept, or nothing that can
            be called.

    """
    text = check_text("model", text)
    name, given = parse("model", text) if "(" in text and text not in _MODELS else (text, {})
    found = _MODELS[name] if name in _MODELS else find("model", name, _MODELS, _own())
    if _has_parameters(found):
        made: Factory = build("model", {name: found}, name, given, _WITH_PARAMETERS)
        return made
    if given:
        raise SpecError(f"model: {name} has no parameter {next(iter(given))!r} (it takes none)")
    return cast("Factory", found)


def canonical_model(text: str) -> str:
    """The same model in one way of writing, without importing anything.

    Raises:
        SpecError: a known model has no such parameter, or does not accept its value.

    """
    name = text.partition("(")[0].strip()
    if ":" in name and "(" in text:
        return written(*parse("model", text))
    if name not in _MODELS:  # a user's own, perhaps still to be registered
        return text
    made = get_factory(text)
    return written(name, settings(made)) if isinstance(made, Architecture) else name


def _own() -> Own:
    """Return what a user's own may be, which takes torch to know."""
    accepted = "a function (shape, classes) to a torch.nn.Module, or a class of such"
    return Own((Architecture, nn.Module), accepted, made=nn.Module)


def _has_parameters(made: object) -> TypeGuard[type[Architecture]]:
    return isinstance(made, type) and issubclass(made, Architecture)
