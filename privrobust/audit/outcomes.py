"""What a mechanism of a user's hands out, whatever its type, as rows of numbers.

A message is flattened. How long it is, and whether there was one at all or an error, are seen too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from privrobust.audit.trials import Floats
from privrobust.errors import SpecError, shown

Mechanism = Callable[[Tensor], Any]


class Outcomes:
    """Call a mechanism, and keep what it hands out in arrays of one shape."""

    def __init__(self, fn: Mechanism, first: list[Tensor]) -> None:
        """Learn the size of its messages.

        Raises:
            SpecError: it is no function, or none of those datasets gets a message from it that is
                made of numbers.

        """
        if not callable(fn):
            raise SpecError(f"fn: {shown(fn)} is not a function of gradients")
        self._fn, self._size = fn, 0
        reason = "messages without numbers"
        for dataset in first:
            try:
                returned = fn(dataset.clone())
            except Exception as error:  # a user's function raises what it likes
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            self._size = sum(len(part) for part in _parts(returned))
            if self._size:
                return
        raise SpecError(f"fn: {reason}; accepted: a function of gradients that returns numbers")

    def __len__(self) -> int:
        """Return how many numbers a row has."""
        return self._size + 2

    def row(self, dataset: Tensor, out: Floats) -> None:
        """Call it on a copy, and write its message, its length and 1 for an error into a row."""
        out[:] = 0.0
        try:
            returned = self._fn(dataset.clone())
        except Exception:  # whatever it is, it is an outcome
            out[-1] = 1.0
            return
        start = 0
        for part in _parts(returned):
            kept = part[: max(0, self._size - start)]
            out[start : start + len(kept)] = kept
            start += len(part)
        out[-2] = start


def _parts(returned: Any) -> Iterator[Floats]:
    """Yield the numbers of a message, in order.

    Raises:
        SpecError: it has something else than numbers.

    """
    if returned is None:
        return
    if isinstance(returned, Mapping):
        returned = list(returned.values())
    if isinstance(returned, (list, tuple)) and not _are_plain(returned):
        for each in returned:
            yield from _parts(each)
        return
    try:
        if hasattr(returned, "detach"):
            returned = returned.detach().cpu()
            values = np.asarray(returned.double() if not returned.is_complex() else returned)
        else:
            values = np.asarray(returned)
        if values.dtype.kind not in "biufc":
            raise TypeError
    except Exception:
        raise SpecError(
            f"fn: it returned {shown(returned)}; accepted: numbers, tensors, arrays, and lists, "
            "tuples and dictionaries of them"
        ) from None
    values = values.reshape(-1)
    if values.dtype.kind == "c":
        values = np.stack([values.real, values.imag], -1).reshape(-1)
    yield values.astype(np.float64)


def _are_plain(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(each, (int, float)) for each in values)
