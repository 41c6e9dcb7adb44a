"""What was spent on somebody's data, where neither a restart nor a second run forgets it.

>>> import tempfile
>>> from privrobust.accountants import Release
>>> round_of = Release(noise_scale=2.0, clip_norm=1.0, unit="worker", steps=1)
>>> with tempfile.TemporaryDirectory() as folder:
...     with Ledger(f"{folder}/ledger.db", "ward 7", max_epsilon=3.0) as ledger:
...         first, second = ledger.charge(round_of), ledger.charge(round_of)
...     with Ledger(f"{folder}/ledger.db", "ward 7") as again:  # after a restart
...         left = again.would_exceed(round_of)
>>> round(first.epsilon, 3), round(second.epsilon, 3), left
(1.993, 2.943, True)
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, inspect, select, text, update

from privrobust.accountants import Release, Spent, get_accountant, spend
from privrobust.accountants.protocol import check_delta
from privrobust.core.displayed import Displayed
from privrobust.core.formatting import in_full, rounded_up
from privrobust.core.numbers import as_float, own, shown
from privrobust.errors import BudgetExhausted, PrivRobustError, SpecError
from privrobust.federated.entries import (
    ABOUT,
    CHARGES,
    DATA,
    METADATA,
    VERSION,
    Damaged,
    Entry,
    Terms,
    checked,
    release_of,
    seal,
    written,
)
from privrobust.store.transactions import Transactions

_DELTA = 1e-5
_LONGEST = 200  # characters of a name or a note

# Seconds for another process to write a file that it has made.
_MADE_SECONDS = 5.0


class Ledger(Displayed, Transactions):
    """A durable account of what was released about some data, and the door that closes in time.

    - **All that is charged under a name composes**: of any run, process or machine, whenever.
    - **Charged before released.** `charge` returns once the charge is on the disk; whoever dies
      after that has overstated what was spent, never understated it.
    - **One passes where only one fits.** A charge is one transaction that locks the data's row
      from reading what was spent to writing; what does not fit is refused and not written.
    - **Numbers are kept exactly, and sealed.** A charge that is missing or changed is an error.

    Formal guarantee:
        If everything that is computed of the data and seen by others is charged here before it is
        released, all of it together is (max_epsilon, delta)-differentially private, as `Accountant`
        says. Whether a charge fits depends on settings alone, so stopping tells nothing of the
        data. Not covered: settings that are chosen by looking at what was released; a file that
        is taken away, or replaced by an older copy: keep it with the data.

    Args:
        url: a path, `sqlite:///ledger.db` or `postgresql://user@host/database`. A database may
            hold other tables too, those of a `Store` among them.
        data: names whose data it is.
        max_epsilon: what may be spent in all. It is kept with the name, and the least that anybody
            ever states holds from then on; None: what is kept, or no limit.
        delta: that of every epsilon, kept with the name; None: what is kept, or 1e-5.
        accountant: any whose value is an upper bound.

    Raises:
        SpecError: a delta or a larger max_epsilon than is kept; or no upper bound.
        PrivRobustError: no ledger of this version is there, nor can one be made. Of every method:
            the database stays away or full, is read-only, or is damaged.

    """

    kind = "ledger"
    example = "ledger.db"
    restore = "restore its newest copy: an older one forgets what was spent since"
    kept = "what was charged is kept"

    def __init__(
        self,
        url: str | Path,
        data: str,
        *,
        max_epsilon: float | None = None,
        delta: float | None = None,
        accountant: str = "auto",
    ) -> None:
        if not isinstance(url, str | Path):
            raise SpecError(f"ledger: {shown(url)} is not a path or an address of a database")
        self.data = _line("data", data)
        self._accountant = _upper_bound(accountant)
        if max_epsilon is not None:
            accepted = "a finite number above 0"
            max_epsilon = as_float("max_epsilon", max_epsilon, accepted, above=0.0)
        delta = None if delta is None else check_delta(delta)
        super().__init__(url)
        self._register(max_epsilon, delta)

    def __repr__(self) -> str:
        """Say where it is and of what data, without what may be a secret."""
        return f"{type(self).__name__}({self.location!r}, {self.data!r})"

    @property
    def spent(self) -> Spent:
        """What all charges together spend; epsilon is 0 where there are none."""
        terms, releases = self._transact(self._read, self._engine)
        return self._spend(releases, terms.delta)

    @property
    def max_epsilon(self) -> float | None:
        """What may be spent in all; None where nothing limits it."""
        return self._transact(self._read, self._engine)[0].max_epsilon

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All charges, in the order in which they were made."""
        wanted = _joined(CHARGES.c.made, CHARGES.c.note, CHARGES.c.release)
        wanted = wanted.where(DATA.c.name == self.data).order_by(CHARGES.c.place)

        def read(connection: Connection) -> tuple[Entry, ...]:
            rows = connection.execute(wanted).all()
            charged = [row for row in rows if row.release is not None]
            self._terms(rows, len(charged))
            return tuple(Entry(str(row.made), str(row.note), self._of(row)) for row in charged)

        return self._transact(read, self._engine)

    def would_exceed(self, release: Release) -> bool:
        """Tell whether `charge` would refuse it now; another process may charge before you do."""
        terms, releases = self._transact(self._read, self._engine)
        after = self._spend([*releases, checked(release)], terms.delta)
        return terms.max_epsilon is not None and after.epsilon > terms.max_epsilon

    def charge(self, release: Release, note: str = "") -> Spent:
        """Write what is about to be released, or refuse it; then it may be released.

        Args:
            release: what is sent next, and not what was sent before.
            note: anything that will help whoever reads the entries.

        Returns:
            What is spent in all, this release included.

        Raises:
            BudgetExhausted: that is more than `max_epsilon`. Nothing is written.
            SpecError: it does not compose with what was charged before (`Release.unit` and
                `Release.adjacency` must agree), or no accountant knows it. Nothing is written.

        """
        content = written(checked(release))
        note = _line("note", note, least=0)

        def write(connection: Connection) -> Spent:
            self._lock(connection)
            terms, releases = self._read(connection)
            after = self._spend([*releases, release], terms.delta)
            if terms.max_epsilon is not None and after.epsilon > terms.max_epsilon:
                raise self._exhausted(self._spend(releases, terms.delta), after, terms.max_epsilon)
            made = datetime.now(UTC).isoformat(timespec="seconds")
            row = {"data": self.data, "made": made, "note": note, "release": content}
            connection.execute(insert(CHARGES), row | {"seal": seal(self.data, content)})
            self._write(connection, terms._replace(charges=terms.charges + 1))
            return after

        return self._transact(write)

    # --- reading -----------------------------------------------------------------------------

    def _read(self, connection: Connection) -> tuple[Terms, list[Release]]:
        """Return what holds of the data, and its charges: equal ones as one of more steps.

        In one statement: two could see different moments.
        """
        release = func.min(CHARGES.c.release).label("release")
        last = func.max(CHARGES.c.release).label("last")
        times = func.count(CHARGES.c.place).label("times")
        wanted = _joined(release, last, times).where(DATA.c.name == self.data)
        rows = connection.execute(wanted.group_by(DATA.c.name, CHARGES.c.seal)).all()
        terms = self._terms(rows, sum(row.times for row in rows))
        charged = [row for row in rows if row.times]
        for row in charged:
            if row.release != row.last:
                raise self._changed()
        several = [(self._of(row), row.times) for row in charged]
        return terms, [each.repeated(times) for each, times in several]

    def _terms(self, rows: Sequence[Row[Any]], charges: int) -> Terms:
        """Return what holds, by rows that all say it, if there are as many charges as it says."""
        if not rows:
            raise self._damage(f"it no longer knows the data {self.data!r}")
        terms = Terms(rows[0].max_epsilon, rows[0].delta, rows[0].charges)
        if rows[0].sealed != seal(self.data, *terms):
            raise self._damage(f"what it says of the data {self.data!r} was changed")
        if terms.charges != charges:
            raise self._damage(f"it has {charges} of {terms.charges} charges of {self.data!r}")
        return terms

    def _of(self, row: Row[Any]) -> Release:
        try:
            return release_of(self.data, row.release, row.seal)
        except Damaged:
            raise self._changed() from None

    def _changed(self) -> PrivRobustError:
        return self._damage(f"a charge of {self.data!r} was changed")

    def _damage(self, what: str) -> PrivRobustError:
        return PrivRobustError(f"ledger: {self.location} is damaged: {what}; {self.restore}")

    def _spend(self, releases: Sequence[Release], delta: float) -> Spent:
        if not releases:
            return Spent(0.0, delta, self._accountant, is_upper_bound=True)
        return spend(releases, delta, self._accountant)

    def _exhausted(self, before: Spent, after: Spent, most: float) -> BudgetExhausted:
        reason = f" ({after.reason})" if after.reason else ""
        return BudgetExhausted(
            f"ledger: {self.location}: {self.data!r} has spent epsilon "
            f"{rounded_up(before.epsilon, 6)} of at most {in_full(most)} at delta "
            f"{in_full(before.delta)}, and this release would make it "
            f"{rounded_up(after.epsilon, 6)}{reason}; nothing was charged"
        )

    # --- opening and writing -----------------------------------------------------------------

    def _check_place(self, path: Path, create: bool) -> None:
        """Refuse an empty file, too: no ledger is one, and it may have been emptied."""
        super()._check_place(path, create)
        waited = 0.0
        while path.is_file() and not path.stat().st_size:
            if waited >= _MADE_SECONDS:
                raise self._refusal(
                    f"it is an empty file; {self.restore}; if nothing was ever charged, remove it"
                )
            time.sleep(0.05)
            waited += 0.05

    def _open(self, create: bool) -> None:
        with self._engine.begin() as connection:
            if self._is_made(connection):
                return
        with self._writing.begin() as connection:
            self._backend.lock_tables(connection)
            if not self._is_made(connection):  # again: another may have been faster
                METADATA.create_all(connection)
                connection.execute(insert(ABOUT).values(version=VERSION))

    def _is_made(self, connection: Connection) -> bool:
        present = METADATA.tables.keys() & set(inspect(connection).get_table_names())
        if not present:
            return False
        if lost := sorted(METADATA.tables.keys() - present):
            raise self._refusal(f"it lacks the table {lost[0]!r}; {self.restore}")
        versions = connection.scalars(select(ABOUT.c.version)).all()
        if versions != [VERSION]:
            found = versions[0] if versions else "none"
            raise self._refusal(
                f"its tables have version {shown(found)}, this privrobust reads {VERSION}; "
                "install the privrobust that made it"
            )
        return True

    def _register(self, max_epsilon: float | None, delta: float | None) -> None:
        """See that the data has a row, and that this one says no less than what is kept."""
        own_row = select(DATA.c.name).where(DATA.c.name == self.data)

        def settle(connection: Connection) -> bool:
            """Tell whether there is something to write."""
            if connection.scalars(own_row).first() is None:
                return True
            kept = self._read(connection)[0]
            if delta is not None and delta != kept.delta:
                raise SpecError(
                    f"delta: {in_full(delta)} is not that of {self.data!r} in {self.location}; "
                    f"accepted: {in_full(kept.delta)}"
                )
            if max_epsilon is None or max_epsilon == kept.max_epsilon:
                return False
            if kept.max_epsilon is not None and max_epsilon > kept.max_epsilon:
                raise SpecError(
                    f"max_epsilon: {in_full(max_epsilon)} is more than {self.location} allows for "
                    f"{self.data!r}; accepted: at most {in_full(kept.max_epsilon)}"
                )
            return True

        def write(connection: Connection) -> None:
            new = Terms(max_epsilon, _DELTA if delta is None else delta, 0)
            row = {"name": self.data, **new._asdict(), "seal": seal(self.data, *new)}
            self._insert_new(connection, DATA, [row])
            self._lock(connection)
            if settle(connection):
                self._write(connection, self._read(connection)[0]._replace(max_epsilon=max_epsilon))

        if self._transact(settle, self._engine):
            self._transact(write)

    def _lock(self, connection: Connection) -> None:
        """Let nobody else charge until this transaction ends, and have it end on the disk."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL synchronous_commit TO on"))
        locked = select(DATA.c.name).where(DATA.c.name == self.data).with_for_update()
        connection.execute(locked)

    def _write(self, connection: Connection, terms: Terms) -> None:
        values = terms._asdict() | {"seal": seal(self.data, *terms)}
        connection.execute(update(DATA).where(DATA.c.name == self.data).values(values))


_JOINED = (
    DATA.c.max_epsilon,
    DATA.c.delta,
    DATA.c.charges,
    DATA.c.seal.label("sealed"),
    CHARGES.c.seal,
)


def _joined(*columns: Any) -> Select[Any]:
    """Select what is known of data, and each of its charges if there are any."""
    return select(*_JOINED, *columns).join_from(
        DATA, CHARGES, CHARGES.c.data == DATA.c.name, isouter=True
    )


def _line(field: str, value: object, least: int = 1) -> str:
    given = own(field, value)
    is_line = isinstance(given, str) and given.isprintable() and least <= len(given) <= _LONGEST
    if not is_line:
        raise SpecError(
            f"{field}: {shown(value)} is not accepted: {least} to {_LONGEST} printable characters"
        )
    return str(given)


def _upper_bound(name: str) -> str:
    """Return the name of an accountant whose value is a promise."""
    if name == "auto":
        return name
    accountant = get_accountant(name)
    if not accountant.is_upper_bound:
        raise SpecError(
            f"accountant: {accountant.name} is an estimate, which may be below what is spent; "
            "accepted: auto, or one whose value is an upper bound, such as pld"
        )
    return name
