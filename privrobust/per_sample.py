"""Sums of clipped per-sample gradients from the gradients themselves: any model, slowly.

Per-sample gradients come from `torch.func` where it can differentiate the model, and from one
backward pass an example where it cannot (recurrent layers, control flow that depends on data).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from privrobust.clipping import Batch, ClippedSums, ClippingRule
from privrobust.factored import vector_norms
from privrobust.losses import Loss
from privrobust.parameters import Layout

# Numbers in the gradients held at a time (256 MiB).
_HELD = 1 << 26


class PerSample:
    """For any model: gradients of a few examples at a time, of one worker of one lane."""

    def __init__(self, model: nn.Module, examples: Tensor, rule: ClippingRule, loss: Loss) -> None:
        self.model = model
        self._loss = loss
        self._rule = rule
        self._layout = Layout(model)
        self._sizes = self._layout.layer_sizes
        self._step = max(1, _HELD // sum(self._sizes))
        self._gradients: Callable[..., Tensor] = vmap(grad(self._value), in_dims=(None, 0, 0))
        try:
            start = nn.utils.parameters_to_vector(model.parameters()).detach()
            self._gradients(start, examples, examples.new_zeros(len(examples), dtype=torch.long))
        except Exception:  # whatever torch.func does not know
            self._gradients = self._one_by_one

    def __call__(self, parameters: Tensor, batch: Batch, clip_norms: Tensor) -> ClippedSums:
        """As the fast way does, in `_HELD` numbers of memory."""
        sums = parameters.new_zeros(*batch.labels.shape[:2], parameters.shape[-1])
        norms = torch.zeros_like(batch.labels, dtype=torch.float64)
        lanes, workers, pad = batch.labels.shape
        for lane in range(lanes):
            for worker in range(workers):
                for start in range(0, pad, self._step):
                    at = (lane, worker, slice(start, start + self._step))
                    some = Batch(*(tensor[at] for tensor in batch))
                    total, norms[at] = self._clipped(
                        parameters[lane], some, clip_norms[lane : lane + 1]
                    )
                    sums[lane, worker] += total
        return ClippedSums(sums, norms)

    def _clipped(self, parameters: Tensor, batch: Batch, clip_norm: Tensor) -> ClippedSums:
        """One sum `(dim,)` and the norms of some examples."""
        gradients = self._gradients(parameters, batch.inputs, batch.labels)
        parts = gradients.split(self._sizes, dim=-1)
        present = batch.present.unsqueeze(-1)
        norms = torch.stack([vector_norms(part, self._rule.order) for part in parts], dim=-1)
        norms = norms.double().masked_fill(~present, 0.0)
        factors = self._rule.factors(norms.unsqueeze(0), clip_norm)[0].to(gradients) * present
        sums = [
            factor @ part.masked_fill((factor == 0).unsqueeze(-1), 0.0)
            for part, factor in zip(parts, factors.unbind(-1), strict=True)
        ]
        return ClippedSums(torch.cat(sums), self._rule.whole(norms))

    def _one_by_one(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        gradients: list[Tensor] = []
        for example, label in zip(inputs, labels, strict=True):
            start = parameters.detach().requires_grad_()
            gradients += torch.autograd.grad(self._value(start, example, label), start)
        return torch.stack(gradients)

    def _value(self, parameters: Tensor, example: Tensor, label: Tensor) -> Tensor:
        named = self._layout.unflatten(parameters)
        scores: Tensor = functional_call(self.model, named, (example.unsqueeze(0),))
        return self._loss.values(scores, label.unsqueeze(0)).squeeze(0)
