"""Records of arrays as one vector, read without trust in whoever sent them.

Flower's arrays are bytes in numpy's file format, with claims of their type and shape beside them.
They are read here by their length: a claim costs nothing until its bytes are there, no header is
evaluated, nothing is unpickled, and no archive is opened, as `numpy.load` would.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from privrobust.core.numbers import shown

Vector = npt.NDArray[np.float64]
"""`(dim,)`"""

_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = slice(len(_MAGIC), len(_MAGIC) + 2)
# As numpy writes it, of a type without fields.
_HEADER = re.compile(
    rb"\{'descr': '([<>|])([a-zA-Z])([0-9]{1,2})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:[0-9]{1,18}(?:, [0-9]{1,18}){0,30},?)?)\), \} *\n"
)
_SIZES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}


_Made: TypeAlias = "Callable[[np.dtype[Any], Vector, Vector], npt.NDArray[Any]]"
"""Of an array's type, what was sent and a part of a vector, to what takes its place."""


class Unreadable(Exception):
    """Says in one line why arrays are not what they should be."""


@dataclass(frozen=True)
class _Bytes:
    """An array whose bytes are as many as its header says; no number of it is read yet."""

    data: bytes
    start: int
    dtype: "np.dtype[Any]"
    order: Literal["C", "F"]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: object) -> "_Bytes":
        """Look at an array's header.

        Raises:
            Unreadable: it is none of numbers.

        """
        if not isinstance(array, Array) or array.stype != "numpy.ndarray":
            raise Unreadable("not stored as a numpy array")
        data = array.data
        if not isinstance(data, bytes) or not data.startswith(_MAGIC):
            raise Unreadable("not in numpy's format")
        start = _LENGTH.stop + int.from_bytes(data[_LENGTH], "little")
        header = _HEADER.fullmatch(data, _LENGTH.stop, min(start, len(data)))
        if header is None:
            raise Unreadable("no array of numbers")
        end, kind, size = header[1].decode(), header[2].decode(), int(header[3])
        if size not in _SIZES.get(kind, ()):
            raise Unreadable(f"of type {kind}{size}")
        shape = tuple(int(each) for each in header[5].split(b",") if each)
        if math.prod(shape) * size != len(data) - start:
            raise Unreadable("of another length than its shape")
        order: Literal["C", "F"] = "F" if header[4] == b"True" else "C"
        return cls(data, start, np.dtype(f"{end}{kind}{size}"), order, shape)

    def numbers(self) -> Vector:
        """Return them in the order of C, which float64 holds exactly if they are floats."""
        flat = np.frombuffer(self.data, self.dtype, offset=self.start)
        shaped = flat.reshape(self.shape, order=self.order)
        return shaped.astype(np.float64).reshape(-1)


@dataclass(frozen=True, eq=False)
class SentArrays:
    """The arrays that a server sent, as one vector, and what clients make of them.

    Only arrays of floats are trained. Whole numbers, such as a count of batches, stay as they are:
    nothing that a client says of them is read, and nothing of them leaves a client.
    """

    vector: Vector
    """All numbers that are trained, in the order of the record."""
    _record: ArrayRecord
    _trained: dict[str, _Bytes]

    @classmethod
    def of(cls, record: ArrayRecord) -> "SentArrays":
        """Read a record.

        Raises:
            Unreadable: an array is none of numbers, or none is trained.

        """
        trained = {}
        for key, array in record.items():
            found = _named(key, array)
            if found.dtype.kind == "f":
                trained[key] = found
        if not trained:
            raise Unreadable("no array of floats")
        vector = np.concatenate([each.numbers() for each in trained.values()])
        # a copy, as whoever has the record may write to it, or to its arrays
        return cls(vector, ArrayRecord(dict(record)), trained)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the arrays that are trained, by name."""
        return {key: each.shape for key, each in self._trained.items()}

    @property
    def message_type(self) -> type[np.floating[Any]]:
        """What updates are aggregated in: float64 where an array is, else float32."""
        sizes = {each.dtype.itemsize for each in self._trained.values()}
        return np.float64 if 8 in sizes else np.float32

    def update_in(self, reply: ArrayRecord, *, signs: bool = False) -> Vector:
        """Return what a reply adds to these arrays: floats of any width, less what was sent.

        Args:
            reply: other arrays of the same names and shapes.
            signs: int8 arrays are taken too, as the signs of an update.

        Raises:
            Unreadable: says why it is none.

        """
        if len(reply) != len(self._record) or any(key not in reply for key in self._record):
            missing = [key for key in self._record if key not in reply]
            lacks = f", such as {shown(missing[0])}, which is missing" if missing else ""
            raise Unreadable(f"its {len(reply)} arrays are not the {len(self._record)} sent{lacks}")
        update = np.empty_like(self.vector)
        for key, place in self._places():
            found = _named(key, reply[key], self._trained[key].shape)
            is_sign = signs and found.dtype == np.int8
            if found.dtype.kind != "f" and not is_sign:
                raise Unreadable(f"array {shown(key)} is of {found.dtype}, not floats")
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(found.numbers(), 0.0 if is_sign else self.vector[place], update[place])
            # of an update: two vast numbers of opposite signs are infinitely far apart
            if not np.isfinite(update[place]).all():
                raise Unreadable(f"array {shown(key)} holds NaN or an infinity")
            if np.abs(update[place]).max(initial=0.0) > np.finfo(self.message_type).max:
                raise Unreadable(
                    f"array {shown(key)} holds numbers beyond {self.message_type.__name__}"
                )
        return update

    def moved(self, update: Vector, *, is_kept_finite: bool = True) -> ArrayRecord:
        """Return the record with an update added, in the types that were sent.

        What is beyond them becomes their largest number, unless told otherwise; NaN stays.
        """

        def added(dtype: "np.dtype[Any]", sent: Vector, step: Vector) -> npt.NDArray[Any]:
            most = float(np.finfo(dtype).max) if is_kept_finite else np.inf
            return np.clip(sent + step, -most, most).astype(dtype)

        return self._with(added, update)

    def as_signs(self, signs: Vector) -> ArrayRecord:
        """Return the record with int8 signs in place of what is trained."""
        return self._with(lambda _dtype, _sent, sign: sign.astype(np.int8), signs)

    def taken_apart(self, vector: Vector) -> dict[str, Vector]:
        """Return the parts of a vector by name, each in its shape."""
        return {key: vector[at].reshape(self._trained[key].shape) for key, at in self._places()}

    def _with(self, made: _Made, vector: Vector) -> ArrayRecord:
        """Return the record with other numbers in place of what is trained."""
        record = dict(self._record)
        with np.errstate(over="ignore", invalid="ignore"):
            for key, place in self._places():
                kept = self._trained[key]
                new = made(kept.dtype, self.vector[place], vector[place])
                record[key] = Array(new.reshape(kept.shape))
        return ArrayRecord(record)

    def _places(self) -> Iterator[tuple[str, slice]]:
        """Yield where each array that is trained stands in the vector."""
        start = 0
        for key, each in self._trained.items():
            end = start + math.prod(each.shape)
            yield key, slice(start, end)
            start = end


def _named(key: str, array: object, shape: tuple[int, ...] | None = None) -> _Bytes:
    """Look at an array of that name, and of that shape if it is given."""
    try:
        found = _Bytes.of(array)
    except Unreadable as error:
        raise Unreadable(f"array {shown(key)} is {error}") from None
    if shape is not None and found.shape != shape:
        raise Unreadable(f"array {shown(key)} is {found.shape}, not {shape}")
    return found
