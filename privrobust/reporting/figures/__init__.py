"""Pictures for papers and meetings, one file a figure; `FIGURES` lists those that have a name.

>>> FIGURES["curves"].needs  # of `FIGURES["curves"].draw`
('runs', 'histories')

matplotlib is imported only when one is drawn, and its settings are left as they were. All are 3.3
or 6.8 inches wide (one or two columns of a page), and their lines told apart without colour too.
`with painted(DARK):` paints those drawn meanwhile for dark pages.
"""

from privrobust.reporting.figures.canvas import check_ending, new_figure, save_figure
from privrobust.reporting.figures.registry import FIGURES
from privrobust.reporting.figures.themes import DARK, LIGHT, painted

__all__ = [
    "DARK",
    "FIGURES",
    "LIGHT",
    "check_ending",
    "new_figure",
    "painted",
    "save_figure",
]
