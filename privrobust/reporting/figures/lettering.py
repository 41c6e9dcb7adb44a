"""Words that fit: how wide text is, where it may be broken, and how it is shortened."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Any

CUT = "…"
_PIECES = re.compile(r"[^\s_]*_+|[^\s_]+|\s+")
_LEAST = 8  # signs that a shortened name keeps


def width_of(text: str, points: float) -> float:
    """Return how many inches a line of text takes in the font of figures."""
    return _widths(text) * points / 72


@lru_cache(4096)
def _widths(text: str) -> float:
    """Return the width in units of the font's size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    of_font: Any = FontProperties(size=100)
    plain = text.replace(r"\$", "$")  # `in_figure` escapes them
    return float(text_to_path.get_text_width_height_descent(plain, of_font, False)[0]) / 100


def wrapped(text: str, inches: float, points: float) -> str:
    """Break text into lines of so many inches.

    It is broken at spaces, and after underscores, outside of parentheses alone: no word and no
    parameter is cut. What is too long for a line is shortened in its middle.
    """
    lines = _lines(_pieces(text), inches, points)
    return "\n".join(shortened(each, inches, points) for each in lines)


def filled(text: str, inches: float, points: float) -> str:
    """Break small print into lines of so many inches, at spaces; nothing of it is left out."""
    pieces = (
        part
        for word in re.findall(r"\S+\s*", text)
        for part in ([word] if width_of(word.rstrip(), points) <= inches else word)
    )
    return "\n".join(_lines(pieces, inches, points))


def _lines(pieces: Iterable[str], inches: float, points: float) -> list[str]:
    lines, line = [], ""
    for piece in pieces:
        if line and width_of((line + piece).rstrip(), points) > inches:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()]


def _pieces(text: str) -> Iterator[str]:
    """Yield what stays together: words with their parentheses and the space behind them."""
    together, depth = "", 0
    for piece in _PIECES.findall(text):
        together += piece
        depth = max(0, depth + piece.count("(") - piece.count(")"))
        if depth == 0 and (piece.isspace() or piece.endswith("_")):
            yield together
            together = ""
    yield together


def shortened(text: str, inches: float, points: float) -> str:
    """Leave out as much of a text's middle as it is too long."""
    kept = len(text)
    shown = text
    while width_of(shown, points) > inches and kept > _LEAST:
        kept -= 1
        shown = text[: kept // 3].rstrip("\\") + CUT + text[len(text) - (kept - kept // 3) :]
    return shown


def telling(texts: Iterable[str], most: int) -> dict[str, str]:
    """Shorten the long ones of several texts to where they differ, no two to the same.

    Args:
        texts: that differ.
        most: signs of a text that is not long.

    >>> short = telling(["table(path=/data/north.csv)", "table(path=/data/south.csv)"], 20)
    >>> print(*short.values())
    …/north.csv) …/south.csv)

    """
    texts = list(texts)
    if max(map(len, texts), default=0) <= most:
        return {text: text for text in texts}
    start = _in_common(texts)
    end = _in_common([text[start:][::-1] for text in texts])
    found: dict[str, str] = {}
    for text in texts:
        rest = CUT + text[start:] if start > 1 else text
        if len(rest) > most and end > 1:
            rest = rest[: len(rest) - end] + CUT
        if len(rest) > most:
            rest = rest[: most // 3] + CUT + rest[len(rest) - most + most // 3 + 1 :]
        short = first = text if len(text) <= most else rest
        count = 1
        while short in found.values():
            count += 1
            short = f"{first} ({count})"
        found[text] = short
    return found


def _in_common(texts: list[str]) -> int:
    """Return how many signs several texts begin with alike, up to the last end of a word."""
    if len(texts) < 2:
        return 0
    alike = takewhile(lambda signs: len(set(signs)) == 1, zip(*texts, strict=False))
    return len(re.sub(r"(?:\W|\w+)$", "", "".join(signs[0] for signs in alike)))
