"""A PostgreSQL database: for processes of many machines."""

from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Table, func, select
from sqlalchemy.dialects import postgresql

from privrobust.store.base import Backend

# The number of a lock on the database: "privopen", any that nobody else uses.
_OPENING = 0x707269766F70656E


class PostgreSQL(Backend):
    """Keeps a `Backend`'s promises by the server's own means.

    Under READ COMMITTED, PostgreSQL's default, an upsert that meets a row another transaction is
    writing waits for it, and then checks its WHERE against what was committed. The clock is the
    server's. An advisory lock guards the making of tables, which CREATE TABLE alone does not.
    """

    def __init__(self, url: URL) -> None:
        # a server may have closed a pooled connection since: asked first, it is opened again
        super().__init__(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})

    @property
    def now(self) -> ColumnElement[Any]:
        """Seconds since 1970 when the transaction began, by the server's clock."""
        return func.extract("epoch", func.now())

    def insert(self, table: Table) -> postgresql.Insert:
        """Return PostgreSQL's INSERT."""
        return postgresql.insert(table)

    def lock_tables(self, connection: Connection) -> None:
        """Wait for whoever else opens a store in this database."""
        connection.execute(select(func.pg_advisory_xact_lock(_OPENING)))
