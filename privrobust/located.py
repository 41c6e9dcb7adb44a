"""YAML whose field names remember where they are written, so that errors can say it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from privrobust.errors import SpecError


class Field(str):
    """The name of a field, and its place: `sweep.yaml, line 7`."""

    place: str

    def __new__(cls, name: str, place: str) -> "Field":
        """The name, placed."""
        made = super().__new__(cls, name)
        made.place = place
        return made


def at(field: str) -> str:
    """What an error about the field starts with; nothing if no file has it."""
    return f"{field.place}: " if isinstance(field, Field) else ""


def read(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        SpecError: it cannot be read, or is not YAML.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{str(path)!r} cannot be read ({error})") from None
    return parse(text, str(path), lambda line: f"{path}, line {line}")


def parse(text: str, source: str, place: Callable[[int], str]) -> Any:
    """What the text says.

    Args:
        text: YAML.
        source: what it is, for errors.
        place: where a line of it is, from 1.

    Raises:
        SpecError: it is not YAML.

    """
    try:
        loader = _Loader(text, source, place)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{source!r} is not valid YAML ({reason})") from None


class _Loader(yaml.SafeLoader):
    """YAML without repeated fields, of which PyYAML would silently keep the last."""

    def __init__(self, text: str, source: str, place: Callable[[int], str]) -> None:
        super().__init__(text)
        self.name = source
        self._place = place

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        fields = [self.construct_object(key) for key, _ in node.value]
        for place, field in enumerate(fields):
            if field in fields[:place]:
                mark = node.value[place][0].start_mark
                raise yaml.constructor.ConstructorError(
                    None, None, f"{field!r} is given twice", mark
                )
        marks = [key.start_mark for key, _ in node.value]
        values = super().construct_mapping(node, deep).values()
        places = [self._place(mark.line + 1) for mark in marks]
        return {
            Field(field, place) if isinstance(field, str) else field: value
            for field, place, value in zip(fields, places, values, strict=True)
        }
