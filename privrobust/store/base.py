"""What a store asks of the database that keeps its results, whichever database that is."""

from abc import ABC, abstractmethod
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, Table, create_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

RESTORE = "restore it from a copy, or give another --store"


class Backend(ABC):
    """A database, and what a store relies on.

    A new backend has to promise all of this; `SQLite` and `PostgreSQL` say how they keep it.

    - **Transactions are atomic and durable.** All that one writes is there after its commit,
      whatever dies then, and nothing of it before: a run's results, its history and its failure
      arrive together.
    - **Claims are atomic.** `INSERT ... ON CONFLICT DO UPDATE ... WHERE ... RETURNING` decides by
      the rows as they are when it writes, not as they were when its transaction started. So of two
      processes that claim a run at once, one gets it and the other is told that it did not.
    - **There is one clock.** `now` is read where all who share the store read the same, so that
      one process's lease ends at the same moment for every other.
    - **Whoever opens a store finds it whole.** Two that open a new one at once make its tables
      once, and whoever adds columns does so in one transaction: no one sees half of either.
    - **Waiting helps, or it does not.** `may_pass` tells an error that is over in a minute (a
      lock, a full disk, a server that restarts) from damage. Nothing is ever repaired by deleting.

    Args:
        url: SQLAlchemy's; the driver is installed.
        settings: of `sqlalchemy.create_engine`.

    Raises:
        ArgumentError, TypeError, ValueError: the database does not know these parameters.

    """

    def __init__(self, url: URL, **settings: Any) -> None:
        self.engine: Engine = create_engine(url, **settings)

    @property
    def impatient(self) -> Engine:
        """The engine for who would rather not know than wait: what an object shows of itself."""
        return self.engine

    @property
    def writing(self) -> Engine:
        """The engine for transactions that write."""
        return self.engine

    @property
    @abstractmethod
    def now(self) -> ColumnElement[Any]:
        """Seconds since 1970 by the clock that all who share the store can read."""

    @abstractmethod
    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT that knows ON CONFLICT."""

    @abstractmethod
    def lock_tables(self, connection: Connection) -> None:
        """Let nobody else make or change the store's tables until this transaction ends."""

    def may_pass(self, error: Exception) -> bool:
        """Tell whether the database may be back, or have room, in a minute."""
        return isinstance(error, DBAPIError) and (
            isinstance(error, OperationalError) or error.connection_invalidated
        )

    def reads_on(self, error: OperationalError) -> bool:
        """Tell whether the same work may succeed at once, as damaged text is now read."""
        return False

    def is_damage(self, error: Exception) -> bool:
        """Tell whether an error that stays is for who keeps the database to mend, from a copy."""
        return False  # of a server, its administrator knows
