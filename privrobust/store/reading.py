"""Reading results as frames: what was stored, without what cannot have been."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    String,
    cast,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from privrobust.errors import PrivRobustError
from privrobust.spec.run_fields import named
from privrobust.store.base import RESTORE
from privrobust.store.cells import frame_of, told
from privrobust.store.chance import SAMPLE, chance
from privrobust.store.database import MOST_KEYS, Database, parts
from privrobust.store.schema import BEFORE, DONE, EVALUATIONS, FAILED, FAILURES, RUNNING, RUNS

log = logging.getLogger(__name__)

LEFT_OUT = "left_out"
"""The name of what a frame of runs says of damaged ones, among its `attrs`, if there are any."""

_ROWS = 10_000  # that are read at a time: their cells are held twice, as Python's and as NumPy's

# What tells runs apart; their keys differ by version too.
_SETTINGS = named(lambda field: field.is_in_key)

# Columns that tables and figures do not need, which would take most of the time to read.
_HEAVY = ("accuracy_by_class", "accuracy_by_worker")

# And those of a claim, which a run that is settled has no more.
_CLAIMS = ("owner", "lease_until")


class Reading(Database):
    """Runs that are done or failed, to be read; reading changes nothing."""

    def keys(self, status: str = DONE) -> set[str]:
        """Return the keys of the runs of one status: "done", "running" or "failed"."""
        wanted = select(RUNS.c.key).where(RUNS.c.status == status)
        return self._transact(lambda connection: set(connection.scalars(wanted)), self._engine)

    def counts_now(self) -> dict[str, int] | None:
        """Count the runs by status; None where the database does not answer at once."""
        database = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and not Path(str(database)).is_file():
            return None  # SQLite would make one
        wanted = select(RUNS.c.status, func.count()).group_by(RUNS.c.status)
        try:
            with self._backend.impatient.connect() as connection:
                counts = {row[0]: row[1] for row in connection.execute(wanted)}
        except DBAPIError:
            return None
        return {status: counts.get(status, 0) for status in (DONE, RUNNING, FAILED)}

    def runs(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a row a run that is done or failed: its spec's fields, then its results.

        Args:
            keys: which, in this order; those that are not there are left out. All by default.

        Returns:
            Indexed by key, and typed whatever is in it (docs/tables_and_figures.md has the
            columns): numbers are float64, of which an epsilon may be infinite and what is not there
            is NaN, or int64; what may lack a whole number is Int64; `finished` is a time in UTC,
            what is yes or no bool, all else text. Runs with a cell that no run has are left out,
            with a warning, which `attrs[LEFT_OUT]` holds, too. Of all, those are left out that a
            later version has trained anew: no seed counts twice. Last come `chance` and
            `chance_at_most`, between which lies what a model gets on the same held-out split that
            has learnt nothing, as `privrobust.store.chance` tells it of all of the store's runs.

        Raises:
            PrivRobustError: there are runs, and none is whole.

        """
        columns = [column for column in RUNS.c if column.name not in {*_HEAVY, *_CLAIMS}]
        settled = RUNS.c.status != RUNNING
        if keys is None:
            return self._with_chance(_newest(self._whole(columns, settled)))
        if len(keys) <= MOST_KEYS:  # of more, all rows are read faster than those picked out
            settled &= RUNS.c.key.in_(keys)
        rows = self._whole(columns, settled)
        return self._with_chance(
            rows.loc[[key for key in dict.fromkeys(keys) if key in rows.index]]
        )

    def _with_chance(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Add what a model gets that has learnt nothing, on the split of each run."""
        splits = list(zip(runs["dataset"], runs["evaluate_on"], strict=True))
        known = {split: chance(self._by_class(*split)) for split in dict.fromkeys(splits)}
        return runs.assign(
            chance=pd.Series([known[split].least for split in splits], runs.index, dtype=float),
            chance_at_most=pd.Series(
                [known[split].most for split in splits], runs.index, dtype=float
            ),
        )

    def _by_class(self, dataset: str, evaluate_on: str) -> Sequence[tuple[Any, Any]]:
        """Return accuracies, and those by class as they are written, of some runs on a split."""
        wanted = (
            select(RUNS.c.accuracy, cast(RUNS.c.accuracy_by_class, String))
            .where(RUNS.c.status == DONE, RUNS.c.accuracy_by_class.is_not(None))
            .where(RUNS.c.dataset == dataset, RUNS.c.evaluate_on == evaluate_on)
            .order_by(RUNS.c.key)  # a hash: runs of all kinds
            .limit(SAMPLE)
        )
        return self._transact(
            lambda connection: [(row[0], row[1]) for row in connection.execute(wanted)],
            self._engine,
        )

    def _whole(self, columns: Sequence[Column[Any]], where: ColumnElement[bool]) -> pd.DataFrame:
        """Return those runs that can be what was stored, by key."""
        rows, faults = self._rows(columns, where)
        contradictory = (rows["byzantine"] > 0) != rows["attack"].notna()
        twice = rows["key"].duplicated()
        faults += Counter(attack=int(contradictory.sum()), key=int((twice & ~contradictory).sum()))
        rows = rows[~(contradictory | twice)] if (contradictory | twice).any() else rows
        if damaged := faults.total():
            of = f"{damaged} of {len(rows) + damaged} runs"
            if rows.empty:
                raise PrivRobustError(
                    f"store: {self.location}: {of} have {told(faults)}; {RESTORE}"
                )
            left_out = f"{of} are left out: {told(faults)}"
            log.warning("store: %s: %s", self.location, left_out)
            rows.attrs[LEFT_OUT] = left_out
        finished = pd.to_datetime(rows["finished"], format="ISO8601", utc=True, errors="coerce")
        return rows.assign(finished=finished.dt.as_unit("s")).set_index("key")

    def _rows(
        self, columns: Sequence[Column[Any]], where: ColumnElement[bool]
    ) -> tuple[pd.DataFrame, Counter[str]]:
        """Return rows of a table, without those that have a cell that it cannot have; how many."""
        wanted = select(*map(self._raw, columns)).where(where)
        return self._transact(
            lambda connection: frame_of(connection.execute(wanted).partitions(_ROWS), columns),
            self._engine,
        )

    def _raw(self, column: Column[Any]) -> ColumnElement[Any]:
        """Return a column whose cells nobody converts, whatever they are."""
        if str(column) in self._lacks:
            return literal(BEFORE.get(str(column)), NullType()).label(column.name)
        is_truth = isinstance(column.type, Boolean)
        return type_coerce(column, NullType()).label(column.name) if is_truth else column

    def history(self, key: str) -> pd.DataFrame:
        """Return the evaluations of one run, as `RunResult.history`."""
        return self.histories([key]).drop(columns="run")

    def histories(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the evaluations of many runs, as `history`, after a column `run` of their keys.

        Args:
            keys: which; those that are not there are left out.

        """
        frames, faults = zip(
            *(
                self._rows(list(EVALUATIONS.c), EVALUATIONS.c.run.in_(part))
                for part in parts(list(dict.fromkeys(keys)) or [""])
            ),
            strict=True,
        )
        if damaged := sum(faults, Counter[str]()):
            log.warning(
                "store: %s: %d evaluations are left out: %s",
                self.location, damaged.total(), told(damaged),
            )  # fmt: skip
        rows: pd.DataFrame = pd.concat(frames)
        return rows.sort_values(["run", "step"], ignore_index=True)

    def shares(self, key: str, of: str) -> pd.Series:
        """Return the accuracy of one run by "class" or by "worker", as `accuracy_by_class`.

        Raises:
            PrivRobustError: what is stored is no list of numbers.

        """
        wanted = select(RUNS.c[f"accuracy_by_{of}"]).where(RUNS.c.key == key)
        try:
            values = self._transact(
                lambda connection: connection.scalars(wanted).first(), self._engine
            )
            return pd.Series(values, name="accuracy", dtype=float).rename_axis(of)
        except (ValueError, TypeError):  # of JSON, or of what it says
            raise PrivRobustError(
                f"store: {self.location}: accuracy_by_{of} of the run {key} is damaged; {RESTORE}"
            ) from None

    def failed(self) -> pd.Series:
        """Return why each failed run did, by key."""
        rows = self._read(select(RUNS.c.key, RUNS.c.failure).where(RUNS.c.status == FAILED))
        return rows.set_index("key")["failure"]

    def failures(self) -> pd.DataFrame:
        """Return a row an attempt that failed: run, time, owner, reason, details."""
        return self._read(select(FAILURES).order_by(FAILURES.c.place)).drop(columns="place")


def _newest(runs: pd.DataFrame) -> pd.DataFrame:
    """Return, of runs with equal settings, the one that was finished last."""
    settings = runs[_SETTINGS].assign(
        noise_scale=runs["noise_scale"].mask(runs["target_epsilon"].notna())  # it follows
    )
    if not settings.duplicated().any():
        return runs
    by_time = runs["finished"].sort_values(kind="stable", na_position="first").index
    return runs[~settings.loc[by_time].duplicated(keep="last").loc[runs.index]]
