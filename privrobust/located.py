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
    """YAML without repeated fields, of which PyYAML would silently keep the last.

    Fields that a merge key (`<<`) brings may be given anew.
    """

    def __init__(self, text: str, source: str, place: Callable[[int], str]) -> None:
        super().__init__(text)
        self.name = source
        self._place = place

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        names = [self.construct_object(key) for key in own]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name!r} is given twice", own[place].start_mark
                )
        self.flatten_mapping(node)
        lines = {self.construct_object(key): key.start_mark.line + 1 for key, _ in node.value}
        return {
            Field(name, self._place(lines[name])) if isinstance(name, str) else name: value
            for name, value in super().construct_mapping(node, deep).items()
        }
