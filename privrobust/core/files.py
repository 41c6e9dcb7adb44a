"""Files that are written whole or not at all."""

import errno
import os
from pathlib import Path

from privrobust.core.interrupts import deferred
from privrobust.errors import PrivRobustError


def write_whole(content: bytes, path: Path) -> None:
    """Put a file there, in place of what may be there, once all of it is written.

    Raises:
        PrivRobustError: it cannot be written.

    """
    try:
        put_whole(content, path)
    except OSError as error:
        reason = error.strerror or error
        raise PrivRobustError(f"output: {str(path)!r} cannot be written ({reason})") from None


def put_whole(content: bytes, path: Path) -> None:
    """Do as `write_whole`, for callers that have words of their own for an OSError."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with deferred():
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
