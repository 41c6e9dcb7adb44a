"""What a model's layers are called with and put out, seen from outside: it is left as it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd

from privrobust.gradients.isolation import called, own_copy
from privrobust.gradients.layout import Layout

Call = tuple[str, int]
"""A layer, and which of its calls."""
Calls = dict[Call, Tensor]
Given = tuple[tuple[Any, ...], dict[str, Any]]
"""What a layer is called with, by place and by name."""


@contextmanager
def watched(
    model: nn.Module,
    layers: list[str],
    watch: Callable[[Call, Given, Any], Tensor | None],
) -> Iterator[None]:
    """Show `watch` each call of these layers, what goes in and what comes out.

    What it returns, if not None, replaces the output.
    """
    calls = dict.fromkeys(layers, 0)

    def hook(
        name: str, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> Tensor | None:
        calls[name] += 1
        return watch((name, calls[name] - 1), (inputs, named), output)

    handles = [
        model.get_submodule(name).register_forward_hook(partial(hook, name), with_kwargs=True)
        for name in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def only_input(inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
    """Return what a layer of one input is called with, by place or by name."""
    (entered,) = (*inputs, *named.values())
    return entered


def activations(model: nn.Module, examples: Tensor) -> int:
    """Count the numbers that the model's layers put out for one example."""
    model = own_copy(model)
    leaves = [name for name, module in model.named_modules() if not list(module.children())]
    total = 0

    def count(call: Call, given: Given, output: Any) -> None:
        nonlocal total
        parts = output if isinstance(output, (tuple, list)) else [output]
        total += sum(part[0].numel() for part in parts if isinstance(part, Tensor))

    with torch.no_grad(), watched(model, leaves, count):
        model(examples.clone())
    return max(1, total)


def output_shapes(
    model: nn.Module, layers: list[str], examples: Tensor
) -> dict[Call, tuple[int, ...]]:
    """Find the shape of what each call of these layers puts out for one example, alone."""
    model = own_copy(model)
    shapes: dict[Call, tuple[int, ...]] = {}

    def note(call: Call, given: Given, output: Tensor) -> None:
        shapes[call] = tuple(output.shape[1:])

    with torch.no_grad(), watched(model, layers, note):
        model(examples[:1].clone())
    return shapes


def side_by_side(model: nn.Module, layout: Layout, examples: Tensor) -> bool:
    """Tell whether lanes run, and faster, under `vmap` than one by one.

    It turns the convolutions of many lanes into grouped ones, which take two or three times as
    long, and does not know recurrent layers, nor control flow that depends on data.
    """
    if any(isinstance(layer, (_ConvNd, nn.RNNBase)) for layer in model.modules()):
        return False
    model = own_copy(model)
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    named = layout.unflatten(flat.repeat(2, 1))
    inputs = examples.clone()
    try:
        vmap(lambda of_lane: called(model, of_lane, inputs))(named)
    except Exception:  # whatever a user's module raises under vmap
        return False
    return True
