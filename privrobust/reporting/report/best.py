"""Which cells of the page's table are the best of their column, by the rule of all tables."""

import math
from collections import defaultdict
from typing import Any

from privrobust.reporting.learning import clearly_above
from privrobust.reporting.report.rows import Cell, Row, Rows
from privrobust.reporting.tables.layout import compared, peers_of
from privrobust.reporting.tables.table import Attacks, Entry

Place = tuple[int, str, str]
"""The number of a row, a column (`clean`, `worst` or an attack), and a metric."""


def best(table: Rows) -> set[Place]:
    """Find the best cells among rows on the same data, with the same f where they are attacked.

    None where all are alike, and never a worst case over fewer attacks than others were run under,
    nor what is not clearly above chance.
    """
    found: set[Place] = set()
    for column in ("clean", "worst", *table.attacks):
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in table.rows:
            f = None if column == "clean" else row.byzantine
            groups[(*peers_of(row.setting, row.setting.values()), f)].append(row)
        for metric in ("accuracy", *table.metrics):
            for peers in groups.values():
                entries = compared([_entry(row, column, metric) for row in peers])
                found |= {
                    (row.number, column, metric)
                    for row, entry in zip(peers, entries, strict=True)
                    if entry.is_best
                }
    return found


def _entry(row: Row, column: str, metric: str) -> Entry:
    cell = _cell(row, column)
    faced = {(row.byzantine, name) for name in row.attacked} if column == "worst" else ()
    return Entry(
        score=cell.score(metric) if cell else math.nan,
        is_learnt=cell is not None and _is_learnt(row, cell),
        attacks=Attacks(faced),
    )


def _is_learnt(row: Row, cell: Cell) -> bool:
    chance = row.runs.get("chance_at_most", row.runs.get("chance"))
    most = math.nan if chance is None else chance.max()
    return bool(clearly_above(cell.accuracy, cell.interval, cell.finished, most))


def _cell(row: Row, column: str) -> Cell | None:
    if column in ("clean", "worst"):
        return row.clean if column == "clean" else row.worst
    return row.attacked.get(column)
