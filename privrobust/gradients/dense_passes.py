"""Passes of linear layers, of which gradients stay factors: `e a^T`."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from privrobust.gradients.passes import Parts, Pass, Piece, sum_outer_products, sum_rows
from privrobust.kernels import matrix_products, row_sums


class Affine(Pass):
    """A linear layer on vectors."""

    def __init__(self, layer: nn.Linear) -> None:
        self._outputs = layer.out_features

    def prepared(self, parameters: dict[str, Tensor]) -> "_Matrices":
        """Pack them when they are first asked for."""
        return _Matrices(parameters["weight"], parameters.get("bias"))

    def forward(self, inputs: Tensor, parameters: "_Matrices", piece: Piece) -> Any:
        """Multiply with the weights of each lane."""
        return matrix_products.multiply(inputs, parameters.forth, piece.lanes), inputs

    def backward(
        self, kept: Any, errors: Tensor, parameters: "_Matrices", piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Multiply back."""
        back = None
        if goes_on:
            back = matrix_products.multiply(errors, parameters.back, piece.lanes)
        return back, _OuterParts(kept, errors, parameters.bias is not None)

    def width(self, shape: torch.Size) -> int:
        """Count outputs."""
        return self._outputs


class _Matrices:
    """The weights of all lanes, as they are multiplied with; that two threads pack them is rare."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self.bias = weight, bias

    @cached_property
    def forth(self) -> matrix_products.Packed:
        """From inputs to outputs."""
        return matrix_products.pack(self._weight.mT, self.bias)

    @cached_property
    def back(self) -> matrix_products.Packed:
        """From gradients by outputs to those by inputs."""
        return matrix_products.pack(self._weight)


class _OuterParts(Parts):
    """`e a^T`, and e for the bias (Goodfellow 2015)."""

    def __init__(self, inputs: Tensor, errors: Tensor, has_bias: bool) -> None:
        self._inputs, self._errors, self._has_bias = inputs, errors, has_bias

    def norms(self, order: int) -> Tensor:
        """Multiply `|e| |(a, 1)|`, without the 1 if there is no bias."""
        norms = row_sums.row_norms(self._inputs, order, beside=int(self._has_bias))
        return norms.mul_(row_sums.row_norms(self._errors, order))

    def sums(self, factors: Tensor, piece: Piece, out: Sequence[Tensor]) -> None:
        """Sum outer products."""
        sum_outer_products(self._errors, self._inputs, factors, piece, out[0])
        if self._has_bias:
            sum_rows(factors, self._errors, piece, out[1])

    def without(self, dropped: Tensor) -> Parts:
        """Replace both factors."""
        dropped = dropped.unsqueeze(1)
        inputs, errors = (part.masked_fill(dropped, 0.0) for part in (self._inputs, self._errors))
        return _OuterParts(inputs, errors, self._has_bias)
