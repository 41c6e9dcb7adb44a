"""Utility, privacy and robustness in one table, for terminals, papers and pages.

`lay_out` and the presets make a table of a store's runs, `FORMATS` write it. Means are over seeds,
with 95 % Student intervals; nothing else is averaged over.
"""

from privrobust.reporting.legend import legend, promise
from privrobust.reporting.tables.choice import chosen, tested, validated
from privrobust.reporting.tables.data import data
from privrobust.reporting.tables.formats import FORMATS, folded_notes, rich_table
from privrobust.reporting.tables.layout import SHOWN, Layout, lay_out
from privrobust.reporting.tables.presets import PRESETS, preset

__all__ = [
    "FORMATS",
    "PRESETS",
    "SHOWN",
    "Layout",
    "chosen",
    "data",
    "folded_notes",
    "lay_out",
    "legend",
    "preset",
    "promise",
    "rich_table",
    "tested",
    "validated",
]
