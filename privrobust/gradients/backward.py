"""One backward pass to the outputs of a model's layers: what per-sample gradients are made from.

No parameter is differentiated but those that no layer rule knows, through one copy an example.
Models that are proven to keep the rows of a batch apart are called on whole batches, any other on
single examples (`privrobust.gradients.row_wise`, `privrobust.gradients.isolation`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from privrobust.gradients.batch import Batch
from privrobust.gradients.calls import Call, Calls, Given, only_input, output_shapes, watched
from privrobust.gradients.factors import Use
from privrobust.gradients.isolation import called, own_copy
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import Loss

Named = dict[str, Tensor]


class Traces(NamedTuple):
    """What a backward pass leaves, the examples of all lanes in one row."""

    examples: int
    """How many."""
    uses: dict[str, list[Use]]
    """By watched layer."""
    others: Named
    """Gradients `(examples, *parameter)` of parameters of layers without a rule."""


class Backward(Protocol):
    """A way to run the pass."""

    def __call__(self, parameters: Tensor, batch: Batch) -> Traces:
        """Run it for parameters `(lanes, dim)` and batches `(lanes, workers, pad, *features)`."""
        ...


class Direct:
    """Of one lane of a proven model, by differentiating with respect to the outputs themselves."""

    def __init__(
        self,
        model: nn.Module,
        layout: Layout,
        layers: list[str],
        loss: Loss,
        hands_out_copies: bool = False,
    ) -> None:
        """Watch these layers; with copies, their outputs may be changed in place."""
        self._model = own_copy(model)
        self._loss = loss
        self._hands_out_copies = hands_out_copies
        self._layout = layout
        self._parameters = dict(self._model.named_parameters())
        self._calls: list[tuple[str, Tensor, Tensor, int]] = []
        for layer in layers:
            self._model.get_submodule(layer).register_forward_hook(
                partial(self._note, layer), with_kwargs=True
            )

    def __call__(self, parameters: Tensor, batch: Batch) -> Traces:
        """Run the model once, as in a training step without weights to differentiate."""
        for name, value in self._layout.unflatten(parameters[0]).items():
            self._parameters[name].data = value
        self._calls.clear()
        scores = self._model(batch.inputs[0].flatten(0, 1))
        outputs = [output for _, _, output, _ in self._calls]
        if any(output._version for output in outputs):  # gradients would be of what it became
            raise RuntimeError("a layer's output is changed in place")
        if any(inputs._version != version for _, inputs, _, version in self._calls):
            raise RuntimeError("a layer's input is changed in place after its use")
        errors = torch.autograd.grad(_loss_like(self._loss, scores, batch.labels), outputs)
        uses: dict[str, list[Use]] = {}
        for (layer, inputs, _, _), error in zip(self._calls, errors, strict=True):
            uses.setdefault(layer, []).append(Use(inputs, error))
        self._calls.clear()  # and with it what the pass holds
        return Traces(len(scores), uses, {})

    def _note(self, layer: str, _: nn.Module, *entered: Any) -> Tensor | None:
        *given, output = entered
        if not output.requires_grad:
            output.requires_grad_()
        inputs = only_input(*given).detach()
        self._calls.append((layer, inputs, output, inputs._version))
        return output.clone() if self._hands_out_copies else None


class Probed:
    """Of many lanes of a proven model side by side, under `vmap`.

    Output gradients come from zero probes: each layer returns `output + probe`, and the loss is
    differentiated with respect to the probes.
    """

    def __init__(
        self, model: nn.Module, layout: Layout, layers: list[str], examples: Tensor, loss: Loss
    ) -> None:
        """Watch these layers, whose outputs' shapes a few examples show."""
        self._model = own_copy(model)
        self._loss = loss
        self._layers = layers
        self._layout = layout
        self._shapes = output_shapes(self._model, layers, examples)

    def __call__(self, parameters: Tensor, batch: Batch) -> Traces:
        """Run all lanes as one tensor program."""
        lanes, examples = len(parameters), batch.labels[0].numel()
        probes = {
            call: parameters.new_zeros(lanes, examples, *shape).requires_grad_()
            for call, shape in self._shapes.items()
        }
        lane = partial(_probed, self._model, self._layers)
        named = self._layout.unflatten(parameters)
        scores, entered = vmap(lane)(named, probes, batch.inputs.flatten(1, 2))
        sources = list(probes.values())
        total = _loss_like(self._loss, scores, batch.labels)
        found = torch.autograd.grad(total, sources, materialize_grads=True)
        return _traces(lanes * examples, entered, dict(zip(probes, found, strict=True)), {})


class Apart:
    """Of any model, called on single examples under `vmap`, on a fresh copy a call.

    Probes are as of `Probed`. Parameters that no rule knows are differentiated through one copy an
    example. All of it is inside vmap, also what runs on the way back (hooks on tensors, what
    checkpointing computes again).
    """

    def __init__(
        self,
        model: nn.Module,
        layout: Layout,
        layers: list[str],
        others: list[str],
        examples: Tensor,
        loss: Loss,
    ) -> None:
        """Watch these layers, and differentiate with respect to copies of other parameters."""
        self._model = own_copy(model)
        self._loss = loss
        self._layers = layers
        self._others = others
        self._layout = layout
        self._shapes = output_shapes(self._model, layers, examples)

    def __call__(self, parameters: Tensor, batch: Batch) -> Traces:
        """Run all lanes as one tensor program."""
        lanes, examples = len(parameters), batch.labels[0].numel()
        # clones: what the model changes in place is lost, and reaches no other call
        named = _map(self._layout.unflatten(parameters), torch.clone)
        copies = {
            name: named[name].unsqueeze(1).repeat_interleave(examples, dim=1)
            for name in self._others
        }
        given = batch.inputs.flatten(1, 2).clone(), batch.labels.flatten(1, 2)
        lane = vmap(partial(self._alone, own_copy(self._model)), in_dims=(None, 0, 0, 0))
        if lanes > 1:
            entered, found, others = vmap(lane)(named, copies, *given)
        else:  # whose parameters may be looked at
            parameters_of = (_map(part, lambda each: each[0]) for part in (named, copies))
            of_lane = lane(*parameters_of, *(part[0] for part in given))
            entered, found, others = (
                _map(part, lambda each: each.unsqueeze(0)) for part in of_lane
            )
        return _traces(lanes * examples, entered, found, others)

    def _alone(
        self, model: nn.Module, named: Named, copies: Named, example: Tensor, label: Tensor
    ) -> tuple[Calls, Calls, Named]:
        """Find what entered the layers, gradients of what they put out, and of the copies."""
        some = next(iter(named.values()))  # a float, which an example need not be
        probes = {call: some.new_zeros(1, *shape) for call, shape in self._shapes.items()}

        def scores_of(probes: Calls, copies: Named) -> tuple[Tensor, Calls]:
            return _probed(model, self._layers, named | copies, probes, example.unsqueeze(0))

        made: tuple[Any, ...] = vjp(scores_of, probes, copies, has_aux=True)
        scores, backward, entered = made
        found, of_copies = backward(_errors(self._loss, scores, label.unsqueeze(0)))
        first = partial(_map, change=lambda each: each.squeeze(0))
        return first(entered), first(found), of_copies


def _map(named: dict[Any, Tensor], change: Callable[[Tensor], Tensor]) -> dict[Any, Tensor]:
    return {name: change(value) for name, value in named.items()}


def _probed(
    model: nn.Module, layers: list[str], named: Named, probes: Calls, examples: Tensor
) -> tuple[Tensor, Calls]:
    """Call the model with probes: the scores of a batch, and what entered the layers."""
    entered: Calls = {}

    def probe(call: Call, given: Given, output: Tensor) -> Tensor:
        entered[call] = only_input(*given)
        return output + probes[call]

    with watched(model, layers, probe):
        return called(model, named, examples), entered


def _traces(examples: int, entered: Calls, found: Calls, of_others: Named) -> Traces:
    """Put lanes and examples, the two leading axes of everything here, into one row."""
    uses: dict[str, list[Use]] = {}
    for (layer, call), errors in found.items():
        inputs = entered[layer, call].detach().flatten(0, 1)
        uses.setdefault(layer, []).append(Use(inputs, errors.flatten(0, 1)))
    return Traces(examples, uses, {name: part.flatten(0, 1) for name, part in of_others.items()})


def _errors(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """Differentiate every example's loss with respect to its scores, `(..., classes)`."""
    return loss.gradients(scores.detach(), labels.reshape(scores.shape[:-1]))


def _loss_like(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """Return a number whose gradient with respect to the scores is that of the loss, to the bit.

    Handing `torch.autograd.grad` the errors instead makes it import sympy, for a second.
    """
    return (scores * _errors(loss, scores, labels)).sum()
