"""Utility, privacy and robustness in one table, for terminals, papers and pages.

`lay_out` and the presets make a table of a store's runs, `FORMATS` write it. Means are over seeds,
with 95 % Student intervals; nothing else is averaged over.
"""

from privrobust.tables.choice import chosen, tested, validated
from privrobust.tables.data import data
from privrobust.tables.formats import FORMATS, folded_notes, rich_table
from privrobust.tables.layout import SHOWN, Layout, lay_out
from privrobust.tables.legend import legend, promise
from privrobust.tables.presets import PRESETS, preset

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
