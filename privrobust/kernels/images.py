"""What convolutions and pooling do besides matrix products, on images with channels last.

Images are `(images, height, width, channels)`: what a kernel covers of a row is then one piece of
memory, which is copied whole, and the channels of a pixel are pooled side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from llvmlite import ir

from privrobust.core.lazy_imports import torch
from privrobust.kernels.machine_code import INTEGER, POINTER, function
from privrobust.kernels.writing import INDEX, Numbers, Writer, kind_of, type_of

if TYPE_CHECKING:
    from torch import Tensor

_WIDTH = 16
_UNROLLED = 8  # vectors of a row that are written one after the other
_BYTE = ir.IntType(8)
# Of a window: its places are counted in a byte, and more vectors would take seconds
# to compile.
_MOST_PLACES, _MOST_VECTORS = 127, 512


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


def is_short(window: Window, channels: int) -> bool:
    """Tell whether the code of a window is short enough to compile."""
    rows, columns = window.size
    is_whole = window.dilation[1] == 1
    runs, length = (rows, columns * channels) if is_whole else (rows * columns, channels)
    vectors = runs * min(_UNROLLED + 4, -(-length // _WIDTH) + 3)
    return rows * columns <= _MOST_PLACES and vectors <= _MOST_VECTORS


def unfold(images: Tensor, window: Window) -> Tensor:
    """Return what lies under the window at each place, `(images, places, window * channels)`."""
    count, height, width, channels = images.shape
    places = window.places(height, width)
    patches = images.new_empty(count, math.prod(places), math.prod(window.size) * channels)
    geometry = _Geometry(height, width, channels, places, window)
    copy = _patches(images.dtype, geometry, adds=False)
    copy(images.data_ptr(), patches.data_ptr(), count)
    return patches


def fold(patches: Tensor, images: Tensor, window: Window) -> None:
    """Make images sums of the patches that `unfold` would have taken from there; both contiguous.

    Args:
        patches: `(images, places, window * channels)`, or these in any shape.
        images: what is written.
        window: it was laid over them.

    """
    count, height, width, channels = images.shape
    geometry = _Geometry(height, width, channels, window.places(height, width), window)
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
    _, height, width, channels = shape
    places = errors.shape[1], errors.shape[2]
    geometry = _Geometry(height, width, channels, places, window)
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
    """Loops over images, places and what lies under the window.

    Args:
        kinds: what lies where each argument points.
        geometry: what they are for.

    """

    def __init__(self, kinds: Sequence[Any], geometry: _Geometry) -> None:
        self._write = Writer(len(kinds), integers=1)
        *pointers, self._count = self._write.arguments
        self.arguments = list(map(partial(Numbers, self._write), pointers, kinds))
        self.builder, self.spread = self._write.builder, self._write.spread
        self._is = geometry

    @contextmanager
    def places(self) -> Iterator[tuple[Any, Any]]:
        """Write what follows for every place: its number, and where its first pixel begins."""
        build, is_ = self.builder, self._is
        (high, wide), (down, right) = is_.places, is_.window.stride
        with (
            self._write.counted(INDEX(0), self._count) as (image, *_),
            self._write.counted(INDEX(0), INDEX(high)) as (y, *_),
            self._write.counted(INDEX(0), INDEX(wide)) as (x, *_),
        ):
            row = build.add(build.mul(image, INDEX(high)), y)
            number = build.add(build.mul(row, INDEX(wide)), x)
            row = build.add(build.mul(image, INDEX(is_.height)), build.mul(y, INDEX(down)))
            first = build.add(build.mul(row, INDEX(is_.width)), build.mul(x, INDEX(right)))
            yield number, build.mul(first, INDEX(is_.channels))

    def under(self, row: int, column: int) -> Any:
        """Return how far a pixel under the window is from the first."""
        down, right = self._is.window.dilation
        return INDEX((row * down * self._is.width + column * right) * self._is.channels)

    def pixels(self) -> list[Any]:
        """Return `under` of all, row by row."""
        rows, columns = self._is.window.size
        return [self.under(row, column) for row in range(rows) for column in range(columns)]

    def spans(self, length: int, turn: Callable[[Any, int], None]) -> None:
        """Write `turn(start, width)` for parts of a row: vectors, and shorter ones for the rest."""
        start, width = 0, _WIDTH
        while start < length:
            turns = (length - start) // width
            stop = start + turns * width
            if turns > _UNROLLED:
                with self._write.counted(INDEX(start), INDEX(stop), width) as (place, *_):
                    turn(place, width)
            else:
                for place in range(start, stop, width):
                    turn(INDEX(place), width)
            start, width = stop, width // 2

    def compiled(self) -> Any:
        """Compile what was written."""
        pointers = [POINTER] * len(self.arguments)
        return function(self._write.source(), "kernel", *pointers, INTEGER)


@cache
def _patches(kind: torch.dtype, geometry: _Geometry, adds: bool) -> Any:
    """Copy runs of neighbours from images to patches, or add them the other way."""
    loops = _Loops([type_of(kind)] * 2, geometry)
    images, patches = loops.arguments
    (rows, columns), channels = geometry.window.size, geometry.channels
    # what lies side by side in a row of the window is one run, unless there are gaps between
    is_whole = geometry.window.dilation[1] == 1
    runs, length = (1, columns * channels) if is_whole else (columns, channels)
    with loops.places() as (number, first):
        patch = patches.at((number, INDEX(rows * columns * channels)))
        for run in range(rows * runs):
            pixel = images.at(first, loops.under(*divmod(run, runs)))
            loops.spans(length, partial(_copy, pixel, patch.at(INDEX(run * length)), adds))
    return loops.compiled()


def _copy(pixel: Numbers, part: Numbers, adds: bool, start: Any, width: int) -> None:
    inside, outside = pixel.at(start), part.at(start)
    if adds:
        inside.store(pixel.writer.builder.fadd(inside.load(width), outside.load(width)))
    else:
        outside.store(inside.load(width))


@cache
def _pool(kind: torch.dtype, geometry: _Geometry) -> Any:
    of = type_of(kind)
    loops = _Loops([of, of, _BYTE], geometry)
    images, largest, which = loops.arguments
    build = loops.builder
    with loops.places() as (number, first):
        place = number, INDEX(geometry.channels)

        def pool(start: Any, width: int) -> None:
            most, *others = (images.at(first, at, start).load(width) for at in loops.pixels())
            found = kind_of(_BYTE, width)(None)
            for here, value in enumerate(others, start=1):
                is_larger = build.or_(
                    build.fcmp_ordered(">", value, most), build.fcmp_unordered("uno", value, value)
                )
                most = build.select(is_larger, value, most)
                found = build.select(is_larger, loops.spread(_BYTE(here), width), found)
            largest.at(place, start).store(most)
            which.at(place, start).store(found)

        loops.spans(geometry.channels, pool)
    return loops.compiled()


@cache
def _unpool(kind: torch.dtype, geometry: _Geometry) -> Any:
    of = type_of(kind)
    loops = _Loops([of, of, _BYTE], geometry)
    images, errors, which = loops.arguments
    build = loops.builder
    with loops.places() as (number, first):
        place = number, INDEX(geometry.channels)

        def unpool(start: Any, width: int) -> None:
            error, found = (each.at(place, start).load(width) for each in (errors, which))
            nothing = kind_of(of, width)(None)
            for here, at in enumerate(loops.pixels()):
                is_here = build.icmp_signed("==", found, loops.spread(_BYTE(here), width))
                pixel = images.at(first, at, start)
                added = build.select(is_here, error, nothing)
                pixel.store(build.fadd(pixel.load(width), added))

        loops.spans(geometry.channels, unpool)
    return loops.compiled()
