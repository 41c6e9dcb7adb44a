"""Passes of linear layers, of which gradients stay factors: `e a^T`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from privrobust.core.threads import in_threads
from privrobust.gradients.passes import (
    BLOCK,
    Parts,
    Pass,
    Piece,
    both,
    sum_outer_products,
    sum_rows,
)
from privrobust.kernels import row_sums

# Products of two numbers that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 23


class Affine(Pass):
    """A linear layer on vectors."""

    def __init__(self, layer: nn.Linear) -> None:
        self._outputs = layer.out_features
        self._products = layer.in_features * layer.out_features

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Multiply with the weights of each lane, block by block."""
        inputs = inputs.contiguous()
        outputs = inputs.new_empty(len(inputs), self._outputs)
        self._multiply(inputs, parameters["weight"].mT, outputs, piece)
        if "bias" in parameters:
            for lane, rows in piece.lanes:
                outputs[rows].add_(parameters["bias"][lane])
        return outputs, inputs

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Multiply back."""
        back = None
        if goes_on:
            back = torch.empty_like(kept)
            self._multiply(errors.contiguous(), parameters["weight"], back, piece)
        return back, _OuterParts(kept, errors, "bias" in parameters)

    def _multiply(self, rows: Tensor, matrices: Tensor, out: Tensor, piece: Piece) -> None:
        """Write products of blocks of rows with each lane's matrix, large ones in threads."""
        several = []
        for lane, of_lane in piece.lanes:
            count = of_lane.stop - of_lane.start
            if not count:
                continue
            matrix = matrices[lane].expand(count // BLOCK, *matrices.shape[1:])
            left, into = (part[of_lane].unflatten(0, (-1, BLOCK)) for part in (rows, out))
            at_once = max(1, _LARGE // (BLOCK * self._products))
            parts = zip(*(part.split(at_once) for part in (left, matrix, into)), strict=True)
            several += [partial(_product, *part) for part in parts]
        in_threads(several, are_small=len(several) <= len(piece.lanes))

    def width(self, shape: torch.Size) -> int:
        """Count outputs."""
        return self._outputs


class _OuterParts(Parts):
    """`e a^T`, and e for the bias (Goodfellow 2015)."""

    def __init__(self, inputs: Tensor, errors: Tensor, has_bias: bool) -> None:
        self._inputs, self._errors, self._has_bias = inputs, errors, has_bias

    def norms(self, order: int) -> Tensor:
        """Multiply `|e| |(a, 1)|`, without the 1 if there is no bias."""
        norms = row_sums.row_norms(self._inputs, order)
        if self._has_bias:
            norms = both(norms, torch.ones_like(norms), order)
        return norms.mul_(row_sums.row_norms(self._errors, order))

    def sums(self, factors: Tensor, piece: Piece, out: Sequence[Tensor]) -> None:
        """Sum outer products."""
        errors = self._errors * factors.unsqueeze(1)  # in float64
        sum_outer_products(errors, self._inputs, piece, out[0])
        if self._has_bias:
            sum_rows(factors, self._errors, piece, out[1])

    def without(self, dropped: Tensor) -> Parts:
        """Replace both factors."""
        dropped = dropped.unsqueeze(1)
        inputs, errors = (part.masked_fill(dropped, 0.0) for part in (self._inputs, self._errors))
        return _OuterParts(inputs, errors, self._has_bias)


def _product(left: Tensor, right: Tensor, out: Tensor) -> None:
    torch.bmm(left, right, out=out)
