"""Rooms: who may import from whom, as docs/architecture.md says, and how long a module may be."""

import re
import tomllib

import pytest
from rooms import PICTURE, ROOT, arrows, imported, modules, order, reduced, room, svg

MOST_LINES = 400
MODULES = modules()


def test_the_page_lists_every_room():
    assert sorted(order()) == sorted({room(name) for name in MODULES} - {""})


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_module_imports_from_rooms_above_it_alone(name):
    above = order()[: order().index(room(name)) + 1]
    assert [each for each in imported(MODULES[name]) if room(each) not in above] == []


def test_the_picture_is_of_these_imports():
    assert PICTURE.read_text(encoding="utf-8") == svg(reduced(arrows())), "python docs/rooms.py"


def test_what_the_page_names_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:accountants|attacks|privrobust|tests|training)/[\w/.]+)`", page)
    places = [f"privrobust/{each}" if each.startswith("training/") else each for each in named]
    assert len(places) > 20
    # a room that grows from a module to a folder keeps its name
    assert [each for each in places if not any(ROOT.glob(f"{each}*"))] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name):
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


def test_every_room_is_installed():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert sorted(stated) == sorted(f"privrobust.{name}".rstrip(".") for name in packages)
