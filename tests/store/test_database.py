"""Opening stores, bringing them to this version, and databases that are away, full or damaged."""

import sqlite3
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, update

from privrobust import RunSpec, train
from privrobust.errors import PrivRobustError
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.tables import lay_out
from privrobust.store import Store, database, transactions
from privrobust.store.schema import ABOUT, LACKED, RUNS

SPECS = [RunSpec(honest=3, steps=2, clip_norm=1.0, noise_scale=0.1, seed=seed) for seed in range(6)]


def test_looking_makes_no_store(tmp_path):
    for location in (tmp_path / "none.db", f"sqlite:///{tmp_path / 'none.db'}"):
        with pytest.raises(PrivRobustError, match="does not exist"):
            Store(location, create=False)
    assert not list(tmp_path.iterdir())


def test_a_store_of_another_version_is_refused(location, monkeypatch):
    monkeypatch.setattr(database, "SCHEMA_VERSION", 4)
    Store(location)
    monkeypatch.undo()
    with pytest.raises(PrivRobustError, match=r"version 4, .* reads 7; give another --store"):
        Store(location)


def made_by_version(version, location):
    """A store as it was before it had all columns, with one run of each status."""
    with Store(location) as results:
        results.add([train(SPECS[0])])
        results.claim(SPECS[1:3])
        results.fail(SPECS[2:3], "no luck")
        before = results.runs()
        with results._writing.begin() as connection:
            for lacked in LACKED[version]:
                table, name = lacked.split(".")
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
            connection.execute(update(ABOUT).values(schema_version=version))
        results.release()
    return before


def lacked_of(version, table):
    names = [name.split(".") for name in LACKED[version]]
    return [name for of, name in names if of == table]


def is_of_before(version, before, results):
    """Whether everything is there, and what an older store has not is empty, or its default."""
    runs, lacked = results.runs(), lacked_of(version, "runs")
    pd.testing.assert_frame_equal(runs.drop(columns=lacked), before.drop(columns=lacked))
    assert list(runs.columns) == [
        *(c.name for c in RUNS.c if c.name in runs),
        "chance",
        "chance_at_most",
    ]
    had = {"repetition": 0, "sampling": "poisson", "local_steps": 1}
    for name in lacked:
        assert runs[name].eq(had[name]).all() if name in had else runs[name].isna().all(), name
    history = results.history(SPECS[0].key)
    assert len(history) == 1
    assert history[lacked_of(version, "evaluations")].isna().all().all()
    assert results.failed().to_dict() == {SPECS[2].key: "no luck"}
    assert lay_out(runs).blocks


@pytest.mark.parametrize("version", LACKED)
def test_a_store_of_a_version_before_is_read_and_written(version, location):
    before = made_by_version(version, location)
    for create in (False, True):
        with Store(location, create=create) as results:
            is_of_before(version, before, results)
    new = {"sampling_rate": 0.1, "repetition": 2, "repeats": "poisson(mean=2.0)", "local_steps": 2}
    new |= {"pairwise_noise": 0.5, "colluding": 1}
    backdoor = {"byzantine": 1, "attack": "backdoor"}
    rated = RunSpec(**{**dict(SPECS[3]), **new, **backdoor})
    with Store(location) as results:
        result = train(rated)
        results.add([result])
        row, history = results.runs([rated.key]), results.history(rated.key)
        assert row["attack_success_rate"].item() == result.attack_success_rate
        assert history["attack_success_rate"].equals(result.history["attack_success_rate"])
        assert row[list(new)].iloc[0].to_dict() == new
        assert row["error"].item() > 0
        assert row["train_accuracy"].item() > 0
        assert len(results.runs()) == 3
        for metric in METRICS:
            assert lay_out(results.runs(), metrics=[metric]).blocks


@pytest.mark.parametrize("version", LACKED)
def test_an_older_store_that_cannot_be_changed_is_read(version, location, monkeypatch):
    before = made_by_version(version, location)
    monkeypatch.setattr(Store, "_add_columns", _refuse_to_write)
    with Store(location) as results:
        is_of_before(version, before, results)


def _refuse_to_write(self, connection, names):
    """As a file does that may be read only, and a database for who may only read it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    else:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN sampling_rate FLOAT")


def test_a_database_that_is_away_for_a_while(server, monkeypatch):
    waits = []

    def back(seconds):
        waits.append(seconds)
        server.start()

    monkeypatch.setattr(transactions.time, "sleep", back)
    with Store(server.new_database("away")) as results:
        results.claim(SPECS[:1])
        server.stop()
        results.add([train(SPECS[0])])
        assert results.keys() == {SPECS[0].key}
    assert waits == [1]


def test_a_database_that_stays_away(server, monkeypatch):
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: None)
    with Store(server.new_database("gone")) as results:
        server.stop()
        try:
            results.renew()  # warns, and leaves it to the next beat
            with pytest.raises(PrivRobustError, match="the same command goes on") as raised:
                results.keys()
        finally:
            server.start()
    assert "\n" not in str(raised.value)


def test_a_full_disk(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(transactions.time, "sleep", waits.append)
    result = train(SPECS[1])
    with Store(tmp_path / "results.db") as results:
        results.add([train(SPECS[0])])

        def fill(connection, record):
            connection.execute("PRAGMA max_page_count = 1")  # as if no page could be added

        results._engine.dispose()
        event.listen(results._engine, "connect", fill)
        many = result.history.loc[np.zeros(3000, dtype=int)].assign(step=range(3000))
        large = replace(result, history=many)
        with pytest.raises(PrivRobustError, match=r"disk is full.*what is finished is kept"):
            results.add([large])
        event.remove(results._engine, "connect", fill)
        results._engine.dispose()
        assert sum(waits) == 120
        assert results.keys() == {SPECS[0].key}
        results.add([large])
        assert len(results.history(SPECS[1].key)) == 3000


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("not a database " * 100)
    with pytest.raises(PrivRobustError, match=r"notes\.db cannot be opened"):
        Store(path)
    assert path.read_text().startswith("not a database")


def test_a_database_of_something_else_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE runs (distance REAL)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(PrivRobustError, match="a table 'runs' of another program"):
        Store(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_damaged_store_is_said_to_be_and_left_as_it_is(tmp_path):
    path = tmp_path / "results.db"
    with Store(path) as results:
        results.add([train(spec) for spec in SPECS])
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    results = Store(path)
    with pytest.raises(PrivRobustError, match=r"results\.db.*(malformed|not a database)") as raised:
        results.runs()
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_is_no_store(tmp_path, create):
    with pytest.raises(PrivRobustError, match=r"^store: .* \(it is a folder; accepted: a file"):
        Store(tmp_path, create)


def test_a_file_in_a_folder_that_is_missing_is_not_made(tmp_path):
    with pytest.raises(PrivRobustError, match=r"there is no folder '.*absent'; make it first\)$"):
        Store(tmp_path / "absent" / "results.db")
    assert not list(tmp_path.iterdir())


def test_odd_file_names_are_taken_literally(tmp_path):
    with Store(tmp_path / "a?b#c.db"):
        assert [path.name for path in tmp_path.iterdir()] == ["a?b#c.db"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("mysql://me@host/results", "accepted: a path, sqlite:///... or postgresql://..."),
        ("postgresql://me:secret@127.0.0.1:1/results", "Connection refused"),
        ("no/such/folder/results.db", "there is no folder 'no/such/folder'; make it first"),
        ("postgresql://me:secret@localhost:abc/x", "accepted: a path"),
        ("postgresql+psycopg2://me:secret@localhost/x", "accepted: a path"),
        ("postgresql://127.0.0.1:1/x?user=me&password=secret", "Connection refused"),
        ("sqlite://", "it names no file"),
        ("", "it names no file"),
    ],
)
def test_places_where_no_store_can_be(location, message):
    with pytest.raises(PrivRobustError, match="cannot be opened") as raised:
        Store(location)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
