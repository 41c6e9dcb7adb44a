"""Rows of a store as columns of a frame, and which of them cannot be what was stored.

SQLite keeps whatever is put into a cell, and disks flip bits. A row with a cell that no run has
(text for an accuracy, a negative epsilon, no `honest`) is left out and counted, so that one row
does not hide all others.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Boolean, Column, Float, Integer

_MOST_FAULTS = 3  # that are told

Cells = tuple[Any, ...]
Converted = tuple[np.ndarray, np.ndarray]
"""The values of a column, and which of them it may not have."""


def frame_of(
    parts: Iterable[Sequence[Sequence[Any]]], columns: Sequence[Column[Any]]
) -> tuple[pd.DataFrame, Counter[str]]:
    """Return the rows that a store may have, and how often each column spoils one.

    Args:
        parts: rows, as the database's driver returns them, some at a time.
        columns: what they hold; `info` says what a column accepts, see `schema._accepts`.

    """
    read = [_converter(column) for column in columns]
    faults: Counter[str] = Counter()
    pieces: list[list[np.ndarray]] = [[] for _ in columns]
    for rows in parts:
        converted = [
            of_column(cells) for of_column, cells in zip(read, zip(*rows, strict=True), strict=True)
        ]
        spoiled = np.zeros(len(rows), bool)
        for column, (_, is_bad) in zip(columns, converted, strict=True):
            if is_bad.any():
                faults[column.name] += int((is_bad & ~spoiled).sum())
                spoiled |= is_bad
        for piece, (values, _) in zip(pieces, converted, strict=True):
            piece.append(values[~spoiled] if spoiled.any() else values)
    series = {
        column.name: pd.Series(_joined(piece, of_column), dtype=_dtype(column))
        for column, piece, of_column in zip(columns, pieces, read, strict=True)
    }
    return pd.DataFrame(series), +faults


def _dtype(column: Column[Any]) -> str:
    """Return the type of a column of a frame, whatever its cells are: a store may have no rows."""
    if isinstance(column.type, Float):
        return "float64"
    if isinstance(column.type, Boolean):
        return "bool"
    if isinstance(column.type, Integer):
        return "int64" if column.info.get("needed", True) else "Int64"
    return "str"


def told(faults: Counter[str]) -> str:
    """Say what is wrong with rows that were left out."""
    worst = [f"{name} in {count}" for name, count in faults.most_common(_MOST_FAULTS)]
    more = [f"{len(faults) - len(worst)} more columns"] if len(faults) > len(worst) else []
    return f"damaged cells ({', '.join(worst + more)})"


def _joined(pieces: list[np.ndarray], of_column: Callable[[Cells], Converted]) -> np.ndarray:
    return np.concatenate(pieces) if pieces else of_column(())[0]


def _converter(column: Column[Any]) -> Callable[[Cells], Converted]:
    """Return what reads cells of a column, some at a time."""
    accepted = column.info
    needed = accepted.get("needed", False)
    if isinstance(column.type, Float):
        return lambda cells: _numbers(cells, needed, accepted)
    if isinstance(column.type, Boolean):
        return _truths
    if isinstance(column.type, Integer):
        if accepted.get("needed", True):
            return lambda cells: _whole(cells, accepted)
        return lambda cells: _perhaps_whole(cells, accepted)
    same: dict[Any, Any] = {}  # a million cells of a few texts: each is kept once
    return lambda cells: _texts(cells, needed, accepted.get("choices"), same)


def _numbers(cells: Cells, needed: bool, accepted: dict[str, Any]) -> Converted:
    if is_odd := _other_than(cells, {int, float, type(None)}):
        cells = tuple(math.nan if odd else cell for odd, cell in zip(is_odd, cells, strict=True))
    values = np.array(cells, float)
    missing = np.isnan(values)
    is_bad = ~_within(values, accepted) & (~missing | needed)
    return values, is_bad | is_odd if is_odd else is_bad


def _whole(cells: Cells, accepted: dict[str, Any]) -> Converted:
    is_odd = _other_than(cells, {int})
    if is_odd:
        cells = tuple(0 if odd else cell for odd, cell in zip(is_odd, cells, strict=True))
    values = np.array(cells, np.int64)
    is_bad = ~_within(values, accepted)
    return values, is_bad | is_odd if is_odd else is_bad


def _perhaps_whole(cells: Cells, accepted: dict[str, Any]) -> Converted:
    """Read whole numbers as floats, of which one may be missing."""
    values, is_bad = _numbers(cells, False, accepted)
    return values, is_bad | (values != np.floor(values)) & ~np.isnan(values)


def _within(values: np.ndarray, accepted: dict[str, Any]) -> np.ndarray:
    within: np.ndarray = values >= accepted.get("ge", -math.inf)
    within &= values <= accepted.get("le", math.inf)
    if "gt" in accepted:
        within &= values > accepted["gt"]
    if "lt" in accepted:
        within &= values < accepted["lt"]
    return within


def _truths(cells: Cells) -> Converted:
    is_bad = np.array([cell not in (0, 1) for cell in cells], bool)
    return np.array([cell == 1 for cell in cells], bool), is_bad


def _texts(
    cells: Cells, needed: bool, choices: Sequence[str] | None, same: dict[Any, Any]
) -> Converted:
    is_odd = _other_than(cells, {str} if needed else {str, type(None)})
    values = np.fromiter(map(same.setdefault, cells, cells), object, len(cells))
    is_bad = np.array(is_odd, bool) if is_odd else np.zeros(len(cells), bool)
    if choices is not None:
        is_bad |= ~np.isin(values, choices)
    return values, is_bad


def _other_than(cells: Cells, kinds: set[type]) -> list[bool]:
    """Return which cells are of no such type; nothing where all are."""
    if set(map(type, cells)) <= kinds:
        return []
    return [type(cell) not in kinds for cell in cells]
