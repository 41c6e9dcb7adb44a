"""CIFAR's batches: pickles, of which nothing is read but texts, lists, numbers and arrays of bytes.

A pickle may call whatever it names, and an array that numpy unpickles may claim to hold objects.
So nothing of numpy's is called either: what makes an array only notes its shape and its bytes.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from privrobust.errors import SpecError, in_short


class _Kind:
    """Stands for an array's dtype."""

    def __init__(self, code: object, *flags: object) -> None:
        if code != "u1":
            raise pickle.UnpicklingError(f"an array of {code!r}, not of bytes")

    def __setstate__(self, state: object) -> None:
        """Set nothing: bytes have an order of one kind only."""


class _Array:
    """Stands for an array."""

    values: np.ndarray

    def __init__(self, *of_an_empty_one: object) -> None:
        """Take what numpy's constructor would."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Read the state that numpy writes: version, shape, dtype, order and bytes."""
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("an array of an unknown kind")
        content = content.encode("latin1") if isinstance(content, str) else content
        values = np.frombuffer(content, np.uint8)
        self.values = values.reshape(shape, order="F" if by_columns else "C")


# Numpy has moved one of them since.
_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a part of an array; nothing else is in a batch."""
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {in_short(f'{module}.{name}')}")
        return _STAND_INS[module, name]


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels `(examples, 3, 32, 32)` and labels, `(examples,)`.

    Raises:
        SpecError: the file cannot be read, or is no batch of CIFAR.

    """
    try:
        with path.open("rb") as file:
            batch = _Unpickler(file, encoding="latin1").load()
        labels = batch["labels" if "labels" in batch else "fine_labels"]
        codes = np.array([int(label) for label in labels])
        return batch["data"].values.reshape(len(codes), 3, 32, 32), codes
    except Exception as error:  # whatever broken bytes do to an unpickler
        raise SpecError(f"data: {path} is no batch of CIFAR ({error}); get it again") from None
