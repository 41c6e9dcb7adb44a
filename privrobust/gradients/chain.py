"""Clipped sums of chains of layers, by passes of our own over the examples that are there.

Most models are chains: what one layer puts out is all that the next one takes. Of those that are
proven to keep the rows of a batch apart (`privrobust.gradients.row_wise`), each layer's passes
forward and backward (`privrobust.gradients.passes`) are called one after the other, on packed
batches. Products add up each row's numbers in one order, whatever there is to multiply, so that the
gradient of an example, to the last bit, is made from that example: one that leaves turns no other
at a kink, and a worker's sum does not depend on what others drew. The work is cut into pieces, of
whole workers of a lane, that stay in a core's cache and that threads take in turns. How it is cut
depends on each lane's examples alone: a lane has the same bits beside others and on any number of
threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from privrobust.core.plugins import is_built_in
from privrobust.core.threads import in_threads
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import ClippedSums, ClippingRule
from privrobust.gradients.dense_passes import Affine
from privrobust.gradients.image_passes import Convolution, MaxPooling
from privrobust.gradients.isolation import own_copy
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import CrossEntropy, Loss
from privrobust.gradients.passes import (
    Flattening,
    Parts,
    Pass,
    Piece,
    Plain,
    Rectifier,
    in_whole_vectors,
)
from privrobust.gradients.row_wise import rows_stay_apart
from privrobust.kernels.losses import cross_entropy_errors

# Numbers of a piece; and those of a piece which is worth a thread of its own, as most of its time
# goes outside of Python. In smaller ones only large operations are.
_HELD = 1 << 20
_LARGE = 1 << 20


_NORMALISATIONS = nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm


class Chain:
    """For one lane or many, on a processor."""

    def __init__(
        self,
        passes: dict[str, Pass],
        layout: Layout,
        rule: ClippingRule,
        loss: Loss,
        width: int,
    ) -> None:
        """Call these passes in order; an example holds `width` numbers on its way."""
        self._passes = passes
        self._layout = layout
        self._rule = rule
        self._loss = loss
        self._width = width
        owners = [name for name in passes if name in layout.layers]
        self._first = owners[0]
        self._block = max(each.block for each in passes.values())

    @classmethod
    def of(
        cls, model: nn.Module, layout: Layout, examples: Tensor, rule: ClippingRule, loss: Loss
    ) -> Chain | None:
        """Return the chain of a model, or None where it is none or has a layer without a pass."""
        if not rows_stay_apart(model, examples):
            return None
        chain = dict(_leaves(own_copy(model)))
        owners = {name for name, layer in chain.items() if list(layer.parameters())}
        if owners != {*layout.layers}:  # or one comes twice
            return None
        own = {name: len(list(chain[name].parameters())) for name in owners}
        if own != {name: len(held) for name, held in layout.layers.items()}:  # one is shared
            return None
        passes: dict[str, Pass] = {}
        held = examples[0].numel()
        inputs = examples[:1]
        with torch.no_grad():
            for name, layer in chain.items():
                made = _pass(layer, inputs.shape[1:])
                if made is None:
                    return None
                passes[name] = made
                outputs = layer(inputs)
                held += max(made.width(inputs.shape[1:]), outputs[0].numel())
                inputs = outputs
        return cls(_pooled_before_rectified(passes), layout, rule, loss, held)

    def __call__(
        self, parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
    ) -> ClippedSums:
        """Clip and sum, piece by piece."""
        lanes, workers, _ = batch.labels.shape
        sizes = batch.present.sum(-1).flatten().tolist()
        ends = [0, *accumulate(sizes)]
        there = batch.present.flatten().nonzero().squeeze(1)
        places, labels = (part.flatten()[there] for part in (batch.places, batch.labels))
        named: dict[str, dict[str, Tensor]] = {name: {} for name in self._passes}
        for name, value in self._layout.unflatten(parameters).items():
            layer, _, own = name.rpartition(".")
            named[layer][own] = value
        prepared = {name: each.prepared(named[name]) for name, each in self._passes.items()}
        sums = parameters.new_empty(lanes, workers, parameters.shape[-1], dtype=torch.float64)
        out = self._layout.unflatten(sums.flatten(0, 1))
        norms = torch.empty(len(there), dtype=torch.float64)

        def clip(groups: range) -> None:
            piece, fill = _filled(groups, workers, ends, self._block)
            own = slice(ends[groups.start], ends[groups.stop])
            at, of = places[own], labels[own]
            if fill is not None:  # with any example; nothing is made of it
                at, of = at[fill.clamp(min=0)], of[fill.clamp(min=0)]
            limits = torch.cat(
                [clip_norms[lane].expand(rows.stop - rows.start) for lane, rows in piece.lanes]
            )
            gradients = self._gradients(batch.examples(at), of, prepared, piece)
            found, scales = self._scales(gradients, limits)
            norms[own] = found if fill is None else found[fill >= 0]
            scales.div_(divisor)
            for (layer, names), factors in zip(self._layout.layers.items(), scales, strict=True):
                written = [out[name][groups.start : groups.stop] for name in names]
                gradients[layer].sums(factors, piece, written)

        pieces = self._cut(sizes, workers)
        # a loss of one's own may not bear two threads
        are_small = not is_built_in(self._loss) or len(there) * self._width < len(pieces) * _LARGE
        in_threads([partial(clip, groups) for groups in pieces], are_small)
        of_all = torch.zeros(batch.labels.shape, dtype=torch.float64)
        of_all.view(-1)[there] = norms
        return ClippedSums(sums, of_all)

    def _cut(self, sizes: list[int], workers: int) -> list[range]:
        """Return which workers, of all lanes in a row, make a piece each."""
        pieces: list[range] = []
        held = 0
        for lane, start in enumerate(range(0, len(sizes), workers)):
            work = sum(sizes[start : start + workers]) * self._width
            # a power of two: as many pieces as threads, or some for each
            parts = min(workers, 1 << max(0, math.ceil(math.log2(max(1, work) / _HELD))))
            if parts > 1 or held + work > _HELD or not lane:
                held = 0 if parts > 1 else work
                cuts = [start + workers * part // parts for part in range(parts + 1)]
                pieces += [range(*ends) for ends in pairwise(cuts)]
                continue
            held += work
            last = pieces[-1]
            pieces[-1] = range(last.start, start + workers)
        return pieces

    def _gradients(
        self, examples: Tensor, labels: Tensor, parameters: dict[str, Any], piece: Piece
    ) -> dict[str, Parts]:
        """Find the gradients of a piece's examples, by layer."""
        kept: dict[str, Any] = {}
        scores = examples
        for name, layer in self._passes.items():
            scores, kept[name] = layer.forward(scores, parameters[name], piece)
        errors: Tensor | None = self._errors(scores, labels)
        found: dict[str, Parts] = {}
        for name, layer in reversed(self._passes.items()):
            if errors is None:
                break
            goes_on = name != self._first
            errors, parts = layer.backward(kept.pop(name), errors, parameters[name], piece, goes_on)
            if parts is not None:
                found[name] = parts
        return found

    def _errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of each example's loss by its scores."""
        if type(self._loss) is CrossEntropy:
            return cross_entropy_errors(scores, labels)
        wide = in_whole_vectors(scores)
        filled = torch.nn.functional.pad(labels, (0, len(wide) - len(labels)))
        return self._loss.gradients(wide, filled)[: len(labels)].to(scores.dtype)

    def _scales(self, gradients: dict[str, Parts], limits: Tensor) -> tuple[Tensor, Tensor]:
        """Return norms of whole gradients `(examples,)`, and what to multiply each layer's with.

        Args:
            gradients: by layer; of those whose factor is 0, zeros take the place.
            limits: C of each example.

        """
        layers = self._layout.layers
        norms = torch.stack([gradients[layer].norms(self._rule.order) for layer in layers], dim=-1)
        scales = self._rule.factors(norms, limits).T.contiguous()
        if not math.isfinite(norms.sum()):  # 0 times NaN is NaN
            for layer, factors in zip(layers, scales, strict=True):
                gradients[layer] = gradients[layer].without(factors == 0)
        return self._rule.whole(norms), scales


def _filled(
    groups: range, workers: int, ends: list[int], block: int
) -> tuple[Piece, Tensor | None]:
    """Return the piece of some workers, and which of its examples are where if it is filled up.

    Args:
        groups: the workers, of all lanes in a row.
        workers: of a lane.
        ends: where examples of each begin, and those of the last end.
        block: of how many examples each lane is to have a multiple.

    Returns:
        The piece, and None, or places among its own examples, -1 where it is filled up.

    """
    lanes: list[tuple[int, slice]] = []
    bounds: list[list[int]] = []
    taken: list[Tensor] = []
    origin = before = ends[groups.start]
    rows = 0
    for lane in range(groups.start // workers, -(-groups.stop // workers)):
        members = range(max(groups.start, lane * workers), min(groups.stop, (lane + 1) * workers))
        first, last = ends[members.start], ends[members.stop]
        bounds += [
            [rows + ends[group] - first, rows + ends[group + 1] - first] for group in members
        ]
        missing = (first - last) % block
        if missing:
            taken += [torch.arange(before, last), torch.full((missing,), origin - 1)]
            before = last
        lanes.append((lane, slice(rows, rows := rows + last - first + missing)))
    most = max(stop - start for start, stop in bounds)
    fill = None
    if taken:
        fill = torch.cat([*taken, torch.arange(before, ends[groups.stop])]) - origin
    return Piece(lanes, torch.tensor(bounds), most), fill


def _leaves(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of nested `Sequential` in order, by name."""
    if type(model) is not nn.Sequential:
        yield prefix, model
        return
    for name, child in model._modules.items():  # one that comes twice is called twice
        assert child is not None
        yield from _leaves(child, f"{prefix}.{name}" if prefix else name)


def _pass(layer: Any, shape: torch.Size) -> Pass | None:
    """Return the pass of a layer on examples of that shape, or None."""
    kind = type(layer)
    if kind is nn.Linear:
        return Affine(layer) if len(shape) == 1 else None
    if kind is nn.Conv2d and len(shape) == 3 and Convolution.takes(layer, shape):
        return Convolution(layer)
    if list(layer.parameters()):
        return None
    if kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return Flattening()
    if kind is nn.ReLU:
        return Rectifier()
    if kind is nn.MaxPool2d and len(shape) == 3 and MaxPooling.takes(layer, shape):
        return MaxPooling(layer)
    if isinstance(layer, _NORMALISATIONS):  # torch's lose digits of vast images, channels last
        return None
    return Plain(layer)


def _pooled_before_rectified(passes: dict[str, Pass]) -> dict[str, Pass]:
    """Swap the two where they follow each other: what is pooled is less to rectify.

    The largest number rectified is the largest of the rectified, and where it is not positive no
    gradient comes through, whichever of them it was.
    """
    named = list(passes.items())
    for place, ((_, first), (_, second)) in enumerate(pairwise(named)):
        if isinstance(first, Rectifier) and isinstance(second, MaxPooling):
            named[place], named[place + 1] = named[place + 1], named[place]
    return dict(named)
