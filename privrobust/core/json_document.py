"""Tables as JSON, for jq and other programs.

JSON has neither infinities nor NaN. Here an infinity is the text "Infinity" or "-Infinity", which
JavaScript's `Number`, Python's `float` and pandas' `to_numeric` read back; what has no value is
null. All other numbers are numbers, with every digit that a double has.

>>> import math
>>> print(document({"rows": [{"epsilon": math.inf, "accuracy": math.nan, "b": 0.1}]}))
{
  "rows": [
    {
      "epsilon": "Infinity",
      "accuracy": null,
      "b": 0.1
    }
  ]
}
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def document(value: Any) -> str:
    """Write mappings, lists, numbers of any type and text, in ASCII, whatever a terminal has."""
    written = json.dumps(_plain(value), indent=2, allow_nan=False)
    return written.replace("\x7f", r"\u007f")  # the one control character that JSON leaves as it is


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return a mapping a row, of column to value."""
    names = [str(name) for name in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "item"):  # NumPy's
        value = value.item()
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    return None if str(value) == "<NA>" else str(value)  # pandas' gap, and what has no kind in JSON


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else f"{'-' * (value < 0)}Infinity"
