"""An SQLite file: for the processes of one machine."""

import sqlite3
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    NullPool,
    Table,
    cast,
    create_engine,
    event,
    func,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

from privrobust.store.base import Backend

# Seconds that SQLite waits for another process's transaction; ours take well under one.
_LOCKED_SECONDS = 60

# Codes of what may be over in a minute: others work on the file, the disk is full or away.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL}  # fmt: skip


class SQLite(Backend):
    """Keeps a `Backend`'s promises by one writer at a time.

    A transaction that writes takes the file's only write lock at its start (BEGIN IMMEDIATE), so
    that none has to give up half-way because another wrote since it read. The journal is SQLite's
    default; a commit returns once file, journal and folder are on the disk. The clock is the
    machine's.
    """

    def __init__(self, url: URL) -> None:
        super().__init__(url, connect_args={"timeout": _LOCKED_SECONDS})
        self._reads_anything = False
        """Whether text that is none is read, as bytes."""
        event.listen(self.engine, "connect", self._set_up)
        event.listen(self.engine, "begin", _begin)

    @property
    def impatient(self) -> Engine:
        """An engine that waits for no lock."""
        return create_engine(self.engine.url, connect_args={"timeout": 0}, poolclass=NullPool)

    @property
    def writing(self) -> Engine:
        """The engine whose transactions begin with the write lock."""
        return self.engine.execution_options(writes=True)

    @property
    def now(self) -> ColumnElement[Any]:
        """Whole seconds since 1970, of this machine."""
        return cast(func.strftime("%s", "now"), Integer)

    def insert(self, table: Table) -> sqlite.Insert:
        """Return SQLite's INSERT."""
        return sqlite.insert(table)

    def lock_tables(self, connection: Connection) -> None:
        """Do nothing: whoever writes is alone."""

    def may_pass(self, error: Exception) -> bool:
        """Tell by SQLite's code, which says more than the driver's class of error."""
        if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
            code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            return code & 0xFF in _PASSING  # the rest says more of the same
        return super().may_pass(error)

    def reads_on(self, error: OperationalError) -> bool:
        """Read bytes from now on where text is none: one damaged cell must not hide all others."""
        if self._reads_anything or "decode to UTF-8" not in str(error.orig):
            return False
        self._reads_anything = True
        self.engine.dispose()  # the connections that are open decode all text
        return True

    def is_damage(self, error: Exception) -> bool:
        """Tell what is damaged from what is only read-only."""
        return "readonly" not in str(error)

    def _set_up(self, connection: Any, record: object) -> None:
        """Leave transactions to us: Python's driver would make tables outside of them."""
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = EXTRA")
        if self._reads_anything:
            connection.text_factory = _text_or_bytes


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
