"""IDX files of bytes, the format of MNIST and its successors."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from privrobust.errors import SpecError

_UNSIGNED_BYTES = b"\x00\x00\x08"


def read_idx(path: Path) -> np.ndarray:
    """Read the array that a file holds, gzipped or not.

    Two zero bytes, a byte for the type, one for the number of axes, their lengths as big-endian
    32-bit integers, then the values (LeCun, Cortes, Burges, The MNIST database).

    Raises:
        SpecError: it cannot be read, is no IDX file of bytes, or holds less or more than it says.

    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"data: {path} cannot be read ({error}); get it again") from None
    if content[:3] != _UNSIGNED_BYTES or len(content) < 4 + 4 * content[3]:
        raise SpecError(f"data: {path} is no IDX file of bytes; get it again")
    axes = content[3]
    shape = struct.unpack_from(f">{axes}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != prod(shape):
        raise SpecError(
            f"data: {path} holds {values.size} of the {prod(shape)} bytes that its header "
            "promises; get it again"
        )
    return values.reshape(shape)
