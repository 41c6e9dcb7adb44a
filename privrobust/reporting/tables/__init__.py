"""Utility, privacy and robustness in one table, for terminals, papers and pages.

`lay_out` and the presets make a table of a store's runs, `FORMATS` write it. Means are over seeds,
with 95 % Student intervals; nothing else is averaged over.
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.reporting.tables.cells import data
    from privrobust.reporting.tables.choice import chosen, tested, validated
    from privrobust.reporting.tables.formats import FORMATS
    from privrobust.reporting.tables.layout import SHOWN, lay_out
    from privrobust.reporting.tables.presets import PRESETS, preset
    from privrobust.reporting.tables.table import Layout

__all__ = [
    "FORMATS",
    "PRESETS",
    "SHOWN",
    "Layout",
    "chosen",
    "data",
    "lay_out",
    "preset",
    "tested",
    "validated",
]

__getattr__ = attributes(
    __name__,
    {
        "FORMATS": "formats",
        "PRESETS": "presets",
        "SHOWN": "layout",
        "Layout": "table",
        "chosen": "choice",
        "data": "cells",
        "lay_out": "layout",
        "preset": "presets",
        "tested": "choice",
        "validated": "choice",
    },
)
