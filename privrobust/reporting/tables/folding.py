"""A table in parts, for a terminal that is narrower than it."""

from collections.abc import Sequence
from dataclasses import replace

from privrobust.reporting.tables.formats import lines
from privrobust.reporting.tables.table import Layout


def folded(layout: Layout, width: int) -> tuple[str, list[Layout]]:
    """Say once what all rows have in common, and split the other columns into parts that fit.

    Every part repeats the columns of text, in which rows differ. A column that is too wide even so
    stays whole.

    Args:
        layout: the table.
        width: of the terminal, in characters.

    Returns:
        Such as `C = 1, T = 300`, and the parts.

    """
    rows = [row for block in layout.blocks for row in block]
    values = [{row[place].text for row in rows} for place in range(len(layout.columns))]
    texts = [place for place, column in enumerate(layout.columns) if column.is_text]
    differ = [place for place in texts if len(values[place]) > 1]
    common = [
        f"{' '.join(layout.columns[place].header)} = {rows[0][place].text}"
        for place in texts
        if place not in differ
    ]
    parts: list[list[int]] = []
    for place, column in enumerate(layout.columns):
        if column.is_text:
            continue
        wider = _part(layout, [*differ, *(parts[-1] if parts else []), place])
        if parts and max(map(len, lines(wider))) <= width:
            parts[-1].append(place)
        else:
            parts.append([place])
    return ", ".join(common), [_part(layout, [*differ, *places]) for places in parts]


def _part(layout: Layout, places: Sequence[int]) -> Layout:
    """Keep some columns."""
    return replace(
        layout,
        columns=[layout.columns[place] for place in places],
        blocks=[[[row[place] for place in places] for row in block] for block in layout.blocks],
    )
