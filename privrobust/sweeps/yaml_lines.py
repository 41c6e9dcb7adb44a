"""YAML whose field names remember where they are written, so that errors can say it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from privrobust.errors import SpecError, in_short, shown
from privrobust.sweeps.yaml_scalars import NumbersOf12, whole

_TAG = "tag:yaml.org,2002:"
_MOST_VALUES = 100_000
_LONGEST_REASON = 200
_REMEDIES = {
    "'\\t'": "indent with spaces",
    "mapping values are not allowed": "text with a colon goes in quotes",
    "expected <block end>": "fields of one mapping are indented alike",
    "undefined alias": "text that starts with * goes in quotes",
}
"""By what PyYAML says."""


class Field(str):
    """The name of a field, its place, `sweep.yaml, line 7`, and its file if it is in one."""

    place: str
    file: Path | None

    def __new__(cls, name: str, place: str, file: Path | None = None) -> "Field":
        """Place the name."""
        made = super().__new__(cls, name)
        made.place, made.file = place, file
        return made


def at(field: str) -> str:
    """Return what an error about the field starts with; nothing if no file has it."""
    return f"{field.place}: " if isinstance(field, Field) else ""


def as_written(name: str, fields: Iterable[str]) -> str:
    """Return the name as it is among the fields, which may know its place."""
    return next(field for field in fields if field == name)


def read(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        SpecError: it cannot be read, or is not YAML.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{shown(str(path), 200)} cannot be read ({error.strerror})") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        wrong = "is no text" if b"\0" in content else "is not in UTF-8"
        raise SpecError(
            f"{shown(str(path), 200)} {wrong}; accepted: a sweep, YAML in UTF-8"
        ) from None
    return parse(text, str(path), lambda line: f"{path}, line {line}", path)


def parse(text: str, source: str, place: Callable[[int], str], file: Path | None = None) -> Any:
    """Return what the text says, its numbers read as YAML 1.2 does.

    Args:
        text: YAML.
        source: what it is, for errors.
        place: where a line of it is, from 1.
        file: that it is in, if it is in one.

    Raises:
        SpecError: it is not YAML, or more than a sweep can be.

    """
    try:
        loader = _Loader(text, place, file)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = place(mark.line + 1) if mark else source
        reason = ": ".join(part for part in (error.context, error.problem) if part)
        remedy = next((f"; {_REMEDIES[part]}" for part in _REMEDIES if part in reason), "")
        raise SpecError(
            f"{where}: not valid YAML ({in_short(reason, _LONGEST_REASON)}){remedy}"
        ) from None
    except RecursionError:
        raise SpecError(f"{source}: not valid YAML (lists in lists, too deep to read)") from None
    except yaml.YAMLError as error:
        reason = in_short(str(error), _LONGEST_REASON)
        raise SpecError(f"{source}: not valid YAML ({reason})") from None


class _Loader(NumbersOf12, yaml.SafeLoader):
    """YAML without repeated fields, of which PyYAML would silently keep the last.

    Fields that a merge key (`<<`) brings may be given anew. What an anchor holds counts wherever it
    is named: ten lines of anchors in anchors would fill any memory once something looks at each.
    """

    def __init__(self, text: str, place: Callable[[int], str], file: Path | None) -> None:
        self._place, self._file = place, file
        self._composed = 0
        self._sizes: dict[yaml.Node, int] = {}
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        node = super().compose_node(parent, index)
        if node is None:
            return None
        self._composed += 1
        if not isinstance(event, yaml.AliasEvent):
            self._sizes[node] = 1 + sum(self._sizes.get(each, 0) for each in _inside(node))
        elif node not in self._sizes:
            raise _error("an anchor that contains itself", event)
        if max(self._composed, self._sizes[node]) > _MOST_VALUES:
            raise _error(
                f"more than {_MOST_VALUES:,} values, those of anchors counted wherever they are "
                "named; accepted: fewer",
                event,
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                kind = "list" if isinstance(key, yaml.SequenceNode) else "map"
                raise _error(f"a {kind} is given as the name of a field; accepted: text", key)
            if key.tag == f"{_TAG}merge":
                continue
            name = self.construct_object(key)
            if name in known:
                raise _error(f"{shown(name)} is given twice", key)
            known.add(name)
        self.flatten_mapping(node)
        lines = {self.construct_object(key): key.start_mark.line + 1 for key, _ in node.value}
        return {
            self._placed(name, lines[name]) if isinstance(name, str) else name: value
            for name, value in super().construct_mapping(node, deep).items()
        }

    def _placed(self, name: str, line: int) -> Field:
        return Field(name, self._place(line), self._file)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (AttributeError, KeyError, TypeError, ValueError):  # PyYAML's, of other content
            kind = node.tag.removeprefix(_TAG)
            raise _error(f"{shown(node.value)} does not read as {kind}", node) from None

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Read a whole number."""
        return whole(str(self.construct_scalar(node)))

    def construct_unknown(self, node: yaml.Node) -> Any:
        """Refuse a tag of some program's own, which may stand for anything."""
        tag = node.tag.replace(_TAG, "!!")
        raise _error(f"the tag {shown(tag)} is not accepted; accepted: plain values", node)


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_whole)
_Loader.add_constructor(None, _Loader.construct_unknown)


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        yield from chain.from_iterable(node.value)


def _error(problem: str, at: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
    mark: Any = at.start_mark
    return yaml.constructor.ConstructorError(None, None, problem, mark)
