"""Sums of clipped per-sample gradients, a sum a worker, without per-sample gradients.

One backward pass to the layers' outputs (`privrobust.gradients.backward`) gives every per-sample
gradient in factored form (`privrobust.gradients.factors`); norms and clipped sums are made from the
factors. Parameters that no layer rule knows are differentiated through one copy an example where
they are no larger than the activations. Any other model takes per-sample gradients in bounded
memory (`privrobust.gradients.per_sample`).

A model that is not proven to keep the rows of a batch apart (`privrobust.gradients.row_wise`) is
called on single examples, each a batch of its own. So, whatever a model does, the factors of an
example are made from that example, and what is added is what was measured: clipping is sound by
construction. That the gradient is the right one is checked besides
(`privrobust.gradients.verification`).
"""

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.gradients.backward import (
    Apart,
    Backward,
    Direct,
    Probed,
    Traces,
)
from privrobust.gradients.batch import Batch
from privrobust.gradients.calls import activations, side_by_side
from privrobust.gradients.clipping import ClippedSums, ClippingRule, GradientSum
from privrobust.gradients.factors import Formed, Gradients, Joined, Use, Zero
from privrobust.gradients.layer_rules import has_rule, layer_gradients
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import Loss
from privrobust.gradients.per_sample import PerSample
from privrobust.gradients.row_wise import rows_stay_apart
from privrobust.gradients.verification import Agreement, described
from privrobust.kernels.backend import are_compiled


def gradient_sum(
    model: nn.Module, layout: Layout, examples: Tensor, rule: ClippingRule, loss: Loss
) -> GradientSum:
    """Find the fastest exact way for this model; warns when that is the slow one.

    Args:
        model: any module, to be called on one example at a time unless it is proven; its state, as
            it is now, is that of every call.
        layout: the model's.
        examples: a few inputs, `(examples, *features)`, to see which way they take through it.
        rule: how gradients are clipped.
        loss: what they are of.

    Raises:
        SpecError: the model has no per-sample gradients.

    """
    exact = PerSample(model, layout, examples, rule, loss)
    try:
        agreement = Agreement(exact, examples)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        reason = str(error).split("\n")[0]
        raise SpecError(f"model: no per-sample gradients ({reason})") from error
    fault = _large_layer_without_rule(model, layout, examples)
    if fault is None:
        for fast in _fast_ways(model, layout, examples, rule, loss):
            fault = agreement.fault(fast)
            if fault is None:
                return fast
    warnings.warn(
        f"model: {fault}; per-sample gradients are computed, which is exact and slow",
        PrivRobustWarning,
        stacklevel=2,
    )
    return exact


class LayerWise:
    """For models of layers with rules, called on `(examples, ...)`, and small other parameters."""

    def __init__(
        self,
        model: nn.Module,
        layout: Layout,
        rule: ClippingRule,
        one: Backward,
        many: Backward | None,
    ) -> None:
        """Use a backward pass for one lane and, if that is faster, one for many at once."""
        self._model = model
        self._rule = rule
        self._one = one
        self._many = many
        self._layout = layout

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Run a backward pass to the layer outputs, then a few matrix products a layer."""
        lanes, workers = batch.labels.shape[:2]
        sums = parameters.new_empty(lanes, workers, parameters.shape[-1], dtype=torch.float64)
        way = self._one if lanes == 1 else self._many
        if way is not None:
            norms = self._sum(way, parameters, batch, clip_norms, divisor, sums)
            return ClippedSums(sums, norms)
        each = [slice(lane, lane + 1) for lane in range(lanes)]
        of_lanes = [
            self._sum(self._one, parameters[i], batch[i], clip_norms[i], divisor, sums[i])
            for i in each
        ]
        return ClippedSums(sums, torch.cat(of_lanes))

    def _sum(
        self,
        backward: Backward,
        parameters: Tensor,
        batch: Batch,
        clip_norms: Tensor,
        divisor: float,
        out: Tensor,
    ) -> Tensor:
        """Write clipped sums to `out`, and return the norms of whole gradients."""
        size = batch.labels.shape[-1]
        traces = backward(parameters, batch)
        gradients = self._gradients(traces, size)
        norms = torch.stack([part.norms(self._rule.order) for part in gradients.values()], dim=-1)
        norms = norms.unflatten(0, batch.labels.shape)
        absent = ~batch.present
        scales = self._rule.factors(norms, clip_norms).div_(divisor)
        scales.masked_fill_(absent.unsqueeze(-1), 0.0)
        factors = dict(zip(gradients, scales.flatten(0, 1).unbind(-1), strict=True))
        if not math.isfinite(norms.sum()):  # of the padding too: 0 times NaN is NaN
            gradients = self._gradients(_without(traces, factors), size)
            for part in gradients.values():
                part.norms(self._rule.order)  # which shows where terms cancel
        written = self._layout.unflatten(out.flatten(0, 1))
        for layer, names in self._layout.layers.items():
            gradients[layer].sums(factors[layer], *(written[name] for name in names))
        return self._rule.whole(norms).masked_fill_(absent, 0.0)

    def _gradients(self, traces: Traces, size: int) -> dict[str, Gradients]:
        """Collect them by layer, of groups of so many examples."""
        return {layer: self._of_layer(layer, traces, size) for layer in self._layout.layers}

    def _of_layer(self, layer: str, traces: Traces, size: int) -> Gradients:
        if layer in traces.uses:
            return layer_gradients(self._model.get_submodule(layer), traces.uses[layer], size)
        names = self._layout.layers[layer]
        if names[0] in traces.others:
            return Joined([Formed(traces.others[name]) for name in names])
        device = self._model.get_parameter(names[0]).device
        return Zero(traces.examples, device)  # of a layer that is never called


def _fast_ways(
    model: nn.Module, layout: Layout, examples: Tensor, rule: ClippingRule, loss: Loss
) -> Iterator[GradientSum]:
    """Yield the fastest first; those after it also bear layer outputs that are changed in place."""
    if examples.device.type == "cpu" and are_compiled():
        from privrobust.gradients.chain import Chain  # which needs what compiles

        chain = Chain.of(model, layout, examples, rule, loss)
        if chain is not None:
            yield chain
    owned = layout.layers
    ruled = [layer for layer in owned if has_rule(model.get_submodule(layer))]
    others = [name for layer, names in owned.items() for name in names if layer not in ruled]
    many_at_once = side_by_side(model, layout, examples)
    if not others and rows_stay_apart(model, examples):
        many = Probed(model, layout, ruled, examples, loss) if many_at_once else None
        for hands_out_copies in (False, True):
            one = Direct(model, layout, ruled, loss, hands_out_copies)
            yield LayerWise(model, layout, rule, one, many)
        return
    apart = Apart(model, layout, ruled, others, examples, loss)
    yield LayerWise(model, layout, rule, apart, apart if many_at_once else None)


def _large_layer_without_rule(model: nn.Module, layout: Layout, examples: Tensor) -> str | None:
    """Name the first layer whose parameters have no rule and outnumber the activations."""
    owner: dict[Tensor, str] = {}
    for layer, module in model.named_modules():  # one under two names comes once: it has a rule
        for parameter in module.parameters(recurse=False):
            if owner.setdefault(parameter, layer) != layer:
                return f"{described(model, layer)} shares a parameter with another"
    held = activations(model, examples)
    for layer, owned in layout.layers.items():
        size = sum(model.get_parameter(name).numel() for name in owned)
        if not has_rule(model.get_submodule(layer)) and size > held:
            return f"{described(model, layer)} has no fast clipping rule here"
    return None


def _without(traces: Traces, factors: dict[str, Tensor]) -> Traces:
    """Drop from the traces whatever a factor of 0, by layer, drops from the sums."""
    dropped = {layer: factor.flatten() == 0 for layer, factor in factors.items()}
    uses = {
        layer: [Use(*(_zero_rows(part, dropped[layer]) for part in use)) for use in uses]
        for layer, uses in traces.uses.items()
    }
    others = {
        name: _zero_rows(part, dropped[name.rpartition(".")[0]])
        for name, part in traces.others.items()
    }
    return Traces(traces.examples, uses, others)


def _zero_rows(values: Tensor, rows: Tensor) -> Tensor:
    return values.masked_fill(rows.view(-1, *[1] * (values.dim() - 1)), 0)
