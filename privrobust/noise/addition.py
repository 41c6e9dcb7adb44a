"""Adds noise on the grid to vectors: by the compiled loop, or by tensor operations.

All ways give the same numbers for the same words, on any processor: `exact` settles what they
cannot.
"""

import math
from fractions import Fraction
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from privrobust.core.threads import in_threads
from privrobust.noise import exact
from privrobust.noise.backend import compiled_loop
from privrobust.noise.grid import MOST_STEPS, Grid, Grids
from privrobust.noise.laws import NOISE_LAWS
from privrobust.noise.streams import Keys, first_words, keystream

Floats = npt.NDArray[np.floating[Any]]


# Coordinates that a thread takes at a time; as many are worth waking one for.
_PIECE = 1 << 17


def add_to_rows(values: Floats, keys: Keys, grids: Grids, noise: str, out: Floats) -> None:
    """Write `values + noise` to out, each row by a key and a grid of its own.

    Args:
        values: float64 `(..., dim)`, finite. Rows are contiguous, in one order in memory and here,
            as those that a slice of a buffer has.
        keys: `(rows, 16)`. Rows of equal keys get equal noise, times their scales.
        grids: one a row.
        noise: a name in `NOISE_LAWS`.
        out: float32 or float64, of that shape, and rows as those.

    """
    dim = values.shape[-1]
    loop = compiled_loop()
    if loop is not None and noise in loop.CODES:
        doubtful = _compiled_rows(loop, values, keys, grids, noise, out)
    else:
        words = torch.from_numpy(first_words(keys, _words(dim)).view(np.int64))
        rows = torch.from_numpy(values.reshape(-1, dim))
        sums, doubtful = _tensor_rows(rows, words, grids, noise)
        out[...] = sums.numpy().reshape(out.shape)
    for row, place in doubtful:
        more = partial(words_of, keys[row].tobytes(), place // 2)
        at = np.unravel_index(row, values.shape[:-1])
        out[at][place] = _settled(values[at][place], place % 2, _row(grids, row), noise, more)


def add_on_device(values: Tensor, words: Tensor, keys: Keys, grids: Grids, noise: str) -> Tensor:
    """Return `values + noise` in float32, from words that the values' own device drew.

    Args:
        values: float64 `(rows, dim)`, finite.
        words: int64 `(rows, dim or one more)`, an even number a row, uniform.
        keys: `(rows, 16)`, for the digits that a few numbers need beyond those.
        grids: one a row.
        noise: a name in `NOISE_LAWS`.

    """
    sums, doubtful = _tensor_rows(values, words, grids, noise)
    for row, place in doubtful:
        block = place // 2
        drawn = words[row, 2 * block : 2 * block + 2].cpu().numpy().view(np.uint64).tolist()
        more = partial(words_of, keys[row].tobytes(), block, drawn=drawn)
        value = float(values[row, place])
        sums[row, place] = _settled(value, place % 2, _row(grids, row), noise, more)
    return sums.float()


def _compiled_rows(
    loop: ModuleType, values: Floats, keys: Keys, grids: Grids, noise: str, out: Floats
) -> list[list[int]]:
    """Write the sums, and return the places that are doubtful."""
    rows, dim = len(keys), values.shape[-1]
    marks = np.zeros((rows, -(-dim // loop.UNIT)), dtype=np.bool_)
    given = np.empty((rows, 0), np.int64)
    if not loop.LANES:
        given = first_words(keys, loop.UNIT * marks.shape[1]).view(np.int64)
    (inputs, first), (outputs, sent) = _in_a_vector(values), _in_a_vector(out)
    add = partial(
        loop.add_rows,
        loop.CODES[noise],
        keys,
        given,
        inputs,
        grids.scales,
        grids.steps,
        outputs,
        marks,
        np.array([first, sent]),
        dim,
    )
    pieces = min(marks.size, -(-values.size // _PIECE))
    ends = [marks.size * piece // pieces for piece in range(pieces + 1)] if pieces else []
    in_threads([partial(add, *ends_of_piece) for ends_of_piece in pairwise(ends)])
    return [
        [row, start + int(place)]
        for row, start in (np.argwhere(marks) * [1, loop.UNIT]).tolist()
        for place in np.flatnonzero(
            np.isnan(outputs[sent[row] + start : sent[row] + min(start + loop.UNIT, dim)])
        )
    ]


def _in_a_vector(rows: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the memory from the first row to the last, and where each row starts in it."""
    dim = rows.shape[-1]
    if rows.flags.c_contiguous:
        return rows.reshape(-1), np.arange(math.prod(rows.shape[:-1])) * dim
    starts = np.zeros(1, np.int64)
    for count, stride in zip(rows.shape[:-1], rows.strides[:-1], strict=True):
        starts = np.add.outer(starts, np.arange(count) * (stride // rows.itemsize)).ravel()
    return as_strided(rows, (int(starts[-1]) + dim,), (rows.itemsize,)), starts


def _tensor_rows(
    values: Tensor, words: Tensor, grids: Grids, noise: str
) -> tuple[Tensor, list[list[int]]]:
    """Return the sums `(rows, dim)`, and the places that are doubtful."""
    dim = values.shape[-1]
    steps, scales = (torch.from_numpy(of_rows).to(values.device).unsqueeze(-1) for of_rows in grids)
    drawn, doubt = NOISE_LAWS[noise].in_tensors(words.unflatten(-1, (-1, 2)), scales)
    drawn, doubt = (each.flatten(-2)[:, :dim] for each in (drawn, doubt))
    return on_grid(values, drawn, doubt, steps)


def on_grid(
    values: Tensor, drawn: Tensor, doubt: Tensor, steps: Tensor
) -> tuple[Tensor, list[list[int]]]:
    """Return `values + drawn * steps`, rounded to whole steps, and the places that are doubtful.

    Args:
        values: float64 `(rows, dim)`.
        drawn: noise in whole numbers of steps, of that shape.
        doubt: which of it is doubtful.
        steps: gamma of all rows, or `(rows, 1)`.

    """
    whole = (values / steps).round_()
    doubt = doubt | ~(whole.abs() <= MOST_STEPS)
    sums = whole.add_(drawn).mul_(steps)
    return sums.add_(0.0), doubt.nonzero().tolist()  # a zero's sign would tell the value's


def _words(dim: int) -> int:
    """Return how many words a vector takes, two a block."""
    return dim + dim % 2


def _row(grids: Grids, row: int) -> Grid:
    return Grid(float(grids.steps[row]), float(grids.scales[row]))


def words_of(key: bytes, block: int, level: int, drawn: list[int] | None = None) -> tuple[int, int]:
    """Return a block's words at a level, the first as they were drawn elsewhere if they were."""
    u, t = drawn if drawn and level == 0 else keystream(key, [block], level)[0].tolist()
    return u, t


def settled(value: float, step: float, drawn: int) -> float:
    """Return the sum of a value and its noise on the grid, in whole numbers of any size."""
    unit = Fraction(step)
    return float((round(Fraction(value) / unit) + drawn) * unit)


def _settled(value: float, coordinate: int, on: Grid, noise: str, more: exact.More) -> float:
    return settled(value, on.step, NOISE_LAWS[noise].exactly(coordinate, on.scale, more))
