"""What each layer contributes to per-sample gradients: a rule a layer type.

A rule turns the uses of a layer into the gradients of its parameters, still factored. Adding a
layer type is adding a function to `_RULES`.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

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


def layer_gradients(layer: nn.Module, uses: list[Use], size: int) -> Gradients:
    """The gradients of the layer's parameters, in their order.

    Args:
        layer: of a type that `has_rule`.
        uses: all of its calls.
        size: examples of a group.

    """
    return _RULES[type(layer)](layer, uses, size)


def has_rule(layer: nn.Module) -> bool:
    """Whether `layer_gradients` knows this layer."""
    if isinstance(layer, nn.Embedding) and (layer.max_norm or layer.scale_grad_by_freq):
        return False
    names = {name for name, _ in layer.named_parameters()}
    return type(layer) in _RULES and names <= {"weight", "bias"}


def _affine(layer: nn.Module, weight: Gradients, biases: list[Tensor]) -> Gradients:
    """A layer's weight, and its bias, if it has one, from the gradients of each use."""
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
    """A column for every place where the kernel was laid."""
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
    """Inputs as the kernel sees them."""
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


_RULES: dict[type[nn.Module], Callable[..., Gradients]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
