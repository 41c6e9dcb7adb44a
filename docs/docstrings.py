"""Mend what griffe, which reads the package for mkdocstrings, would not show as it is meant.

It knows examples in sections called `Examples` alone; ours stand where the text speaks of them, and
Markdown would take `>>>` for a quotation. And of `Annotated[type, ...]` readers want the type.
"""

import re
from typing import Any

from griffe import Attribute, ExprSubscript, ExprTuple, Extension, Object

_EXAMPLE = re.compile(r"(?m)^( *)>>> (?:.+\n?)+")


class Docstrings(Extension):
    """What is changed of each object that griffe has read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Fence each run of lines that starts with `>>>`, up to the next empty one."""
        if obj.docstring and "Examples:" not in obj.docstring.value:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)

    def on_attribute(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Leave the type of an annotated type."""
        match attr.annotation:
            case ExprSubscript(left=left, slice=ExprTuple(elements=[kind, *_])) if (
                str(left) == "Annotated"
            ):
                attr.annotation = kind


def _fenced(example: re.Match[str]) -> str:
    return f"{example[1]}```pycon\n{example[0].rstrip()}\n{example[1]}```\n"
