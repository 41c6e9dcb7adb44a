"""The results store: one SQLite file, one row a finished run, one row an evaluation."""

import math
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import pandas as pd
from sqlalchemy import (
    JSON,
    URL,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from privrobust.errors import PrivRobustError
from privrobust.measures import Measures
from privrobust.metrics import Evaluation, RunResult

_METADATA = MetaData()
_RUNS = Table(
    "runs",
    _METADATA,
    Column("key", String, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("accuracy", Float),
    Column("final_loss", Float),
    Column("kappa", Float),
    Column("calibration_error", Float),
    Column("accuracy_by_class", JSON),
    Column("accuracy_by_worker", JSON),
    Column("steps_taken", Integer, nullable=False),
    Column("diverged", Boolean, nullable=False),
    Column("failure", String),
    Column("epsilon", Float, nullable=False),
    Column("accountant_used", String, nullable=False),
    Column("is_upper_bound", Boolean, nullable=False),
    Column("not_private", String),
)
_EVALUATIONS = Table(
    "evaluations",
    _METADATA,
    Column("run", String, ForeignKey("runs.key"), primary_key=True),
    Column("step", Integer, primary_key=True),
    *(Column(name, Float) for name in (*Evaluation._fields, *Measures._fields)),
)


class Store:
    """A file of results. Opening makes it where there is none; every `add` is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_engine(URL.create("sqlite", database=str(path)))
        try:
            reason = self._foreign_table()
            if reason is None:
                _METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error))
        if reason is not None:
            raise PrivRobustError(f"store: {path} is no store of this version ({reason})")

    def _foreign_table(self) -> str | None:
        """Why an existing file is somebody else's, before anything is written to it."""
        present = inspect(self._engine)
        for table in present.get_table_names():
            columns = {column["name"] for column in present.get_columns(table)}
            if table not in _METADATA.tables or columns != set(_METADATA.tables[table].c.keys()):
                return f"it has a table {table!r} of other columns"
        return None

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.dispose()

    def keys(self) -> set[str]:
        """Keys of the finished runs."""
        with self._engine.connect() as connection:
            return set(connection.scalars(select(_RUNS.c.key)))

    def add(self, results: Iterable[RunResult]) -> None:
        """Write finished runs with their histories, all or none; known ones are left alone."""
        results = list(results)
        evaluations = [
            {"run": result.spec.key, **{str(name): value for name, value in row.items()}}
            for result in results
            for row in result.history.to_dict("records")
        ]
        with self._engine.begin() as connection:
            runs = [_row(result) for result in results]
            connection.execute(insert(_RUNS).on_conflict_do_nothing(), runs)
            if evaluations:
                connection.execute(insert(_EVALUATIONS).on_conflict_do_nothing(), evaluations)

    def runs(self) -> pd.DataFrame:
        """A row a run, indexed by key: the fields of its spec, then its results."""
        with self._engine.connect() as connection:
            rows = pd.read_sql(select(_RUNS), connection)
        specs = pd.DataFrame(rows.pop("spec").tolist(), index=rows.index)
        return specs.join(rows).set_index("key")

    def history(self, key: str) -> pd.DataFrame:
        """The evaluations of one run, as `RunResult.history`."""
        columns = [column for column in _EVALUATIONS.c if column.name != "run"]
        rows = select(*columns).where(_EVALUATIONS.c.run == key).order_by(_EVALUATIONS.c.step)
        with self._engine.connect() as connection:
            return pd.read_sql(rows, connection)


def _row(result: RunResult) -> dict[str, object]:
    return {
        "key": result.spec.key,
        "spec": result.spec.model_dump(mode="json"),
        "accuracy": None if result.failure else result.accuracy,
        "final_loss": None if result.failure else result.loss,
        "kappa": None if result.failure else result.kappa,
        "calibration_error": None if result.failure else result.calibration_error,
        "accuracy_by_class": None if result.failure else _numbers(result.accuracy_by_class),
        "accuracy_by_worker": None if result.failure else _numbers(result.accuracy_by_worker),
        "steps_taken": result.steps,
        "diverged": result.diverged,
        "failure": result.failure,
        "epsilon": result.epsilon,
        "accountant_used": result.spent.accountant,
        "is_upper_bound": result.spent.is_upper_bound,
        "not_private": result.spent.reason,
    }


def _numbers(values: pd.Series) -> list[float | None]:
    """As JSON has them, which knows no NaN."""
    return [None if math.isnan(value) else float(value) for value in values]
