"""Sums of clipped per-sample gradients, a sum a worker, without per-sample gradients.

For a linear layer with input a and output gradient e, the gradient of one example is the outer
product e a^T, so its squared L2 norm is |e|^2 (|a|^2 + 1), the 1 for the bias (Goodfellow 2015),
and by the same argument its L1 norm |e|_1 (|a|_1 + 1). One backward pass to the layers' outputs
gives every norm; scaling e by the clip factors turns the clipped sum of a worker into one matrix
product over its batch.

Output gradients come from zero probes: each linear layer returns `output + probe`, and the loss is
differentiated with respect to the probes. Models with other layers that hold parameters take
`torch.func` per-sample gradients, one worker at a time.

Shapes: parameters `(lanes, dim)`, batches `(lanes, workers, pad, *features)`.
"""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from privrobust.errors import PrivRobustWarning, SpecError


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
    """`(lanes, workers, pad)`: norm of every example's whole gradient, 0 where padded"""


class GradientSum(Protocol):
    """A way to sum clipped gradients for one model."""

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """Clip each example's gradient to its lane's C, `clip_norms` `(lanes,)`; infinity: don't.

        An example whose gradient is not finite adds 0, so that no example ever moves a sum by more
        than C.
        """
        ...


def gradient_sum(model: nn.Module, example: Tensor, order: int = 2) -> GradientSum:
    """The fastest exact way for this model; warns when that is the slow one.

    Args:
        model: any module whose layers treat the examples of a batch independently.
        example: one input, `(*features)`, to see which way it takes through the model.
        order: of the norm that is clipped: 2, or 1 for Laplace noise.

    Raises:
        SpecError: the model has no per-sample gradients.

    """
    exact = PerSample(model, order)
    expected = _sums_of_two(exact, model, example)
    slow = _layer_without_rule(model, example)
    if slow is None:
        fast = LinearLayers(model, order)
        if torch.allclose(_sums_of_two(fast, model, example), expected, rtol=1e-3, atol=1e-5):
            return fast
        slow = next(iter(fast.layers))
    warnings.warn(
        f"model: layer {slow!r} ({type(model.get_submodule(slow)).__name__}) has no fast clipping "
        "rule here; per-sample gradients are computed, which is exact and slow",
        PrivRobustWarning,
        stacklevel=2,
    )
    return exact


def unflatten(model: nn.Module, parameters: Tensor) -> dict[str, Tensor]:
    """Views of flat parameters `(..., dim)` by name, `(..., *shape)` each."""
    named = dict(model.named_parameters())
    parts = parameters.split([parameter.numel() for parameter in named.values()], dim=-1)
    return {
        name: part.unflatten(-1, parameter.shape)
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }


def _sums_of_two(way: GradientSum, model: nn.Module, example: Tensor) -> Tensor:
    """Gradients of two made-up examples at made-up parameters: where ways must agree."""
    generator = torch.Generator().manual_seed(0)
    dim = sum(parameter.numel() for parameter in model.parameters())
    parameters = torch.randn(1, dim, generator=generator) / 10
    inputs = torch.rand(1, 1, 2, *example.shape, generator=generator)
    batch = Batch(inputs, torch.tensor([[[0, 1]]]), torch.ones(1, 1, 2, dtype=torch.bool))
    try:
        return way(parameters, batch, torch.tensor([torch.inf])).sums
    except Exception as error:  # whatever a user's module raises under vmap
        reason = str(error).split("\n")[0]
        raise SpecError(f"model: no per-sample gradients ({reason})") from error


class LinearLayers:
    """For models whose only layers with parameters are `nn.Linear`, each used once on `(n, in)`."""

    def __init__(self, model: nn.Module, order: int = 2) -> None:
        self.model = model
        self.order = order
        self.layers = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)
        }

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """One backward pass to the layer outputs, then one matrix product a layer."""
        inputs, errors = self._inputs_and_errors(parameters, batch)
        powers = torch.zeros(batch.labels.shape, dtype=torch.float64)
        for name, layer in self.layers.items():
            bias = 0.0 if layer.bias is None else 1.0
            powers += (self._power(inputs[name]) + bias) * self._power(errors[name])
        finite = bool(powers.isfinite().all())  # of the padding too: 0 times NaN is NaN
        norms = powers.pow_(1 / self.order).masked_fill_(~batch.present, 0.0)
        factors = clip_factors(norms, clip_norms) * batch.present
        if not finite:
            inputs, errors = _zero_where(factors == 0, inputs), _zero_where(factors == 0, errors)
        sums = [
            part
            for name, layer in self.layers.items()
            for part in _layer_sums(layer, inputs[name], errors[name] * factors.unsqueeze(-1))
        ]
        return ClippedSums(sums[0] if len(sums) == 1 else torch.cat(sums, dim=-1), norms)

    def _power(self, vectors: Tensor) -> Tensor:
        """|v|^p of the p-norm: of an outer product, it is the product of the factors' powers."""
        return _norm(vectors, self.order).pow_(self.order)

    def _inputs_and_errors(
        self, parameters: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every layer's inputs and output gradients, `(lanes, workers, pad, width)` each."""
        lanes = len(batch.labels)
        examples = batch.labels[0].numel()
        probes = {
            name: torch.zeros(lanes, examples, layer.out_features, requires_grad=True)
            for name, layer in self.layers.items()
        }
        flat = batch.inputs.flatten(1, 2)
        logits, inputs = vmap(self._forward)(unflatten(self.model, parameters), flat, probes)
        loss = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum")
        errors = torch.autograd.grad(loss, list(probes.values()))
        shape = batch.labels.shape[1:]
        return (
            {name: tensor.detach().unflatten(1, shape) for name, tensor in inputs.items()},
            {name: e.unflatten(1, shape) for name, e in zip(probes, errors, strict=True)},
        )

    def _forward(
        self, parameters: dict[str, Tensor], examples: Tensor, probes: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs: dict[str, Tensor] = {}

        def probe(name: str, layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            inputs[name] = args[0]
            return output + probes[name]

        hooks = [
            layer.register_forward_hook(partial(probe, name)) for name, layer in self.layers.items()
        ]
        try:
            return functional_call(self.model, parameters, (examples,)), inputs
        finally:
            for hook in hooks:
                hook.remove()


class PerSample:
    """For any model: per-sample gradients by `vmap(grad)`, of one worker of one lane at a time."""

    def __init__(self, model: nn.Module, order: int = 2) -> None:
        self.model = model
        self.order = order
        self._gradients = vmap(grad(self._loss), in_dims=(None, 0, 0))

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """Memory for `pad` gradients."""
        sums = parameters.new_empty(*batch.labels.shape[:2], parameters.shape[-1])
        norms = parameters.new_empty(batch.labels.shape, dtype=torch.float64)
        for lane, clip_norm in enumerate(clip_norms):
            for worker in range(sums.shape[1]):
                at = (lane, worker)
                gradients = self._gradients(parameters[lane], batch.inputs[at], batch.labels[at])
                norms[at] = _norm(gradients, self.order).masked_fill_(~batch.present[at], 0.0)
                factors = clip_factors(norms[at], clip_norm) * batch.present[at]
                sums[at] = factors @ gradients.masked_fill_((factors == 0).unsqueeze(-1), 0)
        return ClippedSums(sums, norms)

    def _loss(self, parameters: Tensor, example: Tensor, label: Tensor) -> Tensor:
        named = unflatten(self.model, parameters)
        logits: Tensor = functional_call(self.model, named, (example.unsqueeze(0),))
        return cross_entropy(logits, label.unsqueeze(0))


def _norm(vectors: Tensor, order: int) -> Tensor:
    """In doubles: below 1e-23 a float32 square is 0, and what seems to have no norm is not cut."""
    norm: Tensor = torch.linalg.vector_norm(vectors, order, dim=-1, dtype=torch.float64)
    return norm


def clip_factors(norms: Tensor, clip_norms: Tensor) -> Tensor:
    """`min(1, C / |g|)` of norms `(lanes, ...)`, in float32; 0 where infinite, NaN or vast."""
    limits = clip_norms.view(clip_norms.shape + (1,) * (norms.dim() - clip_norms.dim()))
    factors = (limits / norms).clamp(max=1.0)
    # what float32 cannot scale by exactly (subnormal factors) is dropped
    exact = norms.isfinite() & (factors >= torch.finfo(torch.float32).tiny)
    return torch.where(exact, factors, 0.0).float()


def clip_vectors(vectors: Tensor, clip_norms: Tensor, order: int = 2) -> ClippedSums:
    """Clip whole vectors `(lanes, workers, dim)`; norms are `(lanes, workers, 1)`.

    A vector that is not finite becomes 0, as with examples.
    """
    norms = _norm(vectors, order).unsqueeze(-1)
    factors = clip_factors(norms, clip_norms)
    return ClippedSums(vectors.masked_fill(factors == 0, 0.0) * factors, norms)


def _zero_where(mask: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.masked_fill(mask.unsqueeze(-1), 0.0) for name, tensor in tensors.items()}


def _layer_sums(layer: nn.Linear, inputs: Tensor, errors: Tensor) -> Iterator[Tensor]:
    """The layer's weight and bias gradients summed over each batch, `(lanes, workers, numel)`."""
    yield (errors.mT @ inputs).flatten(2)
    if layer.bias is not None:
        yield errors.sum(2)


def _layer_without_rule(model: nn.Module, example: Tensor) -> str | None:
    """The first layer that `LinearLayers` cannot serve: no plain linear layer, or not used once."""
    uses: dict[str, int] = {}

    def count(name: str, layer: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        uses[name] = uses.get(name, 0) + (1 if args and args[0].dim() == 2 else 2)

    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    tied = len(names) > len(list(model.parameters()))
    owners = sorted({name.rpartition(".")[0] for name in names})
    hooks = [
        model.get_submodule(owner).register_forward_hook(partial(count, owner)) for owner in owners
    ]
    with torch.no_grad():
        model(example.unsqueeze(0))
    for hook in hooks:
        hook.remove()
    for owner in owners:
        layer = model.get_submodule(owner)
        plain = type(layer) is nn.Linear and dict(layer.named_parameters()).keys() <= {
            "weight",
            "bias",
        }
        if tied or not plain or uses.get(owner) != 1:
            return owner
    return None
