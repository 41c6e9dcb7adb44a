"""Show the examples of docstrings as code.

griffe, which reads docstrings for mkdocstrings, knows them in sections called `Examples` alone.
Ours stand where the text speaks of them, and Markdown would take `>>>` for a quotation.
"""

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"(?m)^( *)>>> (?:.+\n?)+")


class Doctests(Extension):
    """Fence each run of lines that starts with `>>>`, up to the next empty one."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of what griffe has just read."""
        if obj.docstring and "Examples:" not in obj.docstring.value:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(example: re.Match[str]) -> str:
    return f"{example[1]}```pycon\n{example[0].rstrip()}\n{example[1]}```\n"
