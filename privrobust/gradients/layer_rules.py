"""What each layer contributes to per-sample gradients: a rule a layer type.

A rule turns the uses of a layer into the gradients of its parameters. Ours leave them factored;
those that users register (`register_layer_rule`) form them.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from privrobust.errors import SpecError, shown
from privrobust.gradients.factors import (
    Formed,
    Gradients,
    Joined,
    Matrices,
    Outer,
    Rows,
    Use,
    sum_of_outer,
)

LayerRule: TypeAlias = Callable[[Any, list[Use]], Sequence[Tensor]]
"""A layer, and its calls, to a gradient `(examples, *parameter)` for each parameter it owns."""

R = TypeVar("R", bound=LayerRule)


def register_layer_rule(layer: type[nn.Module]) -> Callable[[R], R]:
    """Teach clipping a layer: decorate a function that makes its per-sample gradients.

    Example usage:
        >>> class Shift(nn.Module):
        ...     "Adds a vector to each example."
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.by = nn.Parameter(torch.zeros(width))
        ...     def forward(self, inputs):
        ...         return inputs + self.by
        >>> @register_layer_rule(Shift)
        ... def shift(layer, uses):
        ...     return [sum(use.errors for use in uses)]

    Formal guarantee:
        The rule is called on one example at a time (under `torch.func.vmap`), and what it gives is
        clipped: whatever it does, no example moves a sum by more than C. That it gives the gradient
        is checked for every model before it is trained; where it does not, the model trains by
        per-sample gradients, which is slow, and a warning names the layer.

    Args:
        layer: a class of modules that are called with one tensor and return one, exactly that: the
            rule does not hold of classes that derive from it.

    Returns:
        A decorator of functions `(layer, uses)`, which returns them as they are. A rule is given
        the module, whose settings it may read but not its parameters, as these are not those of the
        run; and its calls, each with `inputs` and `errors` (the loss's gradient with respect to the
        output), `(examples, ...)`. It returns a tensor `(examples, *parameter)` for each parameter
        that the module itself owns, in the order of `named_parameters`.

    Raises:
        SpecError: it is no class of modules, or one that has a rule of ours.

    References:
        `register_grad_sampler` of opacus, which does the same.

    """
    if not isinstance(layer, type) or not issubclass(layer, nn.Module):
        raise SpecError(f"layer rule: {shown(layer)} is not accepted: a class of torch.nn.Module")
    if layer in _RULES:
        raise SpecError(
            f"layer rule: {layer.__name__} is taken by what is built in; accepted: another class"
        )

    def register(rule: R) -> R:
        OWN_RULES[layer] = rule
        return rule

    return register


def layer_gradients(layer: nn.Module, uses: list[Use], size: int) -> Gradients:
    """Return the gradients of the layer's parameters, in their order.

    Args:
        layer: of a type that `has_rule`.
        uses: all of its calls.
        size: examples of a group.

    """
    if (rule := OWN_RULES.get(type(layer))) is not None:
        return _formed(rule, layer, uses)
    return _RULES[type(layer)](layer, uses, size)


def has_rule(layer: nn.Module) -> bool:
    """Tell whether `layer_gradients` knows this layer."""
    if type(layer) in OWN_RULES:
        return True
    if isinstance(layer, nn.Embedding) and (layer.max_norm or layer.scale_grad_by_freq):
        return False
    names = {name for name, _ in layer.named_parameters()}
    return type(layer) in _RULES and names <= {"weight", "bias"}


def _formed(rule: LayerRule, layer: nn.Module, uses: list[Use]) -> Gradients:
    """Form gradients by a user's rule, which sees no example beside another.

    Raises:
        RuntimeError: there is not one of its shape for each parameter.

    """

    def of_one(uses: list[Use]) -> tuple[Tensor, ...]:
        return tuple(rule(layer, [Use(*(part.unsqueeze(0) for part in use)) for use in uses]))

    with torch.no_grad():
        made: tuple[Tensor, ...] = vmap(of_one)(uses)
    wanted = [tuple(each.shape) for each in layer.parameters(recurse=False)]
    shapes = [tuple(each.shape[2:]) for each in made]
    if shapes != wanted or any(each.shape[1] != 1 for each in made):
        raise RuntimeError(
            f"the rule of {type(layer).__name__} gives gradients of {shapes}; accepted: {wanted}"
        )
    return Joined([Formed(each.squeeze(1)) for each in made])


def _affine(layer: nn.Module, weight: Gradients, biases: list[Tensor]) -> Gradients:
    """Join a layer's weight with its bias, if it has one, from the gradients of each use."""
    return weight if layer.bias is None else Joined([weight, Formed(_total(biases))])


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _linear(layer: nn.Linear, uses: list[Use], size: int) -> Gradients:
    if len(uses) == 1 and uses[0].inputs.dim() == 2:
        return Outer(uses[0], has_bias=layer.bias is not None)
    sequences = [Use(_sequence(use.inputs), _sequence(use.errors)) for use in uses]
    weight = sum_of_outer(sequences, size, _words)
    return _affine(layer, weight, [use.errors.sum(1) for use in sequences])


def _sequence(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1, values.shape[-1])


def _words(use: Use) -> Matrices:
    return Matrices(use.errors.mT.unsqueeze(1), use.inputs.mT.unsqueeze(1))


def _convolution(layer: _ConvNd, uses: list[Use], size: int) -> Gradients:
    weight = sum_of_outer(uses, size, partial(_patches, layer))
    return _affine(layer, weight, [use.errors.flatten(2).sum(2) for use in uses])


def _patches(layer: _ConvNd, use: Use) -> Matrices:
    """Make a column for every place where the kernel was laid."""
    patches = _padded(layer, use.inputs)
    axes = len(layer.kernel_size)
    for axis in range(axes):
        dilation = layer.dilation[axis]
        span = dilation * (layer.kernel_size[axis] - 1) + 1
        patches = patches.unfold(2 + axis, span, layer.stride[axis])[..., ::dilation]
    kernel, places = range(2 + axes, 2 + 2 * axes), range(2, 2 + axes)
    inputs = patches.permute(0, 1, *kernel, *places)  # (examples, channels, *kernel, *places)
    shape = (len(inputs), layer.groups, -1, math.prod(use.errors.shape[2:]))
    return Matrices(use.errors.reshape(shape), inputs.reshape(shape))


def _padded(layer: _ConvNd, inputs: Tensor) -> Tensor:
    """Pad inputs as the kernel sees them."""
    if layer.padding == "valid":
        sides = [(0, 0)] * len(layer.kernel_size)
    elif layer.padding == "same":
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(int(side), int(side)) for side in layer.padding]
    if not any(map(any, sides)):
        return inputs
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, [side for pair in reversed(sides) for side in pair], mode)


def _embedding(layer: nn.Embedding, uses: list[Use], size: int) -> Gradients:
    indices = torch.cat([use.inputs.flatten(1) for use in uses], dim=1)
    width = layer.embedding_dim
    errors = torch.cat([use.errors.reshape(len(indices), -1, width) for use in uses], dim=1)
    if layer.padding_idx is not None:  # a row that never learns
        errors = errors.masked_fill((indices == layer.padding_idx).unsqueeze(-1), 0.0)
    return Rows(indices, errors)


def _group_norm(layer: nn.GroupNorm, uses: list[Use], size: int) -> Gradients:
    def over_channels(values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:2], -1).sum(2)

    normal = [F.group_norm(use.inputs, layer.num_groups, eps=layer.eps) for use in uses]
    weights = [over_channels(x * use.errors) for x, use in zip(normal, uses, strict=True)]
    return _affine(layer, Formed(_total(weights)), [over_channels(use.errors) for use in uses])


def _layer_norm(layer: nn.LayerNorm, uses: list[Use], size: int) -> Gradients:
    def over_positions(values: Tensor) -> Tensor:
        return values.reshape(len(values), -1, *layer.normalized_shape).sum(1)

    shape = list(layer.normalized_shape)
    normal = [F.layer_norm(use.inputs, shape, eps=layer.eps) for use in uses]
    weights = [over_positions(x * use.errors) for x, use in zip(normal, uses, strict=True)]
    return _affine(layer, Formed(_total(weights)), [over_positions(use.errors) for use in uses])


OWN_RULES: dict[type[nn.Module], LayerRule] = {}
"""Of layers of users' own, by `register_layer_rule`."""
_RULES: dict[type[nn.Module], Callable[..., Gradients]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
