"""A store's tables in its database: brought to this version, written and read."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import Connection, Delete, Select, Update, inspect, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from privrobust.core.interrupts import deferred
from privrobust.errors import PrivRobustError
from privrobust.store.base import RESTORE
from privrobust.store.schema import ABOUT, BEFORE, DATASETS, LACKED, METADATA, SCHEMA_VERSION
from privrobust.store.transactions import Transactions

if TYPE_CHECKING:
    from privrobust.data import Dataset

log = logging.getLogger(__name__)

# Keys in one statement: databases bound how many values it may have.
MOST_KEYS = 5_000


class Database(Transactions):
    """The tables of a store, and transactions on them; arguments and errors as `Transactions`."""

    kind = "store"
    example = "results.db"
    restore = RESTORE
    kept = "what is finished is kept, and the same command goes on"

    def __init__(self, location: str | Path, create: bool = True) -> None:
        self._lacks: tuple[str, ...] = ()
        """Columns, with their table, that an older store has not and cannot be given."""
        super().__init__(location, create)

    # --- opening -----------------------------------------------------------------------------

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
        """Give the tables of an earlier version what they lack, with what runs had before it."""
        for name in names:
            table, _, lacked = name.partition(".")
            of = METADATA.tables[table]
            column = CreateColumn(of.c[lacked]).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
            if (before := BEFORE.get(name)) is not None:
                connection.execute(update(of).values({lacked: before}))
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

    # --- data --------------------------------------------------------------------------------

    def refuse_other_data(self, datasets: "Iterable[Dataset]") -> None:
        """Refuse data that is not what a name stands for here; writes nothing.

        Raises:
            PrivRobustError: results in this store are of other data of the same name.

        """
        known = dict(self._read(select(DATASETS.c.name, DATASETS.c.fingerprint)).to_numpy())
        for data in datasets:
            if known.get(data.name, data.fingerprint) != data.fingerprint:
                raise PrivRobustError(
                    f"dataset: {data.name} is not the data that {self.location} has results of: "
                    "its content changed; give another --store, or the old data"
                )

    # --- transactions ------------------------------------------------------------------------

    def _try(self, statement: Update | Delete, otherwise: str) -> None:
        """Execute once: where the database is away, others have said so or will."""
        try:
            with deferred(), self._writing.begin() as connection:
                connection.execute(statement)
        except DBAPIError as error:
            log.warning("store: %s: %s (%s)", self.location, otherwise, self._reason(error))

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
