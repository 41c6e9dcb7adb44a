"""Passes of convolutions and pooling, on images with channels last."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privrobust.gradients.passes import Parts, Pass, Piece, both, sum_rows
from privrobust.kernels import images, matrix_products, row_sums

# Numbers that are unfolded together: they stay in a core's own cache.
_UNFOLDED = 1 << 18

# Places in memory that are tried: numbers of a cache line.
_TRIALS = 16


class Convolution(Pass):
    """A convolution of images, channels last, as products with what lies under its window.

    How torch rounds a product depends on how many rows it has. As lanes have whole blocks, which
    are cut into equal parts, what is found of an example does not depend on those beside it. On
    some processors it depends on where in a block an example stands, too: where it does, products
    are ours (`_Products`).
    """

    block = 8

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
        if not images.is_short(made._window, shape[0]):
            return False
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

    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Unfold so many examples at a time that they stay in the cache, and multiply."""
        padded = self._padded(inputs.permute(0, 2, 3, 1)).contiguous()
        window, high, wide = self._seen(inputs.shape[1:])
        outputs = inputs.new_empty(len(inputs), high * wide, self._outputs)
        at_once = _at_once(high * wide * window)
        products = _Products.of(at_once, high * wide, window, self._outputs, inputs.dtype)
        for lane, rows in piece.lanes:
            weight = _matrix(parameters["weight"][lane]).T.contiguous()
            for start in range(rows.start, rows.stop, at_once):
                some = slice(start, start + at_once)
                patches, into = images.unfold(padded[some], self._window), outputs[some]
                products.rows(patches, weight, into)
                if "bias" in parameters:  # sooner than as a part of the product
                    into.add_(parameters["bias"][lane])
        return outputs.view(-1, high, wide, self._outputs).permute(0, 3, 1, 2), padded

    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Form the gradient of each example, and multiply back."""
        errors = errors.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        count, places, outputs = errors.shape
        weight = parameters["weight"]
        window = weight[0, 0].numel()
        formed = errors.new_empty(count, outputs, window)
        back = torch.empty_like(kept) if goes_on else None
        at_once = _at_once(places * window)
        products = _Products.of(at_once, places, window, outputs, errors.dtype)
        for lane, rows in piece.lanes:
            matrix = _matrix(weight[lane])
            for start in range(rows.start, rows.stop, at_once):
                some = slice(start, start + at_once)
                patches = images.unfold(kept[some], self._window)
                products.of_examples(errors[some], patches, formed[some])
                if back is not None:
                    products.rows(errors[some], matrix, patches)
                    images.fold(patches, back[some], self._window)
        if back is not None:
            back = self._padded(back, -1).permute(0, 3, 1, 2)
        biases = errors.sum(1) if "bias" in parameters else None
        return back, _FormedParts(formed.flatten(1), biases, self._window.size)

    def width(self, shape: torch.Size) -> int:
        """Count outputs, and the gradient that is formed."""
        window, high, wide = self._seen(shape)
        return self._outputs * (high * wide + window)


class _Products:
    """Products of a block of examples, in which each has the bits that it has alone."""

    def rows(self, block: Tensor, matrix: Tensor, out: Tensor) -> None:
        """Multiply rows `(examples, places, k)` with `(k, m)`."""
        torch.mm(block.flatten(0, 1), matrix, out=out.flatten(0, 1))

    def of_examples(self, errors: Tensor, patches: Tensor, out: Tensor) -> None:
        """Multiply `(examples, places, outputs)`, turned, with `(examples, places, window)`."""
        torch.bmm(errors.mT, patches, out=out)

    @staticmethod
    @cache
    def of(block: int, places: int, window: int, outputs: int, kind: torch.dtype) -> "_Products":
        """Return torch's where they keep examples apart, as trials show, and ours elsewhere."""
        draw = torch.Generator().manual_seed(0)
        patches, errors, weight = (
            torch.randn(shape, generator=draw, dtype=kind)
            for shape in (
                (block, places, window),
                (block, places, outputs),
                (window, outputs),
            )
        )
        found = [_tried(patches, errors, weight, turned) for turned in range(_TRIALS)]
        alike = all(
            torch.equal(*pair) for made in found for pair in zip(made, found[0], strict=True)
        )
        return _Products() if alike else _OwnProducts()


class _OwnProducts(_Products):
    """Those of `privrobust.kernels.matrix_products`, of which a row's depends on it alone."""

    def rows(self, block: Tensor, matrix: Tensor, out: Tensor) -> None:
        """Multiply rows with one matrix."""
        rows = block.flatten(0, 1)
        made = matrix_products.multiply(
            rows, matrix_products.pack(matrix.unsqueeze(0)), [(0, slice(0, len(rows)))]
        )
        out.copy_(made.view_as(out))

    def of_examples(self, errors: Tensor, patches: Tensor, out: Tensor) -> None:
        """Multiply those of each example with its own matrix."""
        examples, _, outputs = errors.shape
        groups = [(i, slice(i * outputs, (i + 1) * outputs)) for i in range(examples)]
        rows = errors.mT.flatten(0, 1)
        out.copy_(
            matrix_products.multiply(rows, matrix_products.pack(patches), groups).view_as(out)
        )


def _tried(patches: Tensor, errors: Tensor, weight: Tensor, turned: int) -> list[Tensor]:
    """Return torch's products of a block, turned by so many places and back, and moved by as many.

    Where a number of them lies in memory decides how some round.
    """

    def moved(block: Tensor) -> Tensor:
        spare = block.new_empty(block.numel() + turned)[turned:].view(block.shape)
        return spare.copy_(block.roll(turned, 0))

    patches, errors = moved(patches), moved(errors)
    made = [torch.empty_like(errors), torch.empty_like(patches)]
    made = [moved(each) for each in made]
    formed = moved(patches.new_empty(len(patches), errors.shape[2], patches.shape[2]))
    products = _Products()
    products.rows(patches, weight, made[0])
    products.rows(errors, weight.T.contiguous(), made[1])
    products.of_examples(errors, patches, formed)
    return [each.roll(-turned, 0) for each in (*made, formed)]


def _at_once(numbers: int) -> int:
    """Return of how many images to unfold so many numbers each together; it divides a block."""
    return 1 << max(0, min(Convolution.block, _UNFOLDED // numbers).bit_length() - 1)


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
        return both(norms, row_sums.row_norms(self._biases, order), order)

    def sums(self, factors: Tensor, piece: Piece, out: Sequence[Tensor]) -> None:
        """Sum in the order of the window, and put channels back before it."""
        weight = out[0]
        groups, outputs, channels, *_ = weight.shape
        total = weight.new_empty(groups, self._weights.shape[1])
        sum_rows(factors, self._weights, piece, total)
        weight.copy_(total.view(groups, outputs, *self._size, channels).permute(0, 1, 4, 2, 3))
        if self._biases is not None:
            sum_rows(factors, self._biases, piece, out[1])

    def without(self, dropped: Tensor) -> Parts:
        """Replace their numbers."""
        dropped = dropped.unsqueeze(1)
        biases = None if self._biases is None else self._biases.masked_fill(dropped, 0.0)
        return _FormedParts(self._weights.masked_fill(dropped, 0.0), biases, self._size)


class MaxPooling(Pass):
    """The largest number under a window, channels last."""

    def __init__(self, layer: nn.MaxPool2d) -> None:
        self._window = images.Window(_pair(layer.kernel_size), _pair(layer.stride))

    @staticmethod
    def takes(layer: nn.MaxPool2d, shape: torch.Size) -> bool:
        """Tell whether it is one without padding, gaps and rounding up."""
        rows, columns = _pair(layer.kernel_size)
        return (
            _pair(layer.padding) == (0, 0)
            and _pair(layer.dilation) == (1, 1)
            and not layer.ceil_mode
            and not layer.return_indices
            and images.is_short(images.Window((rows, columns), (1, 1), (2, 2)), shape[0])
        )

    def forward(self, inputs: Tensor, parameters: Any, piece: Piece) -> Any:
        """Pool, and keep which numbers were largest."""
        pixels = inputs.permute(0, 2, 3, 1).contiguous()
        largest, which = images.max_pool(pixels, self._window)
        return largest.permute(0, 3, 1, 2), (which, pixels.shape)

    def backward(
        self, kept: Any, errors: Tensor, parameters: Any, piece: Piece, goes_on: bool
    ) -> tuple[Tensor | None, Parts | None]:
        """Send gradients to the largest."""
        errors = errors.permute(0, 2, 3, 1).contiguous()
        which, shape = kept
        return images.max_unpool(errors, which, shape, self._window).permute(0, 3, 1, 2), None


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple) else (value, value)
    return first, second


def _sides(layer: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how much is padded above and below, and left and right."""
    if layer.padding == "valid":
        return (0, 0), (0, 0)
    if layer.padding == "same":
        high, wide = (d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        return (high // 2, high - high // 2), (wide // 2, wide - wide // 2)
    up, left = _pair(layer.padding)
    return (up, up), (left, left)
