"""Draw which room imports from which, as the modules have it: docs/rooms.svg.

python docs/rooms.py

draws it anew. tests/test_architecture.py reads the same imports.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
_FOLDERS = {"privrobust": (), "accountants": ("accountants",), "attacks": ("attacks",)}
_ROW, _GAP, _WIDTH, _HEIGHT = 68, 118, 102, 30  # in pixels


def modules() -> dict[str, Path]:
    """Find every module of the package, by its name without `privrobust.`."""
    found = {}
    for folder, within in _FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join(part for part in (*within, *inside) if part != "__init__")] = path
    return found


def room(module: str) -> str:
    """Return the room of a module."""
    return module.partition(".")[0]


def order() -> list[str]:
    """Read the rooms from the ground up, as the table of docs/architecture.md has them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)


def imported(path: Path) -> Iterator[str]:
    """Yield the names that a module imports from the package, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (
            name.removeprefix("privrobust.") for name in names if name.startswith("privrobust.")
        )


def arrows() -> dict[str, set[str]]:
    """Find for each room those that it imports from, its own left out."""
    found: dict[str, set[str]] = {each: set() for each in order()}
    for name, path in modules().items():
        if name:
            found[room(name)] |= {room(each) for each in imported(path)} - {room(name)}
    return found


def reduced(below: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave out arrows that a longer way implies (transitive reduction)."""

    def reached(each: str) -> set[str]:
        return below[each].union(*map(reached, below[each]))

    return {each: near - set().union(*map(reached, near)) for each, near in below.items()}


def svg(near: Mapping[str, set[str]]) -> str:
    """Draw rooms in floors, each above all that it imports from."""
    floor: dict[str, int] = {}
    for each in near:  # from the ground up
        floor[each] = max((floor[other] + 1 for other in near[each]), default=0)
    top = max(floor.values())
    users = {each: [floor[other] for other in near if each in near[other]] for each in near}
    at: dict[str, float] = {}
    for level in range(top + 1):
        # Over what they import from; far-off users first, so that their arrows run outside.
        here = sorted(
            (mean([at[other] for other in near[each]] or [0]), -min(users[each], default=top), each)
            for each in near
            if floor[each] == level
        )
        placed: list[float] = []
        for wanted, _, _ in here:
            placed.append(max(wanted, placed[-1] + _GAP) if placed else wanted)
        shift = mean(wanted for wanted, _, _ in here) - mean(placed)
        at |= {each: x + shift for (_, _, each), x in zip(here, placed, strict=True)}
    left = min(at.values()) - _WIDTH / 2 - 8
    width = max(at.values()) + _WIDTH / 2 + 8 - left
    height = top * _ROW + _HEIGHT + 16

    def place(each: str) -> tuple[float, float]:
        return at[each] - left, (top - floor[each]) * _ROW + 8

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" font-family="sans-serif" font-size="14" text-anchor="middle">',
        "<title>Rooms of privrobust; an arrow points to what a room imports from</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#607d8b"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for each, others in near.items():
        x, y = place(each)
        for other in sorted(others):
            to_x, to_y = place(other)
            start, bend = y + _HEIGHT, (to_y - y - _HEIGHT) / 2
            lines.append(
                f'<path d="M{x:g} {start:g}C{x:g} {start + bend:g} {to_x:g} {to_y - bend:g} '
                f'{to_x:g} {to_y:g}" fill="none" stroke="#607d8b" marker-end="url(#tip)"/>'
            )
    for each in near:
        x, y = place(each)
        lines += [
            f'<rect x="{x - _WIDTH / 2:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
            'fill="#e8eaf6" stroke="#3f51b5"/>',
            f'<text x="{x:g}" y="{y + 20:g}">{each}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(svg(reduced(arrows())), encoding="utf-8")
