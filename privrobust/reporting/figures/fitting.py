"""Draw what fits a figure, and say what that leaves out and how to choose."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from privrobust.core.formatting import in_full
from privrobust.reporting.figures.cells import ordered
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import named

_NAMES = {
    "method": "methods",
    "heterogeneity": "partitions",
    "byzantine": "values of f",
    "noise_scale": "values of b",
    "attacked": "attacks and f",
}
_FIELDS = {
    "heterogeneity": ["heterogeneity", "partition"],
    "byzantine": ["byzantine"],
    "noise_scale": ["noise_scale", "target_epsilon"],
    "attacked": ["attack", "byzantine"],
}
_OF_METHOD = ["aggregator"] + [
    field
    for field in named(lambda field: field.role not in (Role.SEED, Role.SPLIT))
    if field not in {"aggregator"}.union(*_FIELDS.values())
]
_MOST_VALUES = 4
_LONGEST = 16  # text of a value that is worth its place
_ROOM = 220  # characters for fields to choose from


def fitting(cells: pd.DataFrame, most: Mapping[str, int]) -> dict[str, list[Any]]:
    """Return the first values, as many as fit, of every column that has more.

    Args:
        cells: with `mean`, which is missing where there is nothing to draw.
        most: by column, in the order in which they are cut.

    """
    kept: dict[str, list[Any]] = {}
    for column, count in most.items():
        values = ordered(cells[column])
        if len(values) > count:
            # Those of failed runs come last, or a figure with results may show none.
            there = set(cells[column][cells["mean"].notna()])
            kept[column] = sorted(values, key=lambda value: value not in there)[:count]
            cells = cells[cells[column].isin(kept[column])]
    return kept


def within(cells: pd.DataFrame, kept: Mapping[str, Collection[Any]]) -> pd.DataFrame:
    """Keep the cells of these values."""
    for column, values in kept.items():
        cells = cells[cells[column].isin(values)]
    return cells


def about_left_out(
    cells: pd.DataFrame,
    drawn: pd.DataFrame,
    columns: Iterable[str],
    runs: pd.DataFrame,
    of_method: Collection[str] = (),
) -> Iterator[str]:
    """Say how much a figure leaves out, and what chooses.

    Args:
        cells: all.
        drawn: those of them that fit.
        columns: that may have been cut.
        runs: of all cells.
        of_method: fields that tell methods apart, beside those that always may.

    """
    parts, fields = [], []
    for column in columns:
        every, some = cells[column].nunique(), drawn[column].nunique()
        if some < every:
            parts.append(f"{every - some} of {every} {_NAMES[column]}")
            fields += _FIELDS.get(column, [*_OF_METHOD, *of_method])
    if parts:
        what = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        fields = list(dict.fromkeys(fields))
        yield f"Left out: {what}; --where field=value chooses{_choices(runs, fields)}."


def _choices(runs: pd.DataFrame, fields: Iterable[str]) -> str:
    """List some of what varies, as --where takes it."""
    listed: list[str] = []
    for field in fields:
        values = runs[field].drop_duplicates()
        texts = [
            in_full(value) if isinstance(value, float) else str(value)
            for value in ordered(values.astype(object).where(values.notna(), "none"))
        ]
        if len(texts) > 1:
            short = [text for text in texts if len(text) <= _LONGEST]
            if len(short) > _MOST_VALUES:
                short[2:-1] = ["..."]
            elif len(short) < len(texts):
                short.append("...")
            listed.append(f"{field} ({', '.join(short)})")
    while len(", ".join(listed)) > _ROOM:
        listed.pop()
    return f", such as {', '.join(listed)}" if listed else ""
