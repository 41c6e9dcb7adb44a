"""Writing what came of runs: results with their histories, and failures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, delete

from privrobust.data import Dataset
from privrobust.spec import RunSpec
from privrobust.store.claims import Claims
from privrobust.store.database import parts
from privrobust.store.rows import row_of, row_of_failure, rows_of_history, today, versions
from privrobust.store.schema import DATASETS, EVALUATIONS, FAILURES, RUNNING, RUNS

if TYPE_CHECKING:
    from privrobust.training.result import RunResult


class Writing(Claims):
    """What a store writes beside claims; arguments as of `Database`."""

    def same_data(self, datasets: Iterable[Dataset]) -> None:
        """Note which data names stand for here.

        Raises:
            PrivRobustError: results in this store are of other data of the same name.

        """
        datasets = list(datasets)
        rows = [{"name": data.name, "fingerprint": data.fingerprint} for data in datasets]
        self._transact(lambda connection: self._insert_new(connection, DATASETS, rows))
        self.refuse_other_data(datasets)

    def add(self, results: "Iterable[RunResult]", seconds: float | None = None) -> None:
        """Write finished runs with their histories, all or none; finished ones are left alone.

        Args:
            results: of runs, claimed or not.
            seconds: that each of them took.

        """
        results = list(results)
        rows = [row_of(result) | _made() | {"seconds": seconds} for result in results]
        histories = {result.spec.key: result.history for result in results}
        failures = {result.spec.key: result.failure for result in results if result.failure}

        def write(connection: Connection) -> None:
            # of whomever: a result is worth keeping, also if another took over the claim
            written = self._settle(connection, rows, RUNS.c.status == RUNNING)
            self._note(connection, [key for key in written if key in failures], failures)
            evaluations = [row for key in written for row in rows_of_history(key, histories[key])]
            for part in parts(written):  # of runs whose status was damaged
                connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.run.in_(part)))
            if evaluations:
                connection.execute(self._backend.insert(EVALUATIONS), evaluations)

        if rows:
            self._transact(write)

    def fail(self, specs: Sequence[RunSpec], reason: str, details: str | None = None) -> None:
        """Write that runs failed, why, and what a developer would want to know.

        Runs that another process holds by now, or has finished, are left alone.
        """
        rows = [row_of_failure(spec, reason) | _made() for spec in specs]

        def write(connection: Connection) -> None:
            written = self._settle(connection, rows, self._mine)
            self._note(connection, written, dict.fromkeys(written, reason), details)

        self._transact(write)

    def _settle(
        self, connection: Connection, rows: list[dict[str, Any]], where: ColumnElement[bool]
    ) -> list[str]:
        """Write rows in place of claims that `where` admits, and return the keys written."""
        return self._upsert(connection, rows, [name for name in rows[0] if name != "key"], where)

    def _note(
        self,
        connection: Connection,
        keys: Sequence[str],
        reasons: Mapping[str, str],
        details: str | None = None,
    ) -> None:
        """Add to the failures that happened."""
        attempt = {"time": today(), "owner": self._owner, "details": details}
        if keys:
            attempts = [{"run": key, "reason": reasons[key], **attempt} for key in keys]
            connection.execute(self._backend.insert(FAILURES), attempts)


def _made() -> dict[str, Any]:
    """Return what every settled row says of its making; nobody holds it any more."""
    return {"finished": today(), "versions": versions(), "owner": None, "lease_until": None}
