"""Opening a database of ours and working in its transactions, whatever it keeps."""

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, Table
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from privrobust.core.interrupts import deferred
from privrobust.errors import PrivRobustError, in_short
from privrobust.store.address import address, is_address, shown, without_secrets
from privrobust.store.base import Backend
from privrobust.store.postgresql import PostgreSQL
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


class Transactions(ABC):
    """A database at a location, opened, and work that is done whole or not at all.

    A subclass says in `kind`, `example`, `restore` and `kept` how errors speak of it.

    Args:
        location: a path, `sqlite:///results.db` or `postgresql://user@host/database`.
        create: make it where there is none.

    Raises:
        PrivRobustError: nothing of this version is there, nor can it be made.

    """

    kind: ClassVar[str]
    """What it is called."""
    example: ClassVar[str]
    """The name of a file that it may be in."""
    restore: ClassVar[str]
    """What to do about a damaged one."""
    kept: ClassVar[str]
    """What is not lost when a database stays away."""

    def __init__(self, location: str | Path, create: bool = True) -> None:
        self._given = str(location)
        self.location = shown(self._given)
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

    @abstractmethod
    def _open(self, create: bool) -> None:
        """Make the tables, or see that they are there."""

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
            raise self._refusal(f"it is a folder; accepted: a file, such as {path / self.example}")
        if not create and not path.is_file():
            looked = "" if path.is_absolute() else f"; looked in: {os.getcwd()}"
            raise PrivRobustError(f"{self.kind}: {self.location!r} does not exist{looked}")
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
        return PrivRobustError(f"{self.kind}: {self.location} cannot be opened ({reason})")

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
            PrivRobustError: it stays so, or the database is damaged.

        """
        for wait in (*_WAITS, None):
            try:
                return self._once(work, engine or self._writing)
            except (DBAPIError, UnicodeDecodeError) as error:
                problem = f"{self.kind}: {self.location}: {self._reason(error)}"
                if not self._backend.may_pass(error):
                    remedy = f"; {self.restore}" if self._backend.is_damage(error) else ""
                    raise PrivRobustError(f"{problem}{remedy}") from None
                if wait is None:
                    raise PrivRobustError(f"{problem}; {self.kept}") from None
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

    def _insert_new(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, except where there is one of that key."""
        if rows:
            connection.execute(self._backend.insert(table).on_conflict_do_nothing(), rows)

    def _reason(self, error: Exception) -> str:
        """Return what the database says, which may repeat parts of its address."""
        said = without_secrets(str(getattr(error, "orig", None) or error), self._given)
        return in_short(" ".join(said.split()), _LONGEST)
