"""Forward and backward passes of single layers, as a chain of layers takes them.

A pass sees some examples of some lanes, one after the other and unpadded. It returns what the next
layer takes, and keeps what it needs to send the loss's gradients back, and to find from them the
gradients of its parameters for each example (`Parts`). Nothing is kept from call to call.

Here are passes of layers without parameters; `dense_passes` and `image_passes` have the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from privrobust.gradients.summation import add_up, longest
from privrobust.kernels import outer_products, row_sums

# Numbers of some vectors, whose multiples torch's loops take without a rest.
_VECTORS = 64


class Piece(NamedTuple):
    """Some examples, of whole workers; each lane's are filled up to whole blocks (`Pass.block`)."""

    lanes: list[tuple[int, slice]]
    """Which lanes they are of, and which of them are each one's."""
    bounds: Tensor
    """Where each worker's begin and end: int64 `(workers, 2)`"""
    most: int
    """How many the largest batch of a worker has."""


class Parts(ABC):
    """The gradients of a layer's parameters, of each example."""

    @abstractmethod
    def norms(self, order: int) -> Tensor:
        """Measure the L2 or L1 norm of each, `(examples,)`, float64."""

    @abstractmethod
    def sums(self, factors: Tensor, piece: Piece, out: Sequence[Tensor]) -> None:
        """Write the sum over each worker's examples of `factor * gradient`.

        Args:
            factors: `(examples,)`, float64.
            piece: which examples they are.
            out: `(workers, *parameter)` for each parameter, float64.

        """

    @abstractmethod
    def without(self, dropped: Tensor) -> "Parts":
        """Return them with zeros in place of those of these examples, `(examples,)`."""


class Pass(ABC):
    """How one layer is called, and how gradients go back through it."""

    block = 1
    """Of how many examples each lane is to have a multiple."""

    def prepared(self, parameters: dict[str, Tensor]) -> Any:
        """Return parameters as its passes over all pieces take them.

        Args:
            parameters: the layer's own by name, `(lanes, *parameter)`.

        """
        return parameters

    @abstractmethod
    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Return outputs `(examples, ...)`, and what `backward` is to be given.

        Args:
            inputs: `(examples, ...)`.
            parameters: as `prepared`.
            piece: which examples they are.

        """

    @abstractmethod
    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Return the loss's gradients by the inputs, if the pass `goes_on`, and its `Parts`.

        Args:
            kept: of `forward`.
            errors: the loss's gradients by the outputs.
            parameters: as of `forward`.
            piece: as of `forward`.
            goes_on: whether a layer before this one has parameters.

        """

    def width(self, shape: torch.Size) -> int:
        """Count the numbers that it holds for an input of that shape, outputs included."""
        return 0


class Flattening(Pass):
    """Examples as vectors."""

    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Flatten, channels before pixels."""
        return inputs.flatten(1), inputs.shape

    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Give gradients the shape that inputs had."""
        return errors.view(kept), None


class Rectifier(Pass):
    """Rectified units."""

    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Rectify."""
        outputs = inputs.relu()
        return outputs, outputs

    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Let through what goes to positive numbers."""
        return torch.ops.aten.threshold_backward(errors, kept, 0), None


class Plain(Pass):
    """A layer without parameters, called and differentiated by torch."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Call it."""
        count = len(inputs)
        inputs = in_whole_vectors(inputs.detach()).requires_grad_()
        with torch.enable_grad():
            outputs = self._layer(inputs)
        return outputs.detach()[:count], (inputs, outputs)

    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Differentiate a number whose gradient by the outputs is that of the loss."""
        inputs, outputs = kept
        count = len(errors)
        with torch.enable_grad():
            total = (outputs * in_whole_vectors(errors)).sum()
            (back,) = torch.autograd.grad(total, [inputs])
        return back[:count], None


def in_whole_vectors(values: Tensor) -> Tensor:
    """Fill examples up with zeros, so that torch's loops over numbers end with a whole vector.

    They round what is left of one by other code: an example's numbers would depend on its place.
    """
    missing = -len(values) % _VECTORS
    if not missing:
        return values.clone()
    return torch.cat([values, values.new_zeros(missing, *values.shape[1:])])


def both(some: Tensor, others: Tensor, order: int) -> Tensor:
    """Join norms of two parts of a vector; `torch.hypot` rounds by a number's place."""
    return some + others if order == 1 else (some.square() + others.square()).sqrt_()


def sum_rows(factors: Tensor, rows: Tensor, piece: Piece, out: Tensor) -> None:
    """Write the sum of `factor * row` for each worker, `(workers, numbers)`."""
    _in_short_sums(partial(row_sums.sum_rows, factors, rows), piece, out)


def sum_outer_products(
    left: Tensor, right: Tensor, factors: Tensor, piece: Piece, out: Tensor
) -> None:
    """Write the sum of `factor * left right^T` for each worker, `(workers, p, d)`."""
    _in_short_sums(partial(outer_products.sum_outer_products, left, right, factors), piece, out)


def _in_short_sums(add: Callable[[Tensor, Tensor], None], piece: Piece, out: Tensor) -> None:
    """Sum, cut into pieces where rounding would be too large.

    Args:
        add: writes sums, by where they begin and end, to what it is given.
        piece: which examples they are of.
        out: `(workers, ...)`.

    """
    at_once = longest(max(1, piece.most))
    if piece.most <= at_once:
        add(piece.bounds, out)
        return

    def part(start: int, last: int) -> Tensor:
        total = torch.empty_like(out[:1])
        add(torch.tensor([[start, min(start + at_once, last)]]), total)
        return total

    for group, (first, last) in enumerate(piece.bounds.tolist()):
        parts = (part(start, last) for start in range(first, last, at_once))
        add_up(parts, out[group : group + 1])
