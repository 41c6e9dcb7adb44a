"""Opening a store's database, bringing it to this version, and working in its transactions."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pandas as pd
from sqlalchemy import (
    URL,
    Connection,
    Delete,
    Engine,
    Select,
    Table,
    Update,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.schema import CreateColumn

from privrobust.core.interrupts import deferred
from privrobust.errors import PrivRobustError, in_short
from privrobust.store.address import address, is_address, shown, without_secrets
from privrobust.store.base import RESTORE, Backend
from privrobust.store.postgresql import PostgreSQL
from privrobust.store.schema import ABOUT, LACKED, METADATA, RUNS, SCHEMA_VERSION
from privrobust.store.sqlite import SQLite

T = TypeVar("T")

log = logging.getLogger(__name__)

# Seconds between tries of a database that does not answer or has no room: two minutes in all, in
# which a server restarts and a disk is tidied, and after which a person is to be told.
_WAITS = (1, 2, 4, 8, 15, 30, 60)

_PARAMETERS = "the parameters of its address are not accepted"
_ACCEPTED = "accepted: a path, sqlite:///... or postgresql://..."
_HOW = (
    "in a user's name and a password, / ? # @ and : are written %2F %3F %23 %40 %3A; "
    "a path that looks like an address starts with ./"
)
_LONGEST = 300  # characters of what a database says

# Keys in one statement: databases bound how many values it may have.
MOST_KEYS = 5_000


class Database:
    """The tables of a store, and transactions on them.

    Args:
        location: a path, `sqlite:///results.db` or `postgresql://user@host/database`.
        create: make it where there is none.

    Raises:
        PrivRobustError: no store of this version is there, nor can one be made.

    """

    def __init__(self, location: str | Path, create: bool = True) -> None:
        self._given = str(location)
        self.location = shown(self._given)
        self._lacks: tuple[str, ...] = ()
        """Columns of runs that an older store has not, where it cannot be given them."""
        url = self._url()
        if url.drivername == "sqlite":
            self._check_place(Path(str(url.database)), create)
        try:
            self._backend = self._backend_at(url)
            self._engine = self._backend.engine
            self._open(create)
        except (DBAPIError, UnicodeDecodeError) as error:
            raise self._refusal(self._reason(error)) from None
        except (ArgumentError, TypeError, ValueError):
            raise self._refusal(_PARAMETERS) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.dispose()

    # --- opening -----------------------------------------------------------------------------

    def _url(self) -> URL:
        """Return SQLAlchemy's form of the location; paths are taken literally, whatever they hold.

        Raises:
            PrivRobustError: it is no address, or one of another kind of database.

        """
        if not is_address(self._given):
            url = URL.create("sqlite", database=self._given)
        else:
            found = address(self._given)
            if found is None:
                raise self._refusal(f"{_ACCEPTED}; {_HOW}")
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
            raise self._refusal(_ACCEPTED)
        if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
            raise self._refusal(f"it names no file; {_ACCEPTED}")
        if url.drivername == "sqlite" and (url.host or url.query):
            raise self._refusal(f"a file has neither a host nor parameters; {_ACCEPTED}")
        return url

    def _check_place(self, path: Path, create: bool) -> None:
        """Refuse what is no file, in words that SQLite has not."""
        if path.is_dir():
            raise self._refusal(f"it is a folder; accepted: a file, such as {path / 'results.db'}")
        if not create and not path.is_file():
            raise PrivRobustError(f"store: {self.location!r} does not exist")
        if not path.parent.is_dir():
            raise self._refusal(f"there is no folder {str(path.parent)!r}; make it first")

    def _backend_at(self, url: URL) -> Backend:
        if url.drivername == "sqlite":
            return SQLite(url)
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise self._refusal(
                "it needs the package psycopg: pip install 'privrobust[postgresql]'"
            ) from None
        return PostgreSQL(url)

    def _refusal(self, reason: str) -> PrivRobustError:
        return PrivRobustError(f"store: {self.location} cannot be opened ({reason})")

    def _open(self, create: bool) -> None:
        """Make the tables, or give older ones what they lack; a whole store is only looked at."""
        with self._engine.begin() as connection:
            found = self._version(connection)
        if found == SCHEMA_VERSION:
            return
        if found is None and not create:
            raise self._refusal("it is empty")
        try:
            with self._writing.begin() as connection:
                self._backend.lock_tables(connection)
                found = self._version(connection)  # again: another may have been faster
                if found is None:
                    METADATA.create_all(connection)
                    self._insert_new(connection, ABOUT, [{"schema_version": SCHEMA_VERSION}])
                elif found != SCHEMA_VERSION:
                    self._add_columns(connection, LACKED[found])
        except DBAPIError as error:
            if found not in LACKED or self._backend.may_pass(error):
                raise
            self._lacks = LACKED[found]  # one may read it and not write to it

    def _add_columns(self, connection: Connection, names: Iterable[str]) -> None:
        """Give the runs of an earlier version what they lack, without a value."""
        for name in names:
            column = CreateColumn(RUNS.c[name]).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {RUNS.name} ADD COLUMN {column}")
        connection.execute(update(ABOUT).values(schema_version=SCHEMA_VERSION))

    def _version(self, connection: Connection) -> int | None:
        """Return the version of the store's tables, one that can be read; None if there are none.

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
                raise self._refusal(f"it lacks the table {lost[0]!r}; {RESTORE}")
            return found
        if ours := sorted(METADATA.tables.keys() & present):
            raise self._refusal(
                f"it has a table {ours[0]!r} of another program or of an older privrobust; "
                "give another --store"
            )
        return None

    # --- transactions ------------------------------------------------------------------------

    @property
    def _writing(self) -> Engine:
        return self._backend.writing

    def _transact(self, work: Callable[[Connection], T], engine: Engine | None = None) -> T:
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
                if not self._backend.may_pass(error):
                    raise PrivRobustError(f"{problem}{self._backend.remedy(error)}") from None
                if wait is None:
                    raise PrivRobustError(
                        f"{problem}; what is finished is kept, and the same command goes on"
                    ) from None
                log.warning("%s; trying again in %d s", problem, wait)
                time.sleep(wait)
        raise AssertionError("the last try either returns or raises")

    def _once(self, work: Callable[[Connection], T], engine: Engine) -> T:
        """Work in one transaction; where damaged text stops that, again with bytes in its place."""
        try:
            with deferred(), engine.begin() as connection:
                return work(connection)
        except OperationalError as error:
            if not self._backend.reads_on(error):
                raise
        return self._once(work, engine)

    def _try(self, statement: Update | Delete, otherwise: str) -> None:
        """Execute once: where the database is away, others have said so or will."""
        try:
            with deferred(), self._writing.begin() as connection:
                connection.execute(statement)
        except DBAPIError as error:
            log.warning("store: %s: %s (%s)", self.location, otherwise, self._reason(error))

    def _reason(self, error: Exception) -> str:
        """Return what the database says, which may repeat parts of its address."""
        said = without_secrets(str(getattr(error, "orig", None) or error), self._given)
        return in_short(" ".join(said.split()), _LONGEST)

    def _insert_new(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, except where there is one of that key."""
        if rows:
            connection.execute(self._backend.insert(table).on_conflict_do_nothing(), rows)

    def _read(self, wanted: Select[Any]) -> pd.DataFrame:
        """Return rows as they are, a column for each that is selected."""
        found = self._transact(
            lambda connection: connection.execute(wanted).fetchall(), self._engine
        )
        names = [column.name for column in wanted.selected_columns]
        return pd.DataFrame.from_records(found, columns=names, coerce_float=True)


def parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    """Cut keys into as many as one statement takes."""
    return (keys[start : start + MOST_KEYS] for start in range(0, len(keys), MOST_KEYS))
