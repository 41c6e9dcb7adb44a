"""Who does what: a run is claimed before it trains, for as long as its claimer renews the lease."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Float, and_, cast, delete, or_, select, update

from privrobust.spec import RunSpec
from privrobust.store.database import Database, parts
from privrobust.store.leases import LEASE_SECONDS, is_gone, new_owner
from privrobust.store.schema import DONE, EVALUATIONS, FAILED, RUNNING, RUNS, cells


class Claims(Database):
    """Claims of runs, each a row whose status is "running"; arguments as of `Database`."""

    def __init__(self, location: str | Path, create: bool = True) -> None:
        self._owner = new_owner()
        super().__init__(location, create)

    def claim(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Take runs that nobody has finished or is at work on: those that are now this store's.

        Two processes never both get a run, unless the first let its lease run out. What this one
        holds already it gets again: an answer to its claim may have been lost.
        """

        def take(connection: Connection) -> set[str]:
            now = float(connection.execute(select(self._backend.now)).scalar_one())
            owners = [self._owner, *self._gone(connection)]
            of_nobody = [RUNS.c.owner == owner for owner in owners]  # many rows take no IN
            until = cast(RUNS.c.lease_until, Float)  # a damaged one is that of nobody, too
            ended = or_(until < now, until.is_(None), *of_nobody)
            is_damaged = and_(*(RUNS.c.status != known for known in (RUNNING, DONE, FAILED)))
            free = or_(and_(RUNS.c.status == RUNNING, ended), is_damaged)
            lease = {"status": RUNNING, "owner": self._owner, "lease_until": now + LEASE_SECONDS}
            rows = [{"key": spec.key, **cells(spec), **lease} for spec in specs]
            return set(self._upsert(connection, rows, list(lease), free))

        mine = self._transact(take) if specs else set()
        return [spec for spec in specs if spec.key in mine]

    def retry(self, keys: Sequence[str]) -> None:
        """Let failed runs be claimed again; what they failed of stays in `failures`."""

        def reset(connection: Connection) -> None:
            for part in parts(keys):
                of_part = and_(RUNS.c.key.in_(part), RUNS.c.status == FAILED)
                failed = list(connection.scalars(select(RUNS.c.key).where(of_part)))
                connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.run.in_(failed)))
                connection.execute(delete(RUNS).where(RUNS.c.key.in_(failed)))

        self._transact(reset)

    def renew(self) -> None:
        """Hold on to what this process has claimed."""
        until = self._backend.now + LEASE_SECONDS
        lease = update(RUNS).where(self._mine).values(lease_until=until)
        self._try(lease, "claims are not renewed")  # the next beat comes before they run out

    def release(self) -> None:
        """Give back what this process has claimed and not finished."""
        self._try(delete(RUNS).where(self._mine), "claims are not given back but run out")

    def claims(self) -> pd.DataFrame:
        """Return a row a run under way: key, owner, and how long its lease lasts in seconds."""
        left = (RUNS.c.lease_until - self._backend.now).label("seconds_left")
        return self._read(select(RUNS.c.key, RUNS.c.owner, left).where(RUNS.c.status == RUNNING))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return and_(RUNS.c.owner == self._owner, RUNS.c.status == RUNNING)

    def _gone(self, connection: Connection) -> list[str]:
        """Return which processes hold claims and have ended."""
        holders = select(RUNS.c.owner).where(RUNS.c.status == RUNNING).distinct()
        return [
            owner
            for owner in connection.scalars(holders)
            if isinstance(owner, str) and is_gone(owner)
        ]

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
        writing = self._backend.insert(RUNS)
        writing = writing.on_conflict_do_update(
            index_elements=["key"],
            set_={name: writing.excluded[name] for name in changed},
            where=where,
        )
        return list(connection.scalars(writing.returning(RUNS.c.key), rows))
