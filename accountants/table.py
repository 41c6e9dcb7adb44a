"""Grids of settings, every accountant side by side."""

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from privrobust.accountants.calibration import check_target, noise_scale
from privrobust.accountants.protocol import check_delta
from privrobust.accountants.registry import accountants_of, get_accountant
from privrobust.accountants.release import Release
from privrobust.errors import SpecError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


NOTE = "note"
RATE = "sampling_rate"
"""The column of q, whether it was given or follows from other settings."""


class Cell(Protocol):
    """What a table reports for one setting by one accountant."""

    def __call__(self, release: Release, accountant: str, **goal: float) -> float:
        """Return a number; `SpecError` where there is none."""
        ...


def budget_table(
    *,
    delta: float | Iterable[float] = 1e-5,
    accountants: Iterable[str] | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Tabulate epsilon of every combination of settings, one row each, by every accountant.

    Args:
        delta: one value or several.
        accountants: names; by default all that know such messages.
        settings: the fields of `Release`, each one value or several.

    Returns:
        A column for every setting given, `delta`, `noise_multiplier` (sigma), `sampling_rate` (q,
        given or not), one for every accountant (named by its label: estimates say so), and `note`:
        why a value is infinite or missing (NaN), and whether delta is too large for the dataset.

    Raises:
        SpecError: a setting, a delta or a name that is not accepted.

    """

    def epsilon(release: Release, accountant: str, **goal: float) -> float:
        return get_accountant(accountant).epsilon(release, goal["delta"])

    return _table(settings, {"delta": _deltas(delta)}, accountants, epsilon)


def noise_table(
    *,
    target_epsilon: float | Iterable[float],
    delta: float | Iterable[float] = 1e-5,
    accountants: Iterable[str] | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Tabulate the noise scale b that meets each target, by every accountant.

    As `budget_table`, with a column `target_epsilon` and without b and sigma among the settings.
    """
    if "noise_scale" in settings:
        raise SpecError("noise_scale: it is what this table finds; give only target_epsilon")
    goals = {
        "delta": _deltas(delta),
        "target_epsilon": [
            check_target(target) for target in _several("target_epsilon", target_epsilon)
        ],
    }

    def b(release: Release, accountant: str, **goal: float) -> float:
        return noise_scale(release, goal["target_epsilon"], goal["delta"], accountant)

    table = _table({**settings, "noise_scale": 1.0}, goals, accountants, b)
    return table.drop(columns=["noise_scale", "noise_multiplier"])


def _table(
    settings: Mapping[str, Any],
    goals: Mapping[str, list[float]],
    accountants: Iterable[str] | None,
    cell: Cell,
) -> "pd.DataFrame":
    import pandas as pd

    fields = {field: _several(field, value) for field, value in settings.items()}
    message = "sign" if "sign" in fields.get("message", []) else "vector"
    names = accountants_of(message) if accountants is None else _several("accountant", accountants)
    labels = {name: get_accountant(name).label for name in names}
    rows: list[dict[str, Any]] = []
    for values in product(*fields.values()):
        setting = dict(zip(fields, values, strict=True))
        release = _release(setting)
        for goal_values in product(*goals.values()):
            goal = dict(zip(goals, goal_values, strict=True))
            shown = {field: getattr(release, field) for field in fields if field != RATE}
            rows.append({**shown, **goal, **_row(release, goal, labels, cell)})
    return pd.DataFrame(rows)


def _row(
    release: Release, goal: Mapping[str, float], labels: Mapping[str, str], cell: Cell
) -> dict[str, Any]:
    notes = [release.not_private_reason] if release.not_private_reason else []
    values: dict[str, float] = {}
    said: dict[tuple[str, str], list[str]] = {}
    for name, label in labels.items():
        try:
            values[label] = cell(release, name, **goal)
        except SpecError as error:
            values[label] = math.nan
            _, subject, rest = str(error).rpartition(f"accountant: {name} ")
            said.setdefault((subject and "accountant: ", rest), []).append(name)
    for (field, rest), names in said.items():  # one note for all that say the same of themselves
        who = names[0] if len(names) == 1 else f"each of {', '.join(names)}"
        notes.append(f"{field}{who} {rest}" if field else rest)
    size = release.dataset_size if release.unit == "example" else None
    if size is not None and goal["delta"] >= 1 / size:
        notes.append(f"delta = {goal['delta']:g} is not below 1 / dataset_size = {1 / size:.3g}")
    return {
        "noise_multiplier": release.noise_multiplier,
        RATE: float(release.sampling_rate),
        **values,
        NOTE: "; ".join(notes),
    }


def _release(setting: Mapping[str, Any]) -> Release:
    for field in setting:
        if field not in Release.__dataclass_fields__:
            raise unknown_name("setting", field, Release.__dataclass_fields__)
    return Release(**setting)


def _deltas(given: Any) -> list[float]:
    return [check_delta(delta) for delta in _several("delta", given)]


def _several(field: str, value: Any) -> list[Any]:
    """Return the values of whatever holds several; text and arrays without axes are one.

    Raises:
        SpecError: it holds none.

    """
    is_one = isinstance(value, str | bytes) or not isinstance(value, Iterable)
    if is_one or getattr(value, "ndim", 1) == 0:
        return [value]
    values = list(value)
    if not values:
        raise SpecError(f"{field}: no value; accepted: one or several")
    return values
