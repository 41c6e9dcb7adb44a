"""A figure that a notebook shows by itself, whether or not matplotlib's pyplot was imported."""

from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

_SHOWN_DPI, _DOTS = 100, 2  # pixels of a page an inch, and dots of the picture in each


class DisplayedFigure(Figure):
    """One of matplotlib's, which notebooks show; pyplot knows nothing of it, nor keeps it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        """Return the picture, and how wide a page is to show it."""
        drawn = BytesIO()
        self.savefig(drawn, format="png", dpi=_DOTS * _SHOWN_DPI)
        return drawn.getvalue(), {"width": round(self.get_figwidth() * _SHOWN_DPI)}
