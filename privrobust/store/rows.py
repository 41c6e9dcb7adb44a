"""Results as rows of a store's tables."""

import math
import platform
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.spec import RunSpec
from privrobust.store.schema import DONE, FAILED, cells

if TYPE_CHECKING:
    from privrobust.training.result import RunResult


def row_of(result: "RunResult") -> dict[str, Any]:
    """Return the row of a run that trained, to its end or not."""
    failed = bool(result.failure)
    return {
        "key": result.spec.key,
        "status": FAILED if failed else DONE,
        **cells(result.spec),
        "accuracy": None if failed else _number(result.accuracy),
        "final_loss": None if failed else _number(result.loss),
        "kappa": None if failed else _number(result.kappa),
        "kappa_bound": _number(result.kappa_bound),
        "error": None if failed else _number(result.error),
        "error_bound": _number(result.error_bound),
        "error_of_mean": _number(result.error_of_mean),
        "calibration_error": None if failed else _number(result.calibration_error),
        "accuracy_by_class": None if failed else _numbers(result.accuracy_by_class),
        "accuracy_by_worker": None if failed else _numbers(result.accuracy_by_worker),
        "steps_taken": result.steps,
        "diverged": result.diverged,
        "failure": result.failure,
        "epsilon": result.epsilon,
        "accountant_used": result.spent.accountant,
        "is_upper_bound": result.spent.is_upper_bound,
        "not_private": result.spent.reason,
    }


def row_of_failure(spec: RunSpec, reason: str) -> dict[str, Any]:
    """Return the row of a run without a result, with what it was to spend.

    That may have been spent before it failed, so it is what a budget has to count.
    """
    from privrobust.training.privacy_plan import PrivacyPlan  # which trains, and so loads torch

    plan = PrivacyPlan(spec)
    budget = plan.spent
    return {
        "key": spec.key,
        "status": FAILED,
        **cells(plan.spec),
        "steps_taken": 0,
        "diverged": False,
        "failure": reason,
        "epsilon": budget.epsilon,
        "accountant_used": budget.accountant,
        "is_upper_bound": budget.is_upper_bound,
        "not_private": budget.reason,
    }


def rows_of_history(key: str, history: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row an evaluation of the run of that key."""
    names = ["run", *map(str, history.columns)]
    columns = [history[name].tolist() for name in history.columns]
    return [
        dict(zip(names, (key, *map(_number, row)), strict=True))
        for row in zip(*columns, strict=True)
    ]


def today() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def versions() -> str:
    """Return the versions of what results depend on, in one line."""
    packages = " ".join(f"{name} {version(name)}" for name in ("privrobust", "torch", "numpy"))
    return f"{packages} python {platform.python_version()} {platform.machine()}"


def _number(value: Any) -> Any:
    """Return what databases agree on: NaN is no value."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _numbers(values: pd.Series) -> list[float | None]:
    return [_number(float(value)) for value in values]
