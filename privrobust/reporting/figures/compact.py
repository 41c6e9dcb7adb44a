"""Smaller SVG files: matplotlib's, with what it repeats said once, and nothing that no eye sees."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

_PREFIXES = {
    "http://www.w3.org/2000/svg": "",
    "http://www.w3.org/1999/xlink": "xlink",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://www.w3.org/XML/1998/namespace": "xml",
}
_GROUP, _TEXT, _USE = "g", "text", "use"
_CLIP, _STYLE = "clip-path", "style"
_PLACES = ("d", "x", "y")  # in points
_NUMBER = re.compile(r"-?\d+\.\d+")
_POINTED_AT = re.compile(r"#([^\s)\"']+)")
_SPACED = re.compile(r"([:;,]) ")
_OWN = re.compile(r"(?<![\w-])(opacity|stroke-line(cap|join)):")


def compacted(svg: bytes) -> bytes:
    """Rewrite a figure of matplotlib's, as it is seen, in about half of the bytes.

    Ids that nothing points at go, and groups that then say nothing; neighbours of one style, or of
    one clipping, become a group that says it once; coordinates are rounded to a hundredth of a
    point.

    Args:
        svg: a file of matplotlib's `svg` backend. It stays as it is where it is no XML, as a title
            with control characters makes it.

    """
    try:
        root = _prefixed(ET.fromstring(svg))
    except ET.ParseError:
        return svg
    values = [value for each in root.iter() for value in each.attrib.values()]
    pointed_at = {name for value in values for name in _POINTED_AT.findall(value)}
    for each in root.iter():
        if each.get("id") not in pointed_at:
            each.attrib.pop("id", None)
        for place in _PLACES:
            if place in each.attrib:
                each.set(place, " ".join(_NUMBER.sub(_rounded, each.attrib[place]).split()))
        if _STYLE in each.attrib:
            each.set(_STYLE, _SPACED.sub(r"\1", each.attrib[_STYLE]))
    _tidy(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written.replace(b" />", b"/>") + b"\n"


def _prefixed(root: ET.Element) -> ET.Element:
    """Write prefixes into names: those that ElementTree would write are the whole process's."""
    prefixes: dict[str, str] = {}

    def short(name: str) -> str:
        space, _, local = name.rpartition("}")
        if not space:
            return name
        prefix = prefixes.setdefault(space, _PREFIXES.get(space[1:], f"ns{len(prefixes)}"))
        return f"{prefix}:{local}" if prefix else local

    for each in root.iter():
        each.tag = short(each.tag)
        each.attrib = {short(name): value for name, value in each.attrib.items()}
    named = sorted((prefix, space[1:]) for space, prefix in prefixes.items() if prefix != "xml")
    declared = {f"xmlns:{prefix}" if prefix else "xmlns": space for prefix, space in named}
    root.attrib = declared | root.attrib
    return root


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number.group()):z.2f}".rstrip("0").rstrip(".")


def _tidy(parent: ET.Element) -> None:
    """Write the elements within one anew, line by line; words stay as they are."""
    if parent.tag == _TEXT:
        return
    for child in parent:
        _tidy(child)
    parent[:] = _shared(_unwrapped(parent), (_CLIP, _STYLE))
    if len(parent):
        parent.text = "\n"
    for child in parent:
        child.tail = "\n"


def _unwrapped(elements: Sequence[ET.Element] | ET.Element) -> Iterator[ET.Element]:
    """Yield elements, and in place of groups that say nothing what is in them."""
    for each in elements:
        if each.tag == _GROUP and not each.attrib:
            yield from each
        else:
            yield each


def _shared(elements: Iterator[ET.Element], names: Sequence[str]) -> list[ET.Element]:
    """Put neighbours that share the first of these attributes into a group, then the next."""
    if not names:
        return list(elements)
    name, *rest = names
    found = []
    for value, run in groupby(elements, lambda each: _shareable(each, name)):
        alike = list(run)
        if value is None or len(alike) == 1:
            found += _shared(iter(alike), rest)
            continue
        for each in alike:
            del each.attrib[name]
        group = ET.Element(_GROUP, {name: value})
        group.extend(_shared(_unwrapped(alike), rest))
        group.text = "\n"
        for each in group:
            each.tail = "\n"
        found.append(group)
    return found


def _shareable(element: ET.Element, name: str) -> str | None:
    """Return what an element may share with a group around it.

    That is no clipping of what is put elsewhere, as that moves with it; no opacity, which a group
    has as a whole; and no ends of lines, which matplotlib's rule for `*` lets nothing inherit.
    """
    is_moved = "transform" in element.attrib or element.tag == _USE
    if is_moved if name == _CLIP else _OWN.search(element.get(_STYLE, "")):
        return None
    return element.get(name)
