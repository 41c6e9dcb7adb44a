"""Power laws of a best rate: log10 of it as a constant and exponents times log10 of settings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

CONSTANT = "constant"


def fitted(log_rates: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Fit constant and exponents to each seed's rates by least squares.

    Args:
        log_rates: log10 of best rates, a column a seed; the index has the levels `axes`.
        axes: what the rate is a power of.

    Returns:
        Indexed by `CONSTANT` and `axes`, a column a seed; NaN where the settings do not determine
        them, or one is missing.

    """
    rows = [CONSTANT, *axes]
    design = _design(log_rates.index, axes)
    if not np.isfinite(log_rates).all(axis=None) or np.linalg.matrix_rank(design) < len(rows):
        return pd.DataFrame(np.nan, index=rows, columns=log_rates.columns)
    found = np.linalg.lstsq(design, log_rates.to_numpy(dtype=float))[0]
    return pd.DataFrame(found, index=rows, columns=log_rates.columns)


def through(log_rate: float, at: pd.Index, exponents: pd.Series) -> pd.Series:
    """Return the law of given exponents that goes through one setting's rate.

    Args:
        log_rate: log10 of that setting's rate.
        at: the setting, of one row.
        exponents: indexed by axes.

    """
    (row,) = _design(at, list(exponents.index))
    return pd.concat([pd.Series({CONSTANT: log_rate - row[1:] @ exponents.to_numpy()}), exponents])


def predicted(law: pd.Series, settings: pd.Index) -> pd.Series:
    """Return log10 of the rate that a law gives at each setting."""
    return pd.Series(_design(settings, list(law.index[1:])) @ law.to_numpy(dtype=float), settings)


def _design(settings: pd.Index, axes: Sequence[str]) -> npt.NDArray[np.float64]:
    columns = [settings.get_level_values(axis).to_numpy(dtype=float) for axis in axes]
    return np.column_stack([np.ones(len(settings)), *map(np.log10, columns)])
