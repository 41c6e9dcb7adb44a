"""Rooms: who may import from whom, as docs/architecture.md says, and how long a module may be."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 400


def modules():
    """Every module of the package, by its name without `privrobust.`, and its file."""
    found = {}
    for folder, room in {
        "privrobust": (),
        "accountants": ("accountants",),
        "attacks": ("attacks",),
    }.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join(part for part in (*room, *inside) if part != "__init__")
            found[name] = path
    return found


def imported(path):
    """Names that a module imports from the package, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(name):
    return name.partition(".")[0]


def rooms():
    """The rooms of the page's table, from the ground up."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)


MODULES = modules()


def test_the_page_lists_every_room():
    assert sorted(rooms()) == sorted({room(name) for name in MODULES} - {""})


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_module_imports_from_rooms_above_it_alone(name):
    above = rooms()[: rooms().index(room(name)) + 1]
    seen = [
        each.removeprefix("privrobust.")
        for each in imported(MODULES[name])
        if each.startswith("privrobust.")
    ]
    assert [each for each in seen if room(each) not in above] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name):
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


def test_every_room_is_installed():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert sorted(stated) == sorted(f"privrobust.{name}".rstrip(".") for name in packages)
