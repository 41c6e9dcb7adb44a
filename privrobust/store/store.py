"""The results store: what is finished is never lost, never half-written and never done twice.

An SQLite file, or a PostgreSQL database that many machines share. A run is a row from the moment
that a process claims it. A claim is a lease: whoever holds it renews it, and others take the run
over once the lease has run out or its holder is seen to be gone. Results and their history arrive
in one transaction.
"""

import logging
import math
import platform
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
from sqlalchemy import (
    URL,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Float,
    Integer,
    Select,
    Table,
    Update,
    and_,
    cast,
    create_engine,
    delete,
    event,
    func,
    inspect,
    null,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import NullType

from privrobust.core.interrupts import deferred
from privrobust.data import Dataset
from privrobust.errors import PrivRobustError, in_short
from privrobust.spec import RunSpec
from privrobust.store.address import address, is_address, shown, without_secrets
from privrobust.store.cells import frame_of, told
from privrobust.store.leases import LEASE_SECONDS, is_gone, new_owner
from privrobust.store.schema import (
    ABOUT,
    DATASETS,
    DONE,
    EVALUATIONS,
    FAILED,
    FAILURES,
    LACKED,
    METADATA,
    RUNNING,
    RUNS,
    SCHEMA_VERSION,
    cells,
)

if TYPE_CHECKING:
    from privrobust.accountants import Spent
    from privrobust.training.result import RunResult

T = TypeVar("T")

log = logging.getLogger(__name__)

# Seconds between tries of a database that does not answer or has no room: two minutes in all.
_WAITS = (1, 2, 4, 8, 15, 30, 60)
_LOCKED_SECONDS = 60  # that SQLite waits for another process's transaction

_PARAMETERS = "the parameters of its address are not accepted"
_HOW = (
    "in a user's name and a password, / ? # @ and : are written %2F %3F %23 %40 %3A; "
    "a path that looks like an address starts with ./"
)
# SQLite's error codes of what may be over in a minute: others work on the file, the disk is full
# or away.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL}  # fmt: skip

# The number of a lock on a PostgreSQL database, any that nobody else uses.
_OPENING = 0x707269766F70656E

# Keys in one statement: databases bound how many values it may have.
_MOST_KEYS = 5_000

_RESTORE = "restore it from a copy, or give another --store"

_LONGEST = 300  # characters of what a database says

_ROWS = 10_000  # that are read at a time

# Columns that tables and figures do not need, which would take most of the time to read.
_HEAVY = ("accuracy_by_class", "accuracy_by_worker")


class Store:
    """Results of runs. Opening makes it where there is none.

    Args:
        location: a path, `sqlite:///results.db` or `postgresql://user@host/database`.
        create: make it where there is none.

    Raises:
        PrivRobustError: no store of this version is there, nor can one be made.

    A store of the version before is given the columns that it lacks, and loses nothing.
    """

    def __init__(self, location: str | Path, create: bool = True) -> None:
        self._given = str(location)
        self.location = shown(self._given)
        self._owner = new_owner()
        self._reads_anything = False
        """Whether text that is none is read, as bytes."""
        self._lacks: tuple[str, ...] = ()
        """Columns of runs that an older store has not, where it cannot be given them."""
        url = self._url()
        if url.drivername == "sqlite":
            self._check_place(Path(str(url.database)), create)
        try:
            self._engine = create_engine(url, **self._settings(url))
        except (ArgumentError, TypeError, ValueError):
            raise self._refusal(_PARAMETERS) from None
        if self._is_sqlite:
            event.listen(self._engine, "connect", self._leave_transactions_to_us)
            event.listen(self._engine, "begin", _begin)
        try:
            self._open(create)
        except (DBAPIError, UnicodeDecodeError) as error:
            raise self._refusal(self._reason(error)) from None
        except (ArgumentError, TypeError, ValueError):
            raise self._refusal(_PARAMETERS) from None

    @property
    def _is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def _url(self) -> URL:
        """SQLAlchemy's. Paths are taken literally, whatever signs are in them."""
        accepted = "accepted: a path, sqlite:///... or postgresql://..."
        if not is_address(self._given):
            url = URL.create("sqlite", database=self._given)
        else:
            found = address(self._given)
            if found is None:
                raise self._refusal(f"{accepted}; {_HOW}")
            query: dict[str, str | tuple[str, ...]] = {}
            for name, value in found.query:
                query[name] = (*query.get(name, ()), value)
            url = URL.create(
                found.scheme.lower(),
                found.user,
                found.password,
                found.host,
                found.port,
                found.database,
                query,
            )
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise self._refusal(accepted)
        if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
            raise self._refusal(f"it names no file; {accepted}")
        if url.drivername == "sqlite" and (url.host or url.query):
            raise self._refusal(f"a file has neither a host nor parameters; {accepted}")
        return url

    def _settings(self, url: URL) -> dict[str, Any]:
        if url.get_backend_name() == "sqlite":
            return {"connect_args": {"timeout": _LOCKED_SECONDS}}
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise self._refusal(
                "it needs the package psycopg: pip install 'privrobust[postgresql]'"
            ) from None
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}

    def _check_place(self, path: Path, create: bool) -> None:
        """Refuse what is no file, in words that SQLite has not."""
        if path.is_dir():
            raise self._refusal(f"it is a folder; accepted: a file, such as {path / 'results.db'}")
        if not create and not path.is_file():
            raise PrivRobustError(f"store: {self.location!r} does not exist")
        if not path.parent.is_dir():
            raise self._refusal(f"there is no folder {str(path.parent)!r}; make it first")

    def _refusal(self, reason: str) -> PrivRobustError:
        return PrivRobustError(f"store: {self.location} cannot be opened ({reason})")

    def _open(self, create: bool) -> None:
        with self._engine.begin() as connection:
            found = self._version(connection)
        if found == SCHEMA_VERSION:
            return
        if found is None and not create:
            raise self._refusal("it is empty")
        try:
            with self._writing.begin() as connection:
                if not self._is_sqlite:  # two that open a store at once would both make its tables
                    connection.execute(select(func.pg_advisory_xact_lock(_OPENING)))
                found = self._version(connection)
                if found is None:
                    METADATA.create_all(connection)
                    self._insert_new(connection, ABOUT, [{"schema_version": SCHEMA_VERSION}])
                elif found != SCHEMA_VERSION:
                    self._add_columns(connection, LACKED[found])
        except DBAPIError as error:
            if found not in LACKED or _may_pass(error):
                raise
            self._lacks = LACKED[found]  # one may read it and not write to it

    def _add_columns(self, connection: Connection, names: Iterable[str]) -> None:
        """Give the runs of an earlier version what they lack, without a value."""
        for name in names:
            column = CreateColumn(RUNS.c[name]).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {RUNS.name} ADD COLUMN {column}")
        connection.execute(update(ABOUT).values(schema_version=SCHEMA_VERSION))

    def _version(self, connection: Connection) -> int | None:
        """That of its tables, if there are any of such names; one that can be read.

        Raises:
            PrivRobustError: they are those of another version or another program.

        """
        present = set(inspect(connection).get_table_names())
        if ABOUT.name in present:
            found: int | None = connection.scalars(select(ABOUT.c.schema_version)).first()
            if not (found == SCHEMA_VERSION or found in LACKED):
                raise self._refusal(
                    f"its tables have version {found}, this privrobust reads {SCHEMA_VERSION}; "
                    "give another --store, or install the privrobust that made it"
                )
            if lost := sorted(METADATA.tables.keys() - present):
                raise self._refusal(f"it lacks the table {lost[0]!r}; {_RESTORE}")
            return found
        if ours := sorted(METADATA.tables.keys() & present):
            raise self._refusal(
                f"it has a table {ours[0]!r} of another program or of an older privrobust; "
                "give another --store"
            )
        return None

    @property
    def _writing(self) -> Engine:
        return self._engine.execution_options(writes=True)

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.dispose()

    # --- who does what -----------------------------------------------------------------------

    def claim(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Take runs that nobody has finished or is at work on: those that are now this store's.

        Two processes never both get a run, unless the first let its lease run out. What this one
        holds already it gets again: an answer to its claim may have been lost.
        """

        def take(connection: Connection) -> set[str]:
            now = float(connection.execute(select(self._now())).scalar_one())
            owners = [self._owner, *self._gone(connection)]
            of_nobody = [RUNS.c.owner == owner for owner in owners]  # many rows take no IN
            until = cast(RUNS.c.lease_until, Float)  # a damaged one is that of nobody, too
            ended = or_(until < now, until.is_(None), *of_nobody)
            is_damaged = and_(*(RUNS.c.status != known for known in (RUNNING, DONE, FAILED)))
            free = or_(and_(RUNS.c.status == RUNNING, ended), is_damaged)
            lease = {"status": RUNNING, "owner": self._owner, "lease_until": now + LEASE_SECONDS}
            rows = [{"key": spec.key, **cells(spec), **lease} for spec in specs]
            return set(self._upsert(connection, rows, list(lease), free))

        mine = self._do(take) if specs else set()
        return [spec for spec in specs if spec.key in mine]

    def retry(self, keys: Sequence[str]) -> None:
        """Let failed runs be claimed again; what they failed of stays in `failures`."""

        def reset(connection: Connection) -> None:
            for part in _parts(keys):
                of_part = and_(RUNS.c.key.in_(part), RUNS.c.status == FAILED)
                failed = list(connection.scalars(select(RUNS.c.key).where(of_part)))
                connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.run.in_(failed)))
                connection.execute(delete(RUNS).where(RUNS.c.key.in_(failed)))

        self._do(reset)

    def renew(self) -> None:
        """Hold on to what this process has claimed."""
        lease = update(RUNS).where(self._mine).values(lease_until=self._now() + LEASE_SECONDS)
        self._try(lease, "claims are not renewed")  # the next beat comes before they run out

    def release(self) -> None:
        """Give back what this process has claimed and not finished."""
        self._try(delete(RUNS).where(self._mine), "claims are not given back but run out")

    @property
    def _mine(self) -> ColumnElement[bool]:
        return and_(RUNS.c.owner == self._owner, RUNS.c.status == RUNNING)

    def _try(self, statement: Update | Delete, otherwise: str) -> None:
        """Once: where the database is away, others have said so or will."""
        try:
            with deferred(), self._writing.begin() as connection:
                connection.execute(statement)
        except DBAPIError as error:
            log.warning("store: %s: %s (%s)", self.location, otherwise, self._reason(error))

    def _gone(self, connection: Connection) -> list[str]:
        """Processes that hold claims and have ended."""
        holders = select(RUNS.c.owner).where(RUNS.c.status == RUNNING).distinct()
        return [
            owner
            for owner in connection.scalars(holders)
            if isinstance(owner, str) and is_gone(owner)
        ]

    def _now(self) -> ColumnElement[Any]:
        """Seconds since 1970 by the clock that all who share this store can read."""
        if self._is_sqlite:
            return cast(func.strftime("%s", "now"), Integer)
        return func.extract("epoch", func.now())

    # --- writing -----------------------------------------------------------------------------

    def same_data(self, datasets: Iterable[Dataset]) -> None:
        """Note which data names stand for here.

        Raises:
            PrivRobustError: results in this store are of other data of the same name.

        """
        rows = [{"name": data.name, "fingerprint": data.fingerprint} for data in datasets]

        def note(connection: Connection) -> dict[str, str]:
            self._insert_new(connection, DATASETS, rows)
            return {row.name: row.fingerprint for row in connection.execute(select(DATASETS))}

        known = self._do(note)
        for row in rows:
            if known[row["name"]] != row["fingerprint"]:
                raise PrivRobustError(
                    f"dataset: {row['name']} is not the data that {self.location} has results of: "
                    "its content changed; give another --store, or the old data"
                )

    def add(self, results: "Iterable[RunResult]", seconds: float | None = None) -> None:
        """Write finished runs with their histories, all or none; finished ones are left alone.

        Args:
            results: of runs, claimed or not.
            seconds: that each of them took.

        """
        results = list(results)
        made = {"seconds": seconds, "finished": _today(), "versions": versions(), "owner": None}
        rows = [_row(result) | made | {"lease_until": None} for result in results]
        histories = {result.spec.key: result.history for result in results}
        failures = {result.spec.key: result.failure for result in results if result.failure}

        def write(connection: Connection) -> None:
            written = self._settle(connection, rows, RUNS.c.status == RUNNING)
            self._note(connection, [key for key in written if key in failures], failures)
            evaluations = [
                {"run": key, **{str(name): _number(value) for name, value in row.items()}}
                for key in written
                for row in histories[key].to_dict("records")
            ]
            for part in _parts(written):  # of runs whose status was damaged
                connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.run.in_(part)))
            if evaluations:
                connection.execute(self._insert(EVALUATIONS), evaluations)

        if rows:
            self._do(write)

    def fail(self, specs: Sequence[RunSpec], reason: str, details: str | None = None) -> None:
        """Write that runs failed, why, and what a developer would want to know.

        Runs that another process holds by now, or has finished, are left alone.
        """
        from privrobust.training.privacy import PrivacyPlan  # which trains, and so loads torch

        made = {"finished": _today(), "versions": versions(), "owner": None, "lease_until": None}
        rows = [
            {"key": plan.spec.key, **cells(plan.spec), **_budget(plan.spent), "status": FAILED}
            | {"failure": reason, "diverged": False, "steps_taken": 0, **made}
            for plan in map(PrivacyPlan, specs)
        ]

        def write(connection: Connection) -> None:
            written = self._settle(connection, rows, self._mine)
            self._note(connection, written, dict.fromkeys(written, reason), details)

        self._do(write)

    def _settle(
        self, connection: Connection, rows: list[dict[str, Any]], where: ColumnElement[bool]
    ) -> list[str]:
        """Write rows of runs, in place of claims that `where` admits; the keys written."""
        return self._upsert(connection, rows, [name for name in rows[0] if name != "key"], where)

    def _upsert(
        self,
        connection: Connection,
        rows: list[dict[str, Any]],
        changed: Sequence[str],
        where: ColumnElement[bool],
    ) -> list[str]:
        """Insert runs; of those that are there, and that `where` admits, change some columns.

        Returns:
            The keys of the rows that were written.

        """
        writing = self._insert(RUNS)
        writing = writing.on_conflict_do_update(
            index_elements=["key"],
            set_={name: writing.excluded[name] for name in changed},
            where=where,
        )
        return list(connection.scalars(writing.returning(RUNS.c.key), rows))

    def _note(
        self,
        connection: Connection,
        keys: Sequence[str],
        reasons: Mapping[str, str],
        details: str | None = None,
    ) -> None:
        """Add to the failures that happened."""
        attempt = {"time": _today(), "owner": self._owner, "details": details}
        if keys:
            attempts = [{"run": key, "reason": reasons[key], **attempt} for key in keys]
            connection.execute(self._insert(FAILURES), attempts)

    def _insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)

    def _insert_new(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(self._insert(table).on_conflict_do_nothing(), rows)

    # --- reading -----------------------------------------------------------------------------

    def keys(self, status: str = DONE) -> set[str]:
        """Keys of the runs of one status: "done", "running" or "failed"."""
        wanted = select(RUNS.c.key).where(RUNS.c.status == status)
        return self._do(lambda connection: set(connection.scalars(wanted)), self._engine)

    def runs(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """A row a run that is done or failed, indexed by key: its spec's fields, then its results.

        Args:
            keys: which, in this order; those that are not there are left out. All by default.

        """
        columns = [column for column in RUNS.c if column.name not in _HEAVY]
        settled = RUNS.c.status != RUNNING
        if keys is None:
            return self._whole(columns, settled)
        if len(keys) <= _MOST_KEYS:  # of more, all rows are read faster than those picked out
            settled &= RUNS.c.key.in_(keys)
        rows = self._whole(columns, settled)
        return rows.loc[[key for key in dict.fromkeys(keys) if key in rows.index]]

    def _whole(self, columns: Sequence[Column[Any]], where: ColumnElement[bool]) -> pd.DataFrame:
        """Those runs that can be what was stored, by key.

        Raises:
            PrivRobustError: there are runs, and none can.

        """
        rows, faults = self._rows(columns, where)
        contradictory = (rows["byzantine"] > 0) != rows["attack"].notna()
        twice = rows["key"].duplicated()
        faults += Counter(attack=int(contradictory.sum()), key=int((twice & ~contradictory).sum()))
        rows = rows[~(contradictory | twice)] if (contradictory | twice).any() else rows
        if damaged := faults.total():
            of = f"{damaged} of {len(rows) + damaged} runs"
            if rows.empty:
                raise PrivRobustError(
                    f"store: {self.location}: {of} have {told(faults)}; {_RESTORE}"
                )
            log.warning("store: %s: %s are left out: %s", self.location, of, told(faults))
        return rows.set_index("key")

    def _rows(
        self, columns: Sequence[Column[Any]], where: ColumnElement[bool]
    ) -> tuple[pd.DataFrame, Counter[str]]:
        """Rows of a table, without those that have a cell that it cannot have; how many of them."""
        wanted = select(*map(self._raw, columns)).where(where)
        return self._do(
            lambda connection: frame_of(connection.execute(wanted).partitions(_ROWS), columns),
            self._engine,
        )

    def _raw(self, column: Column[Any]) -> ColumnElement[Any]:
        """Return a column whose cells nobody converts, whatever they are."""
        if column.name in self._lacks and column.table is RUNS:
            return null().label(column.name)
        is_truth = isinstance(column.type, Boolean)
        return type_coerce(column, NullType()).label(column.name) if is_truth else column

    def history(self, key: str) -> pd.DataFrame:
        """The evaluations of one run, as `RunResult.history`."""
        return self.histories([key]).drop(columns="run")

    def histories(self, keys: Sequence[str]) -> pd.DataFrame:
        """The evaluations of many runs, as `history`, after a column `run` of their keys.

        Args:
            keys: which; those that are not there are left out.

        """
        parts, faults = zip(
            *(
                self._rows(list(EVALUATIONS.c), EVALUATIONS.c.run.in_(part))
                for part in _parts(list(dict.fromkeys(keys)) or [""])
            ),
            strict=True,
        )
        if damaged := sum(faults, Counter[str]()):
            log.warning(
                "store: %s: %d evaluations are left out: %s",
                self.location, damaged.total(), told(damaged),
            )  # fmt: skip
        rows: pd.DataFrame = pd.concat(parts)
        return rows.sort_values(["run", "step"], ignore_index=True)

    def shares(self, key: str, of: str) -> pd.Series:
        """Accuracy by "class" or by "worker" of one run, as `RunResult.accuracy_by_class`."""
        wanted = select(RUNS.c[f"accuracy_by_{of}"]).where(RUNS.c.key == key)
        try:
            values = self._do(lambda connection: connection.scalars(wanted).first(), self._engine)
            return pd.Series(values, name="accuracy", dtype=float).rename_axis(of)
        except (ValueError, TypeError):  # of JSON, or of what it says
            raise PrivRobustError(
                f"store: {self.location}: accuracy_by_{of} of the run {key} is damaged; {_RESTORE}"
            ) from None

    def failed(self) -> pd.Series:
        """Why each failed run did, by key."""
        rows = self._read(select(RUNS.c.key, RUNS.c.failure).where(RUNS.c.status == FAILED))
        return rows.set_index("key")["failure"]

    def failures(self) -> pd.DataFrame:
        """A row an attempt that failed: run, time, owner, reason, details."""
        return self._read(select(FAILURES).order_by(FAILURES.c.place)).drop(columns="place")

    def claims(self) -> pd.DataFrame:
        """A row a run that is under way: key, owner, and how long its lease lasts in seconds."""
        left = (RUNS.c.lease_until - self._now()).label("seconds_left")
        return self._read(select(RUNS.c.key, RUNS.c.owner, left).where(RUNS.c.status == RUNNING))

    def _read(self, wanted: Select[Any]) -> pd.DataFrame:
        found = self._do(lambda connection: connection.execute(wanted).fetchall(), self._engine)
        names = [column.name for column in wanted.selected_columns]
        return pd.DataFrame.from_records(found, columns=names, coerce_float=True)

    def _do(self, work: Callable[[Connection], T], engine: Engine | None = None) -> T:
        """Work in one transaction, tried again while the database is away or full.

        Args:
            work: done again from its start.
            engine: that for writing by default.

        Raises:
            PrivRobustError: it stays so, or the store is damaged.

        """
        for wait in (*_WAITS, None):
            try:
                return self._once(work, engine or self._writing)
            except (DBAPIError, UnicodeDecodeError) as error:
                problem = f"store: {self.location}: {self._reason(error)}"
                if not _may_pass(error):
                    raise PrivRobustError(f"{problem}{self._advice(error)}") from None
                if wait is None:
                    raise PrivRobustError(
                        f"{problem}; what is finished is kept, and the same command goes on"
                    ) from None
                log.warning("%s; trying again in %d s", problem, wait)
                time.sleep(wait)
        raise AssertionError("the last try either returns or raises")

    def _reason(self, error: Exception) -> str:
        """Return what the database says, which may repeat parts of its address."""
        said = without_secrets(str(getattr(error, "orig", None) or error), self._given)
        return in_short(" ".join(said.split()), _LONGEST)

    def _once(self, work: Callable[[Connection], T], engine: Engine) -> T:
        """Work in one transaction; where damaged text stops that, again with bytes in its place."""
        try:
            with deferred(), engine.begin() as connection:
                return work(connection)
        except OperationalError as error:
            if self._reads_anything or "decode to UTF-8" not in str(error.orig):
                raise
        self._reads_anything = True
        self._engine.dispose()  # the connections that are open decode all text
        return self._once(work, engine)

    def _advice(self, error: Exception) -> str:
        """What to do about an error that stays; of a server, its administrator knows."""
        if "readonly" in str(error) or not self._is_sqlite:
            return ""
        return f"; {_RESTORE}"

    def _leave_transactions_to_us(self, connection: Any, record: object) -> None:
        """Python's driver would make tables outside of them."""
        connection.isolation_level = None
        if self._reads_anything:
            connection.text_factory = _text_or_bytes


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _may_pass(error: Exception) -> bool:
    """Whether the database may be back, or have room, in a minute."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return code & 0xFF in _PASSING  # the rest says more of the same
    return isinstance(error, OperationalError) or error.connection_invalidated


def _begin(connection: Connection) -> None:
    """Writers of an SQLite file queue up at their start: none has to give up half-way."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@cache
def versions() -> str:
    """Of what results depend on."""
    packages = " ".join(f"{name} {version(name)}" for name in ("privrobust", "torch", "numpy"))
    return f"{packages} python {platform.python_version()} {platform.machine()}"


def _row(result: "RunResult") -> dict[str, Any]:
    failed = bool(result.failure)
    return {
        "key": result.spec.key,
        "status": FAILED if failed else DONE,
        **cells(result.spec),
        "accuracy": None if failed else _number(result.accuracy),
        "final_loss": None if failed else _number(result.loss),
        "kappa": None if failed else _number(result.kappa),
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


def _budget(budget: "Spent") -> dict[str, Any]:
    """What the run was to spend, and may have before it failed."""
    return {
        "epsilon": budget.epsilon,
        "accountant_used": budget.accountant,
        "is_upper_bound": budget.is_upper_bound,
        "not_private": budget.reason,
    }


def _number(value: Any) -> Any:
    """As databases agree on: NaN is no value."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _numbers(values: pd.Series) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _MOST_KEYS] for start in range(0, len(keys), _MOST_KEYS))


def _today() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
