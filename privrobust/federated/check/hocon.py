"""NVFlare's .conf files: what of HOCON they use, which is JSON with fewer signs.

Comments (`#`, `//`), fields without quotes and with dots, `=` in place of `:`, line ends in place
of commas. Includes, substitutions (`${...}`) and text that is put together are refused.
"""

import re
from typing import Any

from privrobust.errors import SpecError, in_short, shown

_DEEPEST = 50
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|(?:\#|//)[^\n]*)
    |(?P<line>\n)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<sign>[{}\[\],:=])
    |(?P<word>[^\s{}\[\],:=+\#"`^?!@*&\\$]+)""",
    re.VERBOSE,
)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def parse_hocon(text: str, source: str) -> dict[str, Any]:
    """Return what the text says.

    Raises:
        SpecError: it is not of this kind.

    """
    return _Parser(text, source).document()


class _Parser:
    """Goes through tokens, from the first to the last."""

    def __init__(self, text: str, source: str) -> None:
        self._source, self._line, self._depth = source, 1, 0
        self._tokens: list[tuple[str, str, int]] = []
        place, line = 0, 1
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._error(f"{shown(text[place : place + 20])} is not read here", line)
            kind, found = str(match.lastgroup), match.group()
            if kind != "space":
                self._tokens.append((kind, found, line))
            line += kind == "line"
            place = match.end()
        self._tokens.append(("end", "", line))
        self._at = 0

    def _error(self, problem: str, line: int) -> SpecError:
        return SpecError(f"{shown(self._source, 200)}, line {line}: not valid HOCON ({problem})")

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str, int]:
        token = self._tokens[self._at]
        self._at += token[0] != "end"
        return token

    def _skip(self, *kinds: str) -> None:
        """Skip line ends, and signs that are given."""
        while self._peek()[0] == "line" or self._peek()[1] in kinds:
            self._next()

    def document(self) -> dict[str, Any]:
        """Return all of it: a map, with or without braces."""
        self._skip()
        if self._peek()[1] == "{":
            self._next()
            found = self._map("}")
        else:
            found = self._map("")
        self._skip()
        kind, text, line = self._peek()
        if kind != "end":
            raise self._error(f"{shown(text)} after the end", line)
        return found

    def _map(self, end: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            self._skip(",")
            kind, text, line = self._next()
            if text == end and kind != "text":
                return found
            if kind not in ("word", "text"):
                raise self._error(f"{shown(text)} where a field's name belongs", line)
            names = [_unquoted(text)] if kind == "text" else text.split(".")
            self._skip()
            sign = self._peek()[1]
            if sign in (":", "="):
                self._next()
                self._skip()
            elif sign != "{":
                raise self._error(f"{in_short(text)} has no value", line)
            self._put(found, names, self._value(), line)

    def _put(self, found: dict[str, Any], names: list[str], value: Any, line: int) -> None:
        for name in names[:-1]:
            inner = found.setdefault(name, {})
            if not isinstance(inner, dict):
                raise self._error(f"{in_short(name)} is given twice", line)
            found = inner
        last = names[-1]
        if isinstance(found.get(last), dict) and isinstance(value, dict):
            found[last] = found[last] | value
        else:
            found[last] = value

    def _value(self) -> Any:
        kind, text, line = self._next()
        if text in ("{", "[") and kind == "sign":
            self._depth += 1
            if self._depth > _DEEPEST:
                raise self._error("too deep to read", line)
            found = self._map("}") if text == "{" else self._list()
            self._depth -= 1
            return found
        if kind not in ("word", "text"):
            raise self._error(f"{shown(text)} where a value belongs", line)
        if self._peek()[0] in ("word", "text"):
            raise self._error("text that is put together; accepted: in quotes", line)
        return _unquoted(text) if kind == "text" else _word(text)

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            self._skip(",")
            if self._peek()[1] == "]" and self._peek()[0] == "sign":
                self._next()
                return found
            found.append(self._value())


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _word(text: str) -> Any:
    if text == "null":
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text[:400])
    return text
