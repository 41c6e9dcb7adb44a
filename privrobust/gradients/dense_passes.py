"""Passes of linear layers, of which gradients stay factors: `e a^T`."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from privrobust.core.threads import in_threads
from privrobust.gradients.passes import Parts, Pass, Piece, sum_outer_products, sum_rows
from privrobust.kernels import row_sums

# Products of two numbers that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 23


class Affine(Pass):
    """A linear layer on vectors."""

    def __init__(self, layer: nn.Linear) -> None:
        self._outputs = layer.out_features
        self._products = layer.in_features * layer.out_features

    def _in_blocks(self, multiply: Callable[[int, slice], None], piece: Piece) -> None:
        """Multiply for each lane, in blocks of its examples that are worth a thread's while."""
        blocks = []
        for lane, rows in piece.lanes:
            count = rows.stop - rows.start
            parts = max(1, -(-count * self._products // _LARGE))
            cuts = [rows.start + count * part // parts for part in range(parts + 1)]
            blocks += [partial(multiply, lane, slice(*ends)) for ends in pairwise(cuts)]
        in_threads(blocks, are_small=len(blocks) <= len(piece.lanes))

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Take a product for each lane: how it rounds depends on that lane's examples alone."""
        inputs = inputs.contiguous()
        outputs = inputs.new_empty(len(inputs), self._outputs)
        bias = parameters.get("bias")

        def multiply(lane: int, rows: slice) -> None:
            weight = parameters["weight"][lane].T
            if bias is None:
                torch.mm(inputs[rows], weight, out=outputs[rows])
            else:
                torch.addmm(bias[lane], inputs[rows], weight, out=outputs[rows])

        self._in_blocks(multiply, piece)
        return outputs, inputs

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Multiply back, lane by lane."""
        back = None
        if goes_on:
            sent = back = torch.empty_like(kept)

            def multiply(lane: int, rows: slice) -> None:
                torch.mm(errors[rows], parameters["weight"][lane], out=sent[rows])

            self._in_blocks(multiply, piece)
        return back, _OuterParts(kept, errors, "bias" in parameters)

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
            norms = norms + 1 if order == 1 else norms.hypot(torch.ones_like(norms))
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
