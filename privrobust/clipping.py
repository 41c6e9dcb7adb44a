"""Sums of clipped per-sample gradients, a sum a worker, without per-sample gradients.

For a linear layer with input a and output gradient e, the gradient of one example is the outer
product e a^T, so its squared norm is |e|^2 (|a|^2 + 1), the 1 for the bias (Goodfellow 2015). One
backward pass to the layers' outputs gives every norm; scaling e by the clip factors turns the
clipped sum of a worker into one matrix product over its batch.

Output gradients come from zero probes: each linear layer returns `output + probe`, and the loss is
differentiated with respect to the probes. Models with other layers that hold parameters take
`torch.func` per-sample gradients, one worker at a time.

Shapes: parameters `(lanes, dim)`, batches `(lanes, workers, pad, *features)`.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from privrobust.errors import PrivRobustWarning


class Batch(NamedTuple):
    """What the workers drew: padded examples, and which of them are present."""

    inputs: Tensor
    """`(lanes, workers, pad, *features)`"""
    labels: Tensor
    """`(lanes, workers, pad)`"""
    present: Tensor
    """`(lanes, workers, pad)`, boolean"""


class ClippedSums(NamedTuple):
    """The clipped gradients of one step."""

    sums: Tensor
    """`(lanes, workers, dim)`: sum over each worker's batch of `g * min(1, C / |g|)`"""
    norms: Tensor
    """`(lanes, workers, pad)`: L2 norm of every example's whole gradient, 0 where padded"""


class GradientSum(Protocol):
    """A way to sum clipped gradients for one model."""

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """Clip each example's gradient to its lane's `clip_norms` `(lanes,)`; infinity: don't."""
        ...


def gradient_sum(model: nn.Module) -> GradientSum:
    """The fastest exact way for this model; warns when that is the slow one."""
    slow = next((name for name in _parameter_owners(model) if not _is_linear(model, name)), None)
    if slow is None:
        return LinearLayers(model)
    layer = type(model.get_submodule(slow)).__name__
    warnings.warn(
        f"layer {slow!r} ({layer}) has no fast clipping rule: per-sample gradients are computed",
        PrivRobustWarning,
        stacklevel=2,
    )
    return PerSample(model)


def unflatten(model: nn.Module, parameters: Tensor) -> dict[str, Tensor]:
    """Views of flat parameters `(lanes, dim)` by name, `(lanes, *shape)` each."""
    named = dict(model.named_parameters())
    parts = parameters.split([parameter.numel() for parameter in named.values()], dim=-1)
    return {
        name: part.unflatten(-1, parameter.shape)
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }


class LinearLayers:
    """For models whose only layers with parameters are `nn.Linear`, each used on `(batch, in)`."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = {name: model.get_submodule(name) for name in _parameter_owners(model)}

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """One backward pass to the layer outputs, then one matrix product a layer."""
        lanes, workers, pad = batch.labels.shape
        activations, errors = self._activations_and_errors(parameters, batch)
        squares = torch.zeros(lanes, workers * pad)
        for name, layer in self.layers.items():
            bias = 0.0 if layer.bias is None else 1.0
            squares += (activations[name].square().sum(-1) + bias) * errors[name].square().sum(-1)
        norms = squares.sqrt_().view(lanes, workers, pad) * batch.present
        factors = clip_factors(norms, clip_norms) * batch.present
        sums = parameters.new_empty(lanes, workers, parameters.shape[-1])
        offset = 0
        for name, layer in self.layers.items():
            a = activations[name].view(lanes * workers, pad, -1)
            e = errors[name].view(lanes * workers, pad, -1) * factors.view(-1, pad, 1)
            size = layer.weight.numel()
            weight = sums[..., offset : offset + size]
            weight.copy_(torch.bmm(e.mT, a).view(lanes, workers, size))
            offset += size
            if layer.bias is not None:
                sums[..., offset : offset + layer.bias.numel()] = e.sum(1).view(lanes, workers, -1)
                offset += layer.bias.numel()
        return ClippedSums(sums, norms)
