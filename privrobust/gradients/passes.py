"""Forward and backward passes of single layers, as a chain of layers takes them.

A pass sees some examples of some lanes, one after the other and unpadded. It returns what the next
layer takes, and keeps what it needs to send the loss's gradients back, and to find from them the
gradients of its parameters for each example (`Parts`). Nothing is kept from call to call.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privrobust.core.threads import in_threads
from privrobust.gradients.summation import add_up, longest
from privrobust.kernels import images, row_sums

# Products of two numbers that are worth a thread's while: a tenth of a millisecond.
_LARGE = 1 << 23

# Numbers that are unfolded together: they stay in a core's own cache.
_UNFOLDED = 1 << 18


class Piece(NamedTuple):
    """Some examples, of whole workers."""

    lanes: list[tuple[int, slice]]
    """Which lanes they are of, and which of them are each one's."""
    starts: Tensor
    """Where each worker's begin, and the last one's end: int64 `(workers + 1,)`"""
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

    @abstractmethod
    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Return outputs `(examples, ...)`, and what `backward` is to be given.

        Args:
            inputs: `(examples, ...)`.
            parameters: the layer's own by name, `(lanes, *parameter)`.
            piece: which examples they are.

        """

    @abstractmethod
    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
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
        _sum_outer_products(errors, self._inputs, piece, out[0])
        if self._has_bias:
            _sum_rows(factors, self._errors, piece, out[1])

    def without(self, dropped: Tensor) -> Parts:
        """Replace both factors."""
        dropped = dropped.unsqueeze(1)
        inputs, errors = (part.masked_fill(dropped, 0.0) for part in (self._inputs, self._errors))
        return _OuterParts(inputs, errors, self._has_bias)


class Convolution(Pass):
    """A convolution of images, channels last, as products with what lies under its window."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._window = images.Window(_pair(layer.kernel_size), _pair(layer.stride),
                                     _pair(layer.dilation))  # fmt: skip
        self._outputs = layer.out_channels
        self._sides = _sides(layer)

    @classmethod
    def takes(cls, layer: nn.Conv2d, shape: torch.Size) -> bool:
        """Tell whether it is one, and forming gradients is the best way (`gradients.factors`)."""
        if layer.groups != 1 or (layer.padding_mode != "zeros" and any(map(any, _sides(layer)))):
            return False
        made = cls(layer)
        window, high, wide = made._seen(shape)
        return window * made._outputs <= 2 * high * wide * (window + made._outputs)

    def _seen(self, shape: torch.Size) -> tuple[int, int, int]:
        """Return how many numbers lie under the window, and at how many places."""
        channels, height, width = shape
        (up, down), (left, right) = self._sides
        places = self._window.places(height + up + down, width + left + right)
        return channels * self._window.size[0] * self._window.size[1], *places

    def _padded(self, pixels: Tensor, sign: int = 1) -> Tensor:
        """Pad images, channels last, or with sign -1 cut off what was padded."""
        (up, down), (left, right) = self._sides
        if not (up or down or left or right):
            return pixels
        return F.pad(pixels, [sign * side for side in (0, 0, left, right, up, down)])

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Unfold so many examples at a time that they stay in the cache, and multiply."""
        padded = self._padded(inputs.permute(0, 2, 3, 1)).contiguous()
        window, high, wide = self._seen(inputs.shape[1:])
        outputs = inputs.new_empty(len(inputs), high * wide, self._outputs)
        at_once = max(1, _UNFOLDED // (high * wide * window))
        for lane, rows in piece.lanes:
            weight = _matrix(parameters["weight"][lane]).T.contiguous()
            for start in range(rows.start, rows.stop, at_once):
                some = slice(start, min(start + at_once, rows.stop))
                patches, into = images.unfold(padded[some], self._window), outputs[some]
                torch.mm(patches.flatten(0, 1), weight, out=into.flatten(0, 1))
                if "bias" in parameters:  # sooner than as a part of the product
                    into.add_(parameters["bias"][lane])
        return outputs.view(-1, high, wide, self._outputs).permute(0, 3, 1, 2), padded

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Form the gradient of each example, and multiply back."""
        errors = errors.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        count, places, outputs = errors.shape
        weight = parameters["weight"]
        window = weight[0, 0].numel()
        formed = errors.new_empty(count, outputs, window)
        back = torch.empty_like(kept) if goes_on else None
        at_once = max(1, _UNFOLDED // (places * window))
        for lane, rows in piece.lanes:
            matrix = _matrix(weight[lane])
            for start in range(rows.start, rows.stop, at_once):
                some = slice(start, min(start + at_once, rows.stop))
                patches = images.unfold(kept[some], self._window)
                torch.bmm(errors[some].mT, patches, out=formed[some])
                if back is not None:
                    sent = errors[some].flatten(0, 1) @ matrix
                    images.fold(sent, back[some], self._window)
        if back is not None:
            back = self._padded(back, -1).permute(0, 3, 1, 2)
        biases = errors.sum(1) if "bias" in parameters else None
        return back, _FormedParts(formed.flatten(1), biases, self._window.size)

    def width(self, shape: torch.Size) -> int:
        """Count outputs, and the gradient that is formed."""
        window, high, wide = self._seen(shape)
        return self._outputs * (high * wide + window)


def _matrix(weight: Tensor) -> Tensor:
    """Order the numbers of a kernel as those under the window, `(outputs, window * channels)`."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


class _FormedParts(Parts):
    """Gradients of a kernel as they are, `(examples, outputs * window * channels)`."""

    def __init__(self, weights: Tensor, biases: Tensor | None, size: tuple[int, int]) -> None:
        self._weights, self._biases, self._size = weights, biases, size

    def norms(self, order: int) -> Tensor:
        """Measure each example's numbers."""
        norms = row_sums.row_norms(self._weights, order)
        if self._biases is None:
            return norms
        biases = row_sums.row_norms(self._biases, order)
        return norms + biases if order == 1 else norms.hypot(biases)

    def sums(self, factors: Tensor, piece: Piece, out: Sequence[Tensor]) -> None:
        """Sum in the order of the window, and put channels back before it."""
        weight = out[0]
        groups, outputs, channels, *_ = weight.shape
        total = weight.new_empty(groups, self._weights.shape[1])
        _sum_rows(factors, self._weights, piece, total)
        weight.copy_(total.view(groups, outputs, *self._size, channels).permute(0, 1, 4, 2, 3))
        if self._biases is not None:
            _sum_rows(factors, self._biases, piece, out[1])

    def without(self, dropped: Tensor) -> Parts:
        """Replace their numbers."""
        dropped = dropped.unsqueeze(1)
        biases = None if self._biases is None else self._biases.masked_fill(dropped, 0.0)
        return _FormedParts(self._weights.masked_fill(dropped, 0.0), biases, self._size)


class Flattening(Pass):
    """Examples as vectors."""

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Flatten, channels before pixels."""
        return inputs.flatten(1), inputs.shape

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Give gradients the shape that inputs had."""
        return errors.view(kept), None


class Rectifier(Pass):
    """Rectified units."""

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Rectify."""
        outputs = inputs.relu()
        return outputs, outputs

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Let through what goes to positive numbers."""
        return torch.ops.aten.threshold_backward(errors, kept, 0), None


class MaxPooling(Pass):
    """The largest number under a window, channels last."""

    def __init__(self, layer: nn.MaxPool2d) -> None:
        self._window = images.Window(_pair(layer.kernel_size), _pair(layer.stride))

    @staticmethod
    def takes(layer: nn.MaxPool2d) -> bool:
        """Tell whether it is one without padding, gaps and rounding up."""
        rows, columns = _pair(layer.kernel_size)
        return (
            _pair(layer.padding) == (0, 0)
            and _pair(layer.dilation) == (1, 1)
            and not layer.ceil_mode
            and not layer.return_indices
            and rows * columns <= images.MOST_PLACES
        )

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Pool, and keep which numbers were largest."""
        pixels = inputs.permute(0, 2, 3, 1).contiguous()
        largest, which = images.max_pool(pixels, self._window)
        return largest.permute(0, 3, 1, 2), (which, pixels.shape)

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Send gradients to the largest."""
        errors = errors.permute(0, 2, 3, 1).contiguous()
        return images.max_unpool(errors, *kept, self._window).permute(0, 3, 1, 2), None


class Plain(Pass):
    """A layer without parameters, called and differentiated by torch."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def forward(self, inputs: Tensor, parameters: dict[str, Tensor], piece: Piece) -> Any:
        """Call it."""
        inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            outputs = self._layer(inputs)
        return outputs.detach(), (inputs, outputs)

    def backward(
        self, kept: Any, errors: Tensor, parameters: dict[str, Tensor], piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Differentiate a number whose gradient by the outputs is that of the loss."""
        inputs, outputs = kept
        with torch.enable_grad():
            (back,) = torch.autograd.grad((outputs * errors).sum(), [inputs])
        return back, None


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple) else (value, value)
    return first, second


def _sides(layer: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how much is padded above and below, and left and right."""
    if layer.padding == "valid":
        return (0, 0), (0, 0)
    if layer.padding == "same":
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        high, wide = ((span // 2, span - span // 2) for span in spans)
        return high, wide
    high, wide = _pair(layer.padding)
    return (high, high), (wide, wide)


def _sum_rows(factors: Tensor, rows: Tensor, piece: Piece, out: Tensor) -> None:
    _sum_outer_products(factors.unsqueeze(1), rows, piece, out.unsqueeze(1))


def _sum_outer_products(left: Tensor, right: Tensor, piece: Piece, out: Tensor) -> None:
    """Sum as `row_sums` does, cut into pieces where rounding would be too large."""
    at_once = longest(max(1, piece.most))
    if piece.most <= at_once:
        row_sums.sum_outer_products(left, right, piece.starts, out)
        return

    def part(start: int, last: int) -> Tensor:
        ends = torch.tensor([start, min(start + at_once, last)])
        total = torch.empty_like(out[:1])
        row_sums.sum_outer_products(left, right, ends, total)
        return total

    for group, (first, last) in enumerate(pairwise(piece.starts.tolist())):
        parts = (part(start, last) for start in range(first, last, at_once))
        add_up(parts, out[group : group + 1])
