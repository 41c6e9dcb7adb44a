"""Prose for the window in which it is read: its lines end between words.

`privrobust.cli.saying.say` prints so; whoever makes lines for others to print calls `wrapped`.
"""

import os
import re
from typing import IO
from unicodedata import combining, east_asian_width

# No line ends inside a command, between a number and its %, or beside ±, = and the like.
_HELD = re.compile(r"`[^`]*`|(?<=[±=≥<]) | (?=[%±=≥<])")
_UNTOLD = 80  # columns of a window that does not tell its width


def columns_of(stream: IO[str]) -> int | None:
    """Return how many columns the window has in which a stream is read.

    Args:
        stream: as `sys.stdout`.

    Returns:
        The environment's COLUMNS, where it is set, else what the terminal says; None for a file or
        another program, in which a line may be as long as it likes.

    """
    stated = os.environ.get("COLUMNS", "")
    if stated.isascii() and stated.isdigit() and int(stated):
        return int(stated)
    try:
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or _UNTOLD
    except (OSError, ValueError):  # closed, or nothing that the system knows
        pass
    return None


def wrapped(text: str, columns: int | None, hang: int = 2) -> str:
    """Fold the lines of a text to a width, between words; what is longer than that stays whole.

    >>> print(wrapped("† diverged: 83 ± 5 % in some seed", 20))
    † diverged: 83 ± 5 %
      in some seed

    Args:
        text: lines, whose indentation is kept.
        columns: of the window; without, lines stay as they are.
        hang: how much further than its first line the others of a folded line stand to the right:
            as wide as the mark that it starts with.

    """
    if columns is None:
        return text
    return "\n".join(folded for line in text.split("\n") for folded in _folded(line, columns, hang))


def _folded(line: str, columns: int, hang: int) -> list[str]:
    held = _HELD.sub(lambda found: found[0].replace(" ", "\0"), line)
    words = [word.replace("\0", " ") for word in held.split(" ") if word] or [""]
    indent = line[: len(line) - len(line.lstrip(" "))]
    lines = [f"{indent}{words[0]}"]
    for word in words[1:]:
        if _cells(f"{lines[-1]} {word}") <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}{' ' * hang}{word}")
    return lines


def _cells(text: str) -> int:
    """Return how many columns a text takes; without rich, which a signal does not wait for."""
    return sum((not combining(sign)) * (1 + (east_asian_width(sign) in "WF")) for sign in text)
