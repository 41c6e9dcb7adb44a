"""Which models are proven to treat the rows of a batch one by one, layer by layer.

A model is proven if every module of its tree is of a type listed here, exactly, and is called on
tensors whose first axis is the batch. By what these types do, row i of the output is then computed
from row i of the input and the parameters, and calls leave nothing behind. Such a model may be
called on whole batches; any other is called on single examples (`privrobust.gradients.isolation`).

| modules | why a row sees no other |
| --- | --- |
| activations, `Identity`, `Dropout` with p = 0 | act on each number |
| `Softmax` and the like, `GLU` | act along an axis that is not the first |
| `Linear`, `Embedding` | act on the last axis, or on each index, of two axes or more |
| convolutions, pooling, padding, resampling | act along channels and places, given both |
| `GroupNorm`, `LayerNorm`, `InstanceNorm` without running statistics | normalise in an example |
| `Flatten`, `Unflatten` | leave the first axis as it is |
| `Sequential`, torchvision's `ResNet` and its blocks | call their modules, and add what they got |

>>> import torch
>>> from torch import nn
>>> rows_stay_apart(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(3, 2, 2))
True
>>> rows_stay_apart(nn.Sequential(nn.Flatten(0), nn.Linear(12, 2)), torch.zeros(3, 2, 2))
False
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from privrobust.gradients.calls import Call, Given, only_input, watched
from privrobust.gradients.isolation import own_copy
from privrobust.gradients.layer_rules import has_rule

# What a module may be given besides its class, and calls around it.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Keeps = Callable[[Any, Tensor], bool]
"""Whether a layer of that type keeps the rows of such an input apart."""


def add_proven(kind: type[nn.Module], keeps: Keeps) -> None:
    """Add a type of which somebody has proven that; nothing checks it."""
    _KEEPS[kind] = keeps


def rows_stay_apart(model: nn.Module, examples: Tensor) -> bool:
    """Tell whether the model is proven to.

    Args:
        model: any module; it is left as it is.
        examples: a few inputs, `(examples, *features)`, to see the axes that its layers are given.

    """
    modules = list(model.modules())
    if nn.modules.module._has_any_global_hook():
        return False
    if not all(type(module) in _KEEPS or _is_container(module) for module in modules):
        return False
    if not all(map(_is_plain, modules)):
        return False
    leaves = {name: module for name, module in model.named_modules() if type(module) in _KEEPS}
    kept = []

    def look(call: Call, given: Given, output: Any) -> None:
        inputs = only_input(*given)
        is_row = isinstance(output, Tensor) and len(output) == len(examples)
        kept.append(is_row and _KEEPS[type(leaves[call[0]])](leaves[call[0]], inputs))

    # no more than looks at axes: a model of these types stores nothing
    with torch.no_grad():
        try:
            seen = own_copy(model)
            with watched(seen, list(leaves), look):
                seen(examples)
        except Exception:  # called as its layers cannot be: whoever trains it will say so
            return False
    return all(kept)


def _is_plain(module: nn.Module) -> bool:
    """Tell whether it does what its class says: nothing hooked in or put in a method's place."""
    own, kind = vars(module), type(module)
    return (
        not any(own.get(hooks) for hooks in HOOKS)
        and own.get("_compiled_call_impl") is None
        and not any(callable(getattr(kind, name, None)) for name in own)
        and all(type(value) is nn.Parameter for value in module.parameters(recurse=False))
        and (not list(module.parameters(recurse=False)) or has_rule(module))
    )


def _is_container(module: nn.Module) -> bool:
    if type(module) is nn.Sequential:
        return True
    resnet = sys.modules.get("torchvision.models.resnet")  # no such module where it is not imported
    return resnet is not None and type(module) in (
        resnet.ResNet, resnet.BasicBlock, resnet.Bottleneck,
    )  # fmt: skip


def _has_axes(count: int) -> Keeps:
    """Keep inputs of at least so many axes: with fewer, torch takes the first for another."""
    return lambda layer, inputs: inputs.dim() >= count


def _is_bare(axes: int) -> Keeps:
    """Keep normalisation without running statistics, of batches and not of one example."""
    return lambda layer, inputs: not layer.track_running_stats and inputs.dim() == axes


def _along_axis(layer: Any, inputs: Tensor) -> bool:
    return layer.dim is not None and _is_inner(layer.dim, inputs)


def _is_inner(axis: Any, inputs: Tensor) -> bool:
    return isinstance(axis, int) and axis % inputs.dim() != 0


def _pads_inner(layer: Any, inputs: Tensor) -> bool:
    return len(layer.padding) // 2 <= inputs.dim() - 2


_ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid,
    nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip

_DROPOUTS = (
    nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout,
)  # fmt: skip

# Of types for one, two and three axes of places, to which the batch and the channels are added.
_BY_PLACES = (
    (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d),
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_PADDINGS = (
    nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
    nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d,
)  # fmt: skip
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

_KEEPS: dict[type[nn.Module], Keeps] = {
    **dict.fromkeys(_ACTIVATIONS, _has_axes(1)),
    **dict.fromkeys(_DROPOUTS, lambda layer, inputs: layer.p == 0),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), _along_axis),
    **{kind: _has_axes(2 + n) for kinds in _BY_PLACES for n, kind in enumerate(kinds, start=1)},
    **dict.fromkeys(_PADDINGS, _pads_inner),
    **{kind: _is_bare(2 + n) for n, kind in enumerate(_INSTANCE_NORMS, start=1)},
    nn.Linear: _has_axes(2),
    nn.Embedding: _has_axes(1),
    nn.GroupNorm: _has_axes(2),
    nn.LayerNorm: lambda layer, inputs: inputs.dim() > len(layer.normalized_shape),
    nn.Flatten: lambda layer, inputs: _is_inner(layer.start_dim, inputs),
    nn.Unflatten: lambda layer, inputs: _is_inner(layer.dim, inputs),
    nn.Softmax2d: _has_axes(4),
    nn.PixelShuffle: _has_axes(4),
    nn.PixelUnshuffle: _has_axes(4),
    nn.Upsample: _has_axes(3),
}
