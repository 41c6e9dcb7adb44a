"""What convolutions and pooling do besides matrix products, on images with channels last.

Images are `(images, height, width, channels)`: what a kernel covers of a row is then one piece of
memory, which is copied whole, and the channels of a pixel are pooled side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.kernels.loops import WHOLE, Value, Writer, of_type, zero
from privrobust.kernels.machine_code import INTEGER, POINTER, function

if TYPE_CHECKING:
    from torch import Tensor

_WIDTH = 16
_BYTE = ir.IntType(8)
MOST_PLACES = 127
"""Of a window that is pooled: which of them was largest is kept in a byte."""


class Window(NamedTuple):
    """What is laid over an image: height before width."""

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Return at how many heights and widths it lies within the image."""
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.size, strict=True))
        high, wide = (
            (length - span) // step + 1
            for length, span, step in zip((height, width), spans, self.stride, strict=True)
        )
        return high, wide


def unfold(images: Tensor, window: Window) -> Tensor:
    """Return what lies under the window at each place, `(images, places, window * channels)`."""
    count, *shape, channels = images.shape
    places = window.places(*shape)
    patches = images.new_empty(count, math.prod(places), math.prod(window.size) * channels)
    copy = _patches(images.dtype, _Geometry(*shape, channels, places, window), adds=False)
    copy(images.data_ptr(), patches.data_ptr(), count)
    return patches


def fold(patches: Tensor, images: Tensor, window: Window) -> None:
    """Make images sums of the patches that `unfold` would have taken from there; both contiguous.

    Args:
        patches: `(images, places, window * channels)`, or these in any shape.
        images: what is written.
        window: it was laid over them.

    """
    count, *shape, channels = images.shape
    geometry = _Geometry(*shape, channels, window.places(*shape), window)
    add = _patches(images.dtype, geometry, adds=True)
    add(images.zero_().data_ptr(), patches.data_ptr(), count)


def max_pool(images: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Return the largest of each window, `(images, places, channels)`, and which it was, int8.

    NaN is larger than any, and of equal ones the first counts, as in torch.
    """
    count, height, width, channels = images.shape
    places = window.places(height, width)
    largest = images.new_empty(count, *places, channels)
    which = torch.empty(largest.shape, dtype=torch.int8)
    pool = _pool(images.dtype, _Geometry(height, width, channels, places, window))
    pool(images.data_ptr(), largest.data_ptr(), which.data_ptr(), count)
    return largest, which


def max_unpool(errors: Tensor, which: Tensor, shape: torch.Size, window: Window) -> Tensor:
    """Return images of that shape to which each number is added where `max_pool` found it."""
    images = errors.new_zeros(shape)
    geometry = _Geometry(*shape[1:], (errors.shape[1], errors.shape[2]), window)
    _unpool(images.dtype, geometry)(
        images.data_ptr(), errors.data_ptr(), which.data_ptr(), shape[0]
    )
    return images


class _Geometry(NamedTuple):
    """What the code of a kernel is made for."""

    height: int
    width: int
    channels: int
    places: tuple[int, int]
    window: Window


class _Loops:
    """Loops over images, places and what lies under the window."""

    def __init__(self, name: str, arguments: list[ir.Type], geometry: _Geometry) -> None:
        self.write = Writer(name, [*arguments, WHOLE])
        *self.arguments, self._count = self.write.arguments
        self._is = geometry

    @contextmanager
    def places(self) -> Iterator[tuple[Value, Value]]:
        """Write what follows for every place: its number, and the first pixel there."""
        write, is_ = self.write, self._is
        (high, wide), (down, right) = is_.places, is_.window.stride
        build = write.builder
        with (
            write.counted(WHOLE(0), self._count) as (image, *_),
            write.counted(WHOLE(0), WHOLE(high)) as (y, *_),
            write.counted(WHOLE(0), WHOLE(wide)) as (x, *_),
        ):
            row = build.add(build.mul(image, WHOLE(high)), y)
            number = build.add(build.mul(row, WHOLE(wide)), x)
            row = build.add(build.mul(image, WHOLE(is_.height)), build.mul(y, WHOLE(down)))
            first = build.add(build.mul(row, WHOLE(is_.width)), build.mul(x, WHOLE(right)))
            yield number, build.mul(first, WHOLE(is_.channels))

    def under(self, row: int, column: int) -> Value:
        """Return how far a pixel under the window is from the first."""
        down, right = self._is.window.dilation
        return WHOLE((row * down * self._is.width + column * right) * self._is.channels)

    def pixels(self) -> list[Value]:
        """Return `under` of all, row by row."""
        rows, columns = self._is.window.size
        return [self.under(row, column) for row in range(rows) for column in range(columns)]

    def compiled(self) -> Any:
        """Compile what was written."""
        pointers = [POINTER] * len(self.arguments)
        return function(self.write.source(), self.write.name, *pointers, INTEGER)


@cache
def _patches(kind: torch.dtype, geometry: _Geometry, adds: bool) -> Any:
    """Copy runs of neighbours from images to patches, or add them the other way."""
    of = of_type(kind).as_pointer()
    loops = _Loops("patches", [of, of], geometry)
    write, (images, patches) = loops.write, loops.arguments
    (rows, columns), channels = geometry.window.size, geometry.channels
    # what lies side by side in a row of the window is one run, unless there are gaps between
    is_whole = geometry.window.dilation[1] == 1
    runs, length = (1, columns * channels) if is_whole else (columns, channels)
    with loops.places() as (number, first):
        patch = write.at(patches, (number, WHOLE(rows * columns * channels)))
        corner = write.at(images, first)
        for run in range(rows * runs):
            pixel = write.at(corner, loops.under(*divmod(run, runs)))
            part = write.at(patch, WHOLE(run * length))

            write.spans(length, _WIDTH, partial(_copy, write, pixel, part, adds))
    return loops.compiled()


def _copy(write: Writer, pixel: Value, part: Value, adds: bool, start: Value, width: int) -> None:
    inside, outside = write.at(pixel, start), write.at(part, start)
    if adds:
        total = write.builder.fadd(write.load(inside, width), write.load(outside, width))
        write.store(total, inside)
    else:
        write.store(write.load(inside, width), outside)


@cache
def _pool(kind: torch.dtype, geometry: _Geometry) -> Any:
    of = of_type(kind).as_pointer()
    loops = _Loops("pool", [of, of, _BYTE.as_pointer()], geometry)
    write, (images, largest, which) = loops.write, loops.arguments
    build = write.builder
    with loops.places() as (number, first):
        place = build.mul(number, WHOLE(geometry.channels))

        def pool(start: Value, width: int) -> None:
            most = found = None
            for here, pixel in enumerate(loops.pixels()):
                value = write.load(write.at(images, first, pixel, start), width)
                this = write.everywhere(_BYTE(here), width)
                if most is None:
                    most, found = value, this
                    continue
                is_larger = build.or_(
                    build.fcmp_ordered(">", value, most), build.fcmp_unordered("uno", value, value)
                )
                most = build.select(is_larger, value, most)
                found = build.select(is_larger, this, found)
            write.store(most, write.at(largest, place, start))
            write.store(found, write.at(which, place, start))

        write.spans(geometry.channels, _WIDTH, pool)
    return loops.compiled()


@cache
def _unpool(kind: torch.dtype, geometry: _Geometry) -> Any:
    of = of_type(kind)
    loops = _Loops("unpool", [of.as_pointer(), of.as_pointer(), _BYTE.as_pointer()], geometry)
    write, (images, errors, which) = loops.write, loops.arguments
    build = write.builder
    with loops.places() as (number, first):
        place = build.mul(number, WHOLE(geometry.channels))

        def unpool(start: Value, width: int) -> None:
            error = write.load(write.at(errors, place, start), width)
            found = write.load(write.at(which, place, start), width)
            for here, pixel in enumerate(loops.pixels()):
                is_here = build.icmp_signed("==", found, write.everywhere(_BYTE(here), width))
                into = write.at(images, first, pixel, start)
                added = build.select(is_here, error, zero(of, width))
                write.store(build.fadd(write.load(into, width), added), into)

        write.spans(geometry.channels, _WIDTH, unpool)
    return loops.compiled()
