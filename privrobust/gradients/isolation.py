"""Running a module so that no example can see another, whatever its code does.

Two ways, and both start from a fresh copy of the module as its factory left it, so that nothing
that a call stores (a counter, running statistics, what it last saw) reaches another call:

- `torch.func.vmap` over batches of one: the module's code runs once and sees one example, and each
  tensor operation is carried out for every example by itself;
- one call an example, each on a copy of its own, for what vmap does not know.

Copied are the module's attributes, buffers and parameters. What code keeps elsewhere (a global, an
attribute of a class, a variable of an enclosing function, a file, its own vmap rule that mixes) is
beyond what Python lets one take away.
"""

import copy
import logging
import weakref
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from types import FunctionType, MethodType, ModuleType

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from privrobust.errors import SpecError, in_a_line


def own_copy(model: nn.Module) -> nn.Module:
    """Copy a module, with activations that leave the layers' outputs as they were.

    Raises:
        SpecError: something in it cannot be copied.

    """
    original, kept = model, set(map(id, model.modules()))
    try:
        model = copy.deepcopy(model)
    except Exception as error:  # whatever a user's module holds
        raise SpecError(
            f"model: {type(model).__name__} cannot be copied ({in_a_line(error)}), "
            "so that its examples cannot be kept apart; accepted: modules that copy.deepcopy copies"
        ) from error
    if not kept.isdisjoint(map(id, model.modules())):
        raise SpecError(
            f"model: {type(model).__name__} has a __deepcopy__ that shares modules with the "
            "original; accepted: modules that copy.deepcopy copies"
        )
    _refuse_shared(original, model)
    model.requires_grad_(False)
    for module in model.modules():
        if hasattr(module, "inplace"):
            vars(module)["inplace"] = False
    return model


def _refuse_shared(original: nn.Module, copied: nn.Module) -> None:
    """Refuse attributes that are the same object in a copy: weak references, what copies as itself.

    Functions, types and the like are, and stay, the same.
    """
    for (path, module), fresh in zip(original.named_modules(), copied.modules(), strict=True):
        for name, value in vars(module).items():
            if isinstance(value, (weakref.ReferenceType, *weakref.ProxyTypes)):
                kind = "a weak reference"
            elif value is vars(fresh).get(name) and _keeps_state(value):
                kind = f"a {type(value).__name__} that copies as itself"
            else:
                continue
            where = f"{path}.{name}" if path else name
            raise SpecError(
                f"model: attribute {where!r} is {kind}, by which its examples could see each "
                "other; accepted: attributes that copy.deepcopy copies"
            )


def _keeps_state(value: object) -> bool:
    harmless = (type, ModuleType, FunctionType, MethodType, Enum, logging.Logger, torch.dtype)
    return bool(getattr(value, "__dict__", None)) and not isinstance(value, harmless)


def called(model: nn.Module, named: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Call a module with these parameters in place of its own, by their first names.

    `torch.func.functional_call` sets a parameter once for every name. In a module that stands under
    two names it takes the second for the first, leaves it behind when it is done, and the next call
    finds a tensor that has escaped from vmap. So here each module is given its parameters once;
    several modules that hold the same parameter are each given it.
    """
    first = {id(value): name for name, value in model.named_parameters()}
    values = {
        f"{path}.{name}" if path else name: named[first[id(value)]]
        for path, module in model.named_modules()
        for name, value in module.named_parameters(recurse=False, remove_duplicate=False)
    }
    scores: Tensor = functional_call(model, values, (inputs,), tie_weights=False)
    return scores


def scores_of_one(copied: nn.Module, named: dict[str, Tensor], example: Tensor) -> Tensor:
    """Call a module on one example, `(*features)` to `(classes,)`.

    Parameters and the example are copied, so that what it changes in place is a copy.

    Args:
        copied: an `own_copy` that no other call has seen, or will.
        named: its parameters.
        example: the one, also under vmap.

    """
    values = {name: value.clone() for name, value in named.items()}
    return called(copied, values, example.unsqueeze(0).clone()).squeeze(0)


def scores_of_each(copied: nn.Module, named: dict[str, Tensor], examples: Tensor) -> Tensor:
    """Call a module on every example, as a batch of one, under vmap.

    `(examples, *features)` to `(examples, classes)`; raises what torch does where vmap does not
    know what the module does.

    Args:
        copied: as of `scores_of_one`; made before lanes are vmapped, which knows no copies.
        named: its parameters.
        examples: all of them.

    """
    alone: Callable[..., Tensor] = vmap(partial(scores_of_one, copied, named))
    return alone(examples)


def vmaps(model: nn.Module, examples: Tensor) -> bool:
    """Tell whether `scores_of_each` knows what the module does."""
    named = {name: value.detach() for name, value in model.named_parameters()}
    try:
        with torch.no_grad():
            scores_of_each(own_copy(model), named, examples)
    except SpecError:
        raise
    except Exception:  # whatever torch or a user's module raises
        return False
    return True
