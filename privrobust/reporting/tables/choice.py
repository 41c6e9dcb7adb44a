"""Which runs of a store a table is of."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import yaml

from privrobust.errors import SpecError, did_you_mean, in_short, shown, unknown_name
from privrobust.spec.run_fields import FIELDS
from privrobust.sweeps.yaml_lines import parse


def chosen(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Return the runs that meet all conditions.

    Args:
        runs: a row a run, as from `Store.runs`.
        conditions: `field=value`, or `field=[value, ...]` for any of these, values as in YAML.
            `attack=none` is without.

    Raises:
        SpecError: a condition is not of that form, names no field, or leaves no run.

    """
    for condition in conditions:
        field, sign, text = condition.partition("=")
        field = field.strip()
        if not sign or field not in runs:
            if sign:
                raise unknown_name("where", field, FIELDS)
            raise SpecError(
                f"where: {shown(condition)} is not accepted: field=value or field=[value, ...]"
            )
        values, texts = _parsed(condition, text)
        there = runs[field]
        runs = runs[[_is_any(value, values, texts) for value in there]]
        if runs.empty:
            found = sorted({"none" if pd.isna(each) else str(each) for each in there})
            hint = did_you_mean(text.strip(), found)
            raise SpecError(
                f"where: no run has {in_short(condition)}{hint} "
                f"(there is: {in_short(', '.join(found))})"
            )
    return runs


def _parsed(condition: str, text: str) -> tuple[list[Any], list[str]]:
    """Return the values, and how they are written: a name may read as a number."""
    place = f"where {in_short(condition)}"
    value = parse(text, place, lambda line: place)
    if not isinstance(value, list):
        return [value], [text.strip()]
    written = yaml.load(text, yaml.BaseLoader)
    return value, [each for each in written if isinstance(each, str)]


def _is_any(found: Any, values: Sequence[Any], texts: Sequence[str]) -> bool:
    if pd.isna(found):
        return None in values or "none" in values
    return found in texts or any(found == value or str(found) == str(value) for value in values)


def tested(runs: pd.DataFrame) -> pd.DataFrame:
    """Keep the runs on test data, where there are such: the others were to tune by."""
    on_test = runs["evaluate_on"] == "test"
    return runs[on_test] if on_test.any() else runs


def validated(runs: pd.DataFrame) -> pd.DataFrame:
    """Keep the runs on validation data, where there are such."""
    on_validation = runs["evaluate_on"] == "validation"
    return runs[on_validation] if on_validation.any() else runs
