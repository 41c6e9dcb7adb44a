"""The tables of a results store: a row a run, a row an evaluation, a row a failed attempt."""

import math
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from privrobust.spec import AttackSpec, RunSpec
from privrobust.training.measures import Evaluation, Measures, Success

SCHEMA_VERSION = 7
"""Raise it with every change of these tables, and say in `LACKED` what older ones are to get."""

_SINCE_7 = (
    *(f"runs.{name}" for name in ("sampling", "repetition", "repeats")),
    *(f"runs.{name}" for name in ("local_steps", "local_learning_rate")),
    *(f"runs.{name}" for name in ("kappa_bound", "error", "error_bound", "error_of_mean")),
    *(f"runs.{name}" for name in ("train_accuracy", "train_loss")),
    *(f"runs.worst_{kind}_accuracy" for kind in ("class", "worker")),
    *(f"runs.{name}" for name in ("pairwise_noise", "colluding")),
    "evaluations.error",
    *(f"{table}.attack_success_rate" for table in ("runs", "evaluations")),
)
LACKED = {5: ("runs.sampling_rate", *_SINCE_7), 6: _SINCE_7}
"""By version, the columns that are added; a store of any other version is refused."""

BEFORE = {f"runs.{name}": field.default for name, field in RunSpec.model_fields.items()}
"""By column, what runs had that were stored before it was there; in others there is nothing."""

RUNNING, DONE, FAILED = "running", "done", "failed"

_NUMBER = Float(53)  # double precision everywhere
_TYPES: dict[Any, TypeEngine[Any]] = {
    AttackSpec: String(),
    bool: Boolean(),
    float: _NUMBER,
    int: BigInteger(),
    str: String(),
}


_BOUNDS = ("ge", "gt", "le", "lt")
_SHARE = {"ge": 0, "le": 1}
_POSITIVE = {"ge": 0}
_NEEDED = {"needed": True}


def _accepts(field: FieldInfo) -> dict[str, Any]:
    """Say what a column of a spec's field holds in a run that was stored: as `cells` reads it."""
    annotation, kinds = field.annotation, get_args(field.annotation)
    accepted: dict[str, Any] = {"needed": type(None) not in kinds}
    if get_origin(annotation) is Literal:
        accepted["choices"] = kinds
    for bound in field.metadata:
        accepted |= {of: getattr(bound, of) for of in _BOUNDS if hasattr(bound, of)}
    if float in (annotation, *kinds):
        accepted.setdefault("lt", math.inf)
    return accepted


def _type(annotation: Any) -> TypeEngine[Any]:
    """Return the type of a field of `RunSpec`; `x | None` is a column of x."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return String() if get_origin(annotation) is Literal else _TYPES[annotation]


# `info` of a column: what its cells hold, where they are not any value of its type or none.
METADATA = MetaData()
ABOUT = Table(
    "about",
    METADATA,
    Column("schema_version", Integer, primary_key=True, autoincrement=False),
)
DATASETS = Table(
    "datasets",
    METADATA,
    Column("name", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
)
RUNS = Table(
    "runs",
    METADATA,
    Column("key", String(32), primary_key=True, info=_NEEDED),
    Column("status", String, nullable=False, info={"needed": True, "choices": (DONE, FAILED)}),
    Column("owner", String),
    Column("lease_until", _NUMBER),
    *(
        Column(name, _type(field.annotation), info=_accepts(field))
        for name, field in RunSpec.model_fields.items()
    ),
    Column("accuracy", _NUMBER, info=_SHARE),
    Column("final_loss", _NUMBER),
    Column("kappa", _NUMBER, info=_POSITIVE),
    Column("kappa_bound", _NUMBER, info=_POSITIVE),
    Column("error", _NUMBER, info=_POSITIVE),
    Column("error_bound", _NUMBER, info=_POSITIVE),
    Column("error_of_mean", _NUMBER, info=_POSITIVE),
    Column("calibration_error", _NUMBER, info=_SHARE),
    Column("attack_success_rate", _NUMBER, info=_SHARE),
    Column("train_accuracy", _NUMBER, info=_SHARE),
    Column("train_loss", _NUMBER),
    Column("worst_class_accuracy", _NUMBER, info=_SHARE),
    Column("worst_worker_accuracy", _NUMBER, info=_SHARE),
    Column("accuracy_by_class", JSON),
    Column("accuracy_by_worker", JSON),
    Column("steps_taken", Integer, info=_POSITIVE),
    Column("diverged", Boolean, info=_NEEDED),
    Column("failure", Text),
    Column("epsilon", _NUMBER, info=_NEEDED | _POSITIVE),
    Column("accountant_used", String, info=_NEEDED),
    Column("is_upper_bound", Boolean, info=_NEEDED),
    Column("not_private", String),
    Column("seconds", _NUMBER, info=_POSITIVE),
    Column("finished", String),
    Column("versions", String),
    Index("runs_by_status", "status"),
)
EVALUATIONS = Table(
    "evaluations",
    METADATA,
    Column("run", String(32), ForeignKey("runs.key"), primary_key=True, info=_NEEDED),
    Column("step", Integer, primary_key=True, info=_POSITIVE),
    *(Column(name, _NUMBER) for name in (*Evaluation._fields, *Success._fields, *Measures._fields)),
)
FAILURES = Table(
    "failures",
    METADATA,
    Column("place", Integer, primary_key=True),
    Column("run", String(32), nullable=False, index=True),
    Column("time", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", Text),
)


def cells(spec: RunSpec) -> dict[str, Any]:
    """Return a spec as columns: attacks as they are written, everything else as it is."""
    fields = spec.model_dump(exclude={"attack"})
    return fields | {"attack": str(spec.attack) if spec.attack else None}
