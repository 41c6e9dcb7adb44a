"""What reproduces the runs of a row: a sweep in YAML that expands to exactly them.

It is made of what the store says alone. Building a `RunSpec` would import the modules that specs
name, and a store may come from anybody.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args

import pandas as pd
import yaml

from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.sweeps.yaml_scalars import NumbersOf12

_SAID = named(lambda field: field.is_in_key)
_WHOLE = [
    name
    for name, field in RunSpec.model_fields.items()
    if name in _SAID and int in (field.annotation, *get_args(field.annotation))
]
_ALWAYS_SAID = {"dataset", "model", "aggregator", "seed"}

_WIDE = 1_000_000  # lines are not folded

# The quick one is there wherever PyYAML comes as a wheel.
_QUICK: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Settings = dict[str, Any]


class _Dumper(NumbersOf12, _QUICK):  # type: ignore[misc, valid-type]
    """Quotes text that a sweep's file would read as a number."""


def recipe(runs: pd.DataFrame) -> str:
    """Write the YAML of a sweep whose runs are these.

    Fields that have a `RunSpec`'s defaults are left out.

    Args:
        runs: a row a run, as from `Store.runs`.

    """
    settings = [settings_of(run) for run in runs.to_dict("records")]
    if _fixes_workers(settings):
        settings = [_by_workers(each) for each in settings]
    choices = {
        field: list(dict.fromkeys(each[field] for each in settings if each[field] is not None))
        for field in settings[0]
    }
    varying = {field: values for field, values in choices.items() if len(values) > 1}
    fixed = {field: values[0] for field, values in choices.items() if len(values) == 1}
    sweep: Settings = {field: value for field, value in fixed.items() if _is_said(field, value)}
    if _expanded(fixed, varying) == {_known(each) for each in settings}:
        if varying:
            sweep["grid"] = {field: sorted(values) for field, values in varying.items()}
    else:
        sweep["cases"] = [
            {field: each[field] for field in varying if each[field] is not None}
            for each in settings
        ]
    written: str = yaml.dump(
        sweep, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=_WIDE
    )
    return written


def settings_of(run: Mapping[Any, Any]) -> Settings:
    """Return the settings of a row that are in a run's key, as plain values: None for no value."""
    settings = {field: _plain(run[field]) for field in _SAID}
    for field in _WHOLE:  # a column with gaps holds floats
        if settings[field] is not None:
            settings[field] = int(settings[field])
    if settings["target_epsilon"] is not None:
        del settings["noise_scale"]  # it follows from the target
    return settings


def _plain(value: Any) -> Any:
    """Strip NumPy's types, and write None for pandas' gaps."""
    if hasattr(value, "item"):
        value = value.item()
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value


def _fixes_workers(settings: Sequence[Settings]) -> bool:
    """Tell whether n was held while f varied."""
    honest = {each["honest"] for each in settings}
    return len(honest) > 1 and len({each["honest"] + each["byzantine"] for each in settings}) == 1


def _by_workers(settings: Settings) -> Settings:
    workers = settings["honest"] + settings["byzantine"]
    return {
        ("workers" if field == "honest" else field): (workers if field == "honest" else value)
        for field, value in settings.items()
    }


def _is_said(field: str, value: Any) -> bool:
    if field in _ALWAYS_SAID or field == "workers":
        return True
    return bool(RunSpec.model_fields[field].default != value)


def _expanded(fixed: Settings, varying: dict[str, list[Any]]) -> set[tuple[Any, ...]]:
    """Return what a grid of all the varying values would run."""
    combinations = product(*varying.values())
    return {_known(fixed | dict(zip(varying, values, strict=True))) for values in combinations}


def _known(settings: Settings) -> tuple[Any, ...]:
    """Tell runs apart; one without attackers has no attack, whatever a sweep says."""
    if not settings["byzantine"]:
        settings = settings | {"attack": None}
    return tuple(sorted((name, value) for name, value in settings.items() if value is not None))
