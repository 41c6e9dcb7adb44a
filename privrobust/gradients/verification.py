"""Whether a fast way to clipped sums is exact for a model: it is held against the slow one.

A module may use a layer's parameters as no rule foresees, and then its norms would be wrong and
epsilon with them. So the ways are compared on a few examples, layer by layer and example by
example, where the model starts and at parameters around that.
"""

import torch
from torch import Tensor, nn

from privrobust.gradients.batch import Batch
from privrobust.gradients.calls import output_shapes
from privrobust.gradients.clipping import ClippedSums, GradientSum
from privrobust.gradients.layer_rules import has_rule
from privrobust.gradients.per_sample import PerSample

# Numbers in the gradients that are compared at a time (64 MiB).
_HELD = 1 << 24

# Of a layer's gradient, and of the whole one: what rounding may change.
_OF_LAYER, _OF_WHOLE = 1e-3, 1e-5

# What kinks may change of a layer's gradient, where the way is exact in float64.
_AT_KINKS = 0.05


class Agreement:
    """Clipped and unclipped gradients of single examples, as the slow way finds them."""

    def __init__(self, exact: PerSample, examples: Tensor) -> None:
        """Find them for a few examples, `(examples, *features)`; raises what the model does."""
        self._exact = exact
        self._model = exact.model
        self._layout = exact.layout
        self._points = _points(self._model).to(examples.device)
        self._batch = _each_a_worker(examples[: max(2, _HELD // self._points.numel())])
        norms = exact(self._points, self._batch, self._points.new_ones(2)).norms
        usable = norms.isfinite() & (norms > 0)
        least = norms.masked_fill(~usable, torch.inf).amin((1, 2)).nan_to_num(posinf=1.0)
        most = norms.masked_fill(~usable, 1.0).amax((1, 2)) * len(self._layout.layers)
        # nothing is clipped first: there, only the layer that is at fault differs
        self._limits = (2 * most, least / 2)
        self._expected = [exact(self._points, self._batch, limit) for limit in self._limits]
        ruled = [name for name in self._layout.layers if has_rule(self._model.get_submodule(name))]
        self._called = {name for name, _ in output_shapes(self._model, ruled, examples)}

    def fault(self, way: GradientSum) -> str | None:
        """Say why that way is not to be used, if so.

        Rounding moves activations of a large model over their kinks, which changes a layer's
        gradient as a wrong rule might. A wrong rule is as wrong in float64, where that ends.
        """
        here = self._points, self._batch, self._expected
        reason = self._difference(way, *here, _OF_LAYER)
        if reason is None:
            return self._unseen()
        if self._difference(way, *here, _AT_KINKS) is not None or not self._agrees_in_float64(way):
            return reason
        return self._unseen()

    def _agrees_in_float64(self, way: GradientSum) -> bool:
        """Compare at the same points and examples."""
        given = self._batch.inputs
        wide = given.double() if given.is_floating_point() else given
        points = self._points.double()
        batch = Batch.of(wide, self._batch.labels, self._batch.present)
        try:
            expected = [self._exact(points, batch, limit) for limit in self._limits]
            return self._difference(way, points, batch, expected, _OF_LAYER) is None
        except Exception:  # of a user's module that knows float32 only
            return False

    def _difference(
        self,
        way: GradientSum,
        points: Tensor,
        whole: Batch,
        expected: list[ClippedSums],
        slack: float,
    ) -> str | None:
        """Say where it is off by more than a share of a layer, lanes tried alone and together."""
        each = range(len(points))
        for lanes in (*[slice(point, point + 1) for point in each], slice(None)):
            for limit, (sums, norms) in zip(self._limits, expected, strict=True):
                try:
                    ours = way(points[lanes], whole[lanes], limit[lanes])
                except Exception as error:  # a layer called as no rule foresees
                    reason = str(error).split("\n")[0]
                    return f"the fast way fails here ({type(error).__name__}: {reason})"
                layer = self._differs(ours.sums, sums[lanes], slack)
                if layer is not None:
                    return f"{described(self._model, layer)} is used as no fast rule foresees"
                if not torch.allclose(ours.norms, norms[lanes], slack, 0, equal_nan=True):
                    return "the fast way finds other norms here"
        return None

    def _differs(self, ours: Tensor, expected: Tensor, slack: float) -> str | None:
        """Name the first layer whose gradient is another for some example."""
        whole = expected.norm(dim=-1)
        sizes = self._layout.layer_sizes
        parts = zip(ours.split(sizes, -1), expected.split(sizes, -1), strict=True)
        for layer, (our, other) in zip(self._layout.layers, parts, strict=True):
            allowed = slack * other.norm(dim=-1) + _OF_WHOLE * whole
            if not bool(((our - other).norm(dim=-1) <= allowed).all()):
                return layer
        return None

    def _unseen(self) -> str | None:
        """Say which layer runs but shows no gradient to compare, if one does."""
        unclipped = self._expected[0].sums.split(self._layout.layer_sizes, -1)
        for layer, gradients in zip(self._layout.layers, unclipped, strict=True):
            if layer in self._called and not bool(gradients.any()):
                name = described(self._model, layer)
                return f"{name} has no gradient on the first examples to check a fast rule by"
        return None


def described(model: nn.Module, layer: str) -> str:
    """Say which layer it is: its name and type."""
    kind = type(model.get_submodule(layer)).__name__
    return f"layer {layer!r} ({kind})" if layer else f"{kind}'s own parameter"


def _points(model: nn.Module) -> Tensor:
    """Choose where the model starts, and a place around that, `(2, dim)`."""
    generator = torch.Generator().manual_seed(0)
    own = [parameter.detach().cpu() for parameter in model.parameters()]
    around = [
        value
        + (value.square().mean().sqrt() / 2 + 0.01) * torch.randn(value.shape, generator=generator)
        for value in own
    ]
    return torch.stack([nn.utils.parameters_to_vector(values) for values in (own, around)])


def _each_a_worker(examples: Tensor) -> Batch:
    """Give every example to a worker of its own, at both points.

    Sums over several would hide that they were taken for one another.
    """
    shape = (2, len(examples), 1)
    inputs = examples.expand(2, *examples.shape).unsqueeze(2)
    labels = (torch.arange(len(examples), device=examples.device) % 2).view(1, -1, 1).expand(shape)
    return Batch.of(inputs, labels, torch.ones_like(labels, dtype=torch.bool))
