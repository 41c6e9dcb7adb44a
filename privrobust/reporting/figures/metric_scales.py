"""How values of a metric are laid out, on an axis and in colours: by logarithms over decades."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from privrobust.core.formatting import number
from privrobust.reporting.figures.panels import from_0_to_100, in_percent
from privrobust.reporting.figures.scales import log_y
from privrobust.reporting.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = "cividis"  # its lightness rises with the value, for grey and for every eye
_WIDE = 100.0  # times as large as others, from which on these could not be told from 0


def show_metric(panel: "Axes", metric: str, means: Iterable[float]) -> None:
    """Make the y axis one of a metric.

    It reaches from 0 to 100 for an accuracy, is in percent for any share, and logarithmic for what
    spans decades; near 0 it is linear where some values are not above it.

    Args:
        panel: in which all is drawn.
        metric: of `METRICS`.
        means: all that are drawn; NaN is not.

    """
    if METRICS[metric].is_accuracy:
        from_0_to_100(panel)
        return
    if METRICS[metric].is_share:
        in_percent(panel)
        return
    values = _finite(means)
    if not _spans_decades(values):
        panel.yaxis.set_major_formatter(as_numbers())
    elif values.min() > 0:
        log_y(panel, values)
    else:
        panel.set_yscale("symlog", linthresh=_typical(values))
        panel.yaxis.set_major_formatter(as_numbers())


def colors_of(metric: str, means: Iterable[float]) -> Any:
    """Return what colours means: an accuracy from 0 to 100, else from the least to the most.

    Colours follow logarithms where an axis would (`show_metric`).
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    scale = 100 if METRICS[metric].is_share else 1
    values = scale * _finite(means)
    low, high = (values.min(), values.max()) if len(values) else (0, 1)
    norm: Any = Normalize(low, high) if low < high else Normalize(low - 1, high + 1)
    if METRICS[metric].is_accuracy:
        norm = Normalize(0, 100)
    elif not METRICS[metric].is_share and _spans_decades(values):
        norm = LogNorm(low, high) if low > 0 else SymLogNorm(_typical(values), vmin=low, vmax=high)
    return ScalarMappable(norm, _COLORS)


def as_numbers() -> Any:
    """Return what writes ticks as all numbers are written, with no power of ten in a corner."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda tick, _: number(float(tick)))


def _finite(means: Iterable[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the finite ones; less than the least normal number is nothing."""
    values = np.array([mean for mean in map(float, means) if math.isfinite(mean)])
    return np.where(abs(values) < np.finfo(float).tiny, 0.0, values)


def _spans_decades(values: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Tell whether some values are next to nothing beside others."""
    if not len(values):
        return False
    least = values.min() if values.min() > 0 else _typical(values)
    return bool(abs(values).max() >= _WIDE * least > 0)


def _typical(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return how large values of either sign are, of which some are huge."""
    return float(np.quantile(abs(values), 0.25))
