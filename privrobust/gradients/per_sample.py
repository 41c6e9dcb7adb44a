"""Sums of clipped per-sample gradients from the gradients themselves: any model, slowly.

Per-sample gradients come from `torch.func` where it can differentiate the model, and from one
backward pass an example where it cannot (recurrent layers, control flow that depends on data). Both
call fresh copies of the model on single examples (`privrobust.gradients.isolation`).
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import ClippedSums, ClippingRule
from privrobust.gradients.factors import vector_norms
from privrobust.gradients.isolation import own_copy, scores_of_one
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import Loss
from privrobust.gradients.summation import add_up, longest

# Numbers in the gradients held at a time (256 MiB).
_HELD = 1 << 26


class PerSample:
    """For any model: gradients of a few examples at a time, of one worker of one lane."""

    def __init__(
        self, model: nn.Module, layout: Layout, examples: Tensor, rule: ClippingRule, loss: Loss
    ) -> None:
        self.model = own_copy(model)
        self._loss = loss
        self._rule = rule
        self.layout = layout
        self._sizes = layout.layer_sizes
        self._at_once = max(1, _HELD // layout.dim)
        self._examples = examples

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Sum as the fast ways do, in `_HELD` numbers of memory."""
        lanes, workers, pad = batch.labels.shape
        at_once = min(self._at_once, longest(pad))
        norms = torch.zeros_like(batch.labels, dtype=torch.float64)
        sums = parameters.new_zeros(lanes, workers, parameters.shape[-1], dtype=torch.float64)

        def parts(lane: int, worker: int) -> Iterator[Tensor]:
            for start in range(0, pad, at_once):
                at = (lane, worker, slice(start, start + at_once))
                limit = clip_norms[lane : lane + 1]
                total, norms[at] = self._clipped(parameters[lane], batch[at], limit, divisor)
                yield total

        for lane in range(lanes):
            for worker in range(workers):
                add_up(parts(lane, worker), sums[lane, worker])
        return ClippedSums(sums, norms)

    def _clipped(
        self, parameters: Tensor, batch: Batch, clip_norm: Tensor, divisor: float
    ) -> ClippedSums:
        """Clip some examples of a worker: their sum `(dim,)`, and the norm of each."""
        gradients = self._gradients(parameters, batch.inputs, batch.labels)
        parts = gradients.split(self._sizes, dim=-1)
        present = batch.present.unsqueeze(-1)
        norms = torch.stack([vector_norms(part, self._rule.order) for part in parts], dim=-1)
        norms = norms.masked_fill(~present, 0.0)
        factors = self._rule.factors(norms.unsqueeze(0), clip_norm)[0].div_(divisor) * present
        sums = [
            factor @ part.double().masked_fill((factor == 0).unsqueeze(-1), 0.0)
            for part, factor in zip(parts, factors.unbind(-1), strict=True)
        ]
        return ClippedSums(torch.cat(sums), self._rule.whole(norms))

    def _gradients(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        # for one example torch.func has nothing to gain, and takes a second to load
        several = self._of_several if len(inputs) > 1 else self._one_by_one
        return several(parameters, inputs, labels)

    @cached_property
    def _of_several(self) -> Callable[..., Tensor]:
        """Choose torch.func where it can differentiate the model, else single passes."""
        examples = self._examples
        labels = examples.new_zeros(len(examples), dtype=torch.long)
        try:
            start = nn.utils.parameters_to_vector(self.model.parameters()).detach()
            self._side_by_side(start, examples, labels)
        except Exception:  # whatever it does not know
            return self._one_by_one
        return self._side_by_side

    def _side_by_side(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        value = partial(self._value, own_copy(self.model))
        of_each: Callable[..., Tensor] = vmap(grad(value), in_dims=(None, 0, 0))
        return of_each(parameters, inputs, labels)

    def _one_by_one(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        gradients: list[Tensor] = []
        for example, label in zip(inputs, labels, strict=True):
            start = parameters.detach().clone().requires_grad_()
            value = self._value(own_copy(self.model), start, example, label)
            gradients += torch.autograd.grad(value, start)
        return torch.stack(gradients)

    def _value(
        self, copied: nn.Module, parameters: Tensor, example: Tensor, label: Tensor
    ) -> Tensor:
        scores = scores_of_one(copied, self.layout.unflatten(parameters), example)
        return self._loss.values(scores.unsqueeze(0), label.unsqueeze(0)).squeeze(0)
