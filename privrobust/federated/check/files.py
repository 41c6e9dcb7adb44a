"""Files of others, read as text if they are what they should be: no device, and not too large."""

from pathlib import Path

from privrobust.errors import SpecError, shown

_MOST_BYTES = 1_000_000


def content(path: Path) -> str:
    """Return the text of a file.

    Raises:
        SpecError: there is none, it is too large, or not in UTF-8.

    """
    file = shown(str(path), 200)
    try:
        if not path.is_file():
            there = "is no file" if path.exists() else "is not there"
            raise SpecError(f"{file} {there}; accepted: a file, or the folder that has it")
        if path.stat().st_size > _MOST_BYTES:
            raise SpecError(f"{file} is larger than {_MOST_BYTES:,} bytes; accepted: less")
        return path.read_bytes().decode()
    except OSError as error:
        raise SpecError(f"{file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SpecError(f"{file} is not in UTF-8") from None
