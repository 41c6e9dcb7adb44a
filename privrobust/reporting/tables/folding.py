"""A table in parts, for a window that is narrower than it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest

from rich.cells import cell_len

from privrobust.core.escaping import in_terminal
from privrobust.reporting.tables.formats import bottom, starred
from privrobust.reporting.tables.table import Column, Entry, Layout

_GAP = 2  # columns of the window between two of the table
_NARROW = (24, 16, 10)  # columns of text, in which cells are folded where that makes room
_SHORT = 10  # characters of a header that is not broken, which would make it hard to read
_LONG = 20  # columns of the window for which a number may stand
_MOST_PARTS = 3  # before columns that are no more than details are left out


def folded(layout: Layout, columns: int | None) -> tuple[list[str], list[Layout]]:
    """Split a table into parts that fit a window, one below the other.

    What all rows have in common is said once, before them. Every part repeats the columns in which
    rows differ, folded where that makes room; where they leave none for another, numbers stand for
    them, and what these mean is said before the table, too. Columns of one group, such as those of
    f=2, stay together where they fit. Of many parts, details of what others tell are left out.

    Args:
        layout: the table.
        columns: of the window; None where there is none, and a table may be as wide as it likes.

    Returns:
        What is to be read first, line by line, and the parts: nothing and the table where it fits.

    """
    rows = [row for block in layout.blocks for row in block]
    if columns is None or not rows or sum(_pitches(layout)) <= columns:
        return [], [layout]
    names, values = _places(layout, is_text=True), _places(layout, is_text=False)
    differ = [place for place in names if len({row[place].text for row in rows}) > 1]
    common = [
        _told(layout.columns[place], rows[0][place]) for place in names if place not in differ
    ]
    told = [f"In every row: {', '.join(common)}"] if common else []
    layout = _part(layout, sorted([*differ, *values]))
    whole = sum(_pitches(layout))
    if whole <= columns:
        return told, [layout]
    names, values = _places(layout, is_text=True), _places(layout, is_text=False)
    narrow = [layout, *(_narrowed(layout, limit) for limit in _NARROW)]
    for each in narrow:
        if sum(_pitches(each, _least)) <= columns:
            return told, [_stacked(each)]
    roomy = next((each for each in narrow if _has_room(each, columns)), None)
    key, layout = ([], roomy) if roomy else _abridged(layout, columns)
    told += key
    names, values = _places(layout, is_text=True), _places(layout, is_text=False)
    parts = _in_parts(layout, names, values, columns)
    wide = f"all {len(values)} columns side by side take {whole}; `| less -S` shows them so"
    kept = [place for place in values if not layout.columns[place].detail]
    if len(parts) > _MOST_PARTS and len(kept) < len(values):
        details = dict.fromkeys(each.detail for each in layout.columns if each.detail)
        told.insert(0, f"Left out: {', '.join(details)}, as {wide}.")
        parts = _in_parts(layout, names, kept, columns)
    elif len(parts) > 1:
        told.insert(0, f"In {len(parts)} parts, as {wide}.")
    return told, parts


def _in_parts(
    layout: Layout, names: Sequence[int], values: Sequence[int], columns: int
) -> list[Layout]:
    """Deal columns to as few parts as fit, each with those that name the row."""
    pitches = _pitches(layout, _least)
    room = columns - _sum(pitches, names)
    parts: list[list[int]] = []
    for _, group in groupby(values, key=lambda place: layout.columns[place].header[:1]):
        together = list(group)
        is_whole = _sum(pitches, together) <= room
        for places in [together] if is_whole else [[place] for place in together]:
            if parts and _sum(pitches, [*parts[-1], *places]) <= room:
                parts[-1] += places
            else:
                parts.append([*places])
    return [_stacked(_part(layout, [*names, *places])) for places in parts]


def _pitches(layout: Layout, head: Callable[[str], int] = cell_len) -> list[int]:
    """Return how wide every column is, with the gap before it, if parts of headers are as `head`.

    They add up to the width of the table.
    """
    rows = [row for block in layout.blocks for row in block]
    return [
        _GAP
        + max(
            [
                *(head(in_terminal(part)) for part in column.header),
                *(cell_len(starred(row[place])) for row in rows),
            ]
        )
        for place, column in enumerate(layout.columns)
    ]


def _sum(pitches: Sequence[int], places: Iterable[int]) -> int:
    return sum(pitches[place] for place in places)


def _places(layout: Layout, *, is_text: bool) -> list[int]:
    return [place for place, each in enumerate(layout.columns) if each.is_text == is_text]


def _told(column: Column, entry: Entry) -> str:
    return in_terminal(f"{column.title} {entry.text}")


def _stacked(layout: Layout) -> Layout:
    """Break headers that are wider than the cells below them.

    What stands side by side stays so, as in f=2 above several attacks.
    """
    levels = max(len(column.header) for column in layout.columns)
    parts = [list(map(in_terminal, bottom(column.header, levels))) for column in layout.columns]
    widths = [pitch - _GAP for pitch in _pitches(layout, _least)]
    headers: list[tuple[str, ...]] = [() for _ in parts]
    for level in zip(*parts, strict=True):
        stacks = [_broken(part, width) for part, width in zip(level, widths, strict=True)]
        depth = max(map(len, stacks))
        headers = [
            (*above, *bottom(stack, depth)) for above, stack in zip(headers, stacks, strict=True)
        ]
    columns = [
        replace(column, header=header)
        for column, header in zip(layout.columns, headers, strict=True)
    ]
    return replace(layout, columns=columns)


def _least(part: str) -> int:
    """Return how wide a part of a header is at least."""
    pieces = [part] if cell_len(part) <= _SHORT else _pieces(part)
    return max((cell_len(piece.rstrip()) for piece in pieces), default=0)


def _broken(name: str, width: int) -> list[str]:
    """Fold a name to a width: after a space or an underscore, and between parameters."""
    lines = [""]
    for piece in _pieces(name):
        if lines[-1] and cell_len(f"{lines[-1]}{piece}".rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]


def _pieces(name: str) -> list[str]:
    """Part a name where it may be broken: inside no word, and inside no parameter."""
    pieces, depth = [""], 0
    for sign in name:
        pieces[-1] += sign
        depth += (sign in "([") - (sign in ")]")
        if sign in (" _:/", "(,", "")[min(max(depth, 0), 2)] and pieces[-1] != "(":
            pieces.append("")
    return [piece for piece in pieces if piece]


def _narrowed(layout: Layout, limit: int) -> Layout:
    """Fold the names of rows to a width: a row takes as many lines as its longest cell."""
    places = set(_places(layout, is_text=True))

    def folded_row(row: Sequence[Entry]) -> Iterator[list[Entry]]:
        cells = [
            [replace(entry, text=line) for line in _broken(in_terminal(entry.text), limit)]
            if place in places
            else [entry]
            for place, entry in enumerate(row)
        ]
        for line in zip_longest(*cells, fillvalue=Entry()):
            yield list(line)

    blocks = [[line for row in block for line in folded_row(row)] for block in layout.blocks]
    return replace(layout, blocks=blocks)


def _has_room(layout: Layout, columns: int) -> bool:
    """Tell whether each column fits beside those that tell rows apart."""
    pitches = _pitches(layout, _least)
    values = _places(layout, is_text=False)
    widest = max((pitches[place] for place in values), default=0)
    return _sum(pitches, _places(layout, is_text=True)) + widest <= columns


def _abridged(layout: Layout, columns: int) -> tuple[list[str], Layout]:
    """Let numbers stand for long names, or else for all that tells a row apart; say for what."""
    names, pitches = _places(layout, is_text=True), _pitches(layout)
    told, short = [], layout
    for place in sorted(names, key=pitches.__getitem__, reverse=True):
        if pitches[place] > _LONG:
            key, short = _numbered(short, [place], layout.columns[place].title)
            told += key
            if _has_room(short, columns):
                return told, short
    return _numbered(layout, names, "row")


def _numbered(layout: Layout, places: Sequence[int], title: str) -> tuple[list[str], Layout]:
    """Put one column of numbers in the place of some, and say what each number stands for."""
    if not places:
        return [], layout
    first, rest = places[0], set(places[1:])
    numbers: dict[tuple[str, ...], int] = {}
    blocks: list[list[list[Entry]]] = []
    for block in layout.blocks:
        blocks.append([])
        for row in block:
            texts = tuple(row[place].text for place in places)
            number = numbers.setdefault(texts, len(numbers) + 1)
            short = [*row[:first], Entry(str(number)), *row[first + 1 :]]
            blocks[-1].append([entry for place, entry in enumerate(short) if place not in rest])
    heads = [*layout.columns]
    heads[first] = Column((title,), is_text=True)
    heads = [head for place, head in enumerate(heads) if place not in rest]
    titles = [f"{layout.columns[place].title} " if rest else "" for place in places]
    told = [
        in_terminal(f"{title} {number}: {', '.join(map(''.join, zip(titles, texts, strict=True)))}")
        for texts, number in numbers.items()
    ]
    return told, replace(layout, columns=heads, blocks=blocks)


def _part(layout: Layout, places: Sequence[int]) -> Layout:
    """Keep some columns."""
    return replace(
        layout,
        columns=[layout.columns[place] for place in places],
        blocks=[[[row[place] for place in places] for row in block] for block in layout.blocks],
    )
