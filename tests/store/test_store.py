"""The store, on SQLite and PostgreSQL alike."""

import multiprocessing
import signal
import sqlite3
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import postgres
import pytest
import torch
from sqlalchemy import event, update

from privrobust import RunSpec, train
from privrobust.data import Dataset
from privrobust.errors import PrivRobustError
from privrobust.reporting.tables import lay_out
from privrobust.store import Store, store
from privrobust.store import leases as ownership
from privrobust.store.schema import ABOUT, FAILED, RUNNING, RUNS
from privrobust.training import loop as training

SPECS = [RunSpec(honest=3, steps=2, clip_norm=1.0, noise_scale=0.1, seed=seed) for seed in range(6)]


@pytest.fixture(scope="session")
def server():
    with postgres.server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "results.db"
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    return request.getfixturevalue("server").new_database(name)


def as_if(monkeypatch, owner):
    """Let the next stores be another process's."""
    monkeypatch.setattr(store, "new_owner", lambda: owner)


def test_columns_of_numbers_are_floats_also_where_all_of_them_are_missing(location):
    """Of a run whose every loss is NaN, and of one that ended before its first evaluation."""
    spec = RunSpec(
        honest=3, byzantine=1, attack="nan", aggregator="mean", steps=4, evaluate_every=1
    )
    result = train(spec)
    assert result.history["loss"].isna().all()
    early = replace(result, spec=SPECS[0], history=result.history[:0])
    with Store(location) as store:
        store.add([result, early])
        histories = [
            store.history(spec.key),
            store.histories([spec.key]),
            store.history(early.spec.key),
        ]
        runs = store.runs([spec.key])
    for history in (*histories, result.history, early.history, training._history({}, 0)):
        kinds = history.drop(columns=["step", "run"], errors="ignore").dtypes
        assert all(pd.api.types.is_float_dtype(kind) for kind in kinds), kinds
    for column in ("accuracy", "final_loss", "kappa", "target_epsilon"):
        assert pd.api.types.is_float_dtype(runs[column]), column


def test_results_come_back_as_they_were(location):
    spec = SPECS[0].model_copy(
        update={"byzantine": 1, "attack": RunSpec(byzantine=1, attack="alie(z=1.5)").attack}
    )
    result = train(spec)
    with Store(location) as first:
        first.add([result], seconds=1.5)
    with Store(location) as again:
        row = again.runs().loc[spec.key]
        pd.testing.assert_frame_equal(again.history(spec.key), result.history, check_dtype=False)
        by_class, by_worker = again.shares(spec.key, "class"), again.shares(spec.key, "worker")
    assert row["status"] == "done"
    assert row["attack"] == "alie(z=1.5)"
    assert (row["accuracy"], row["epsilon"], row["seconds"]) == (
        result.accuracy,
        result.epsilon,
        1.5,
    )
    assert f"torch {version('torch')}" in row["versions"]
    restored = RunSpec.restored(
        {name: None if pd.isna(row[name]) else row[name] for name in RunSpec.model_fields}
    )
    assert restored.key == spec.key
    np.testing.assert_array_equal(by_class, result.accuracy_by_class)
    np.testing.assert_array_equal(by_worker, result.accuracy_by_worker)


def test_infinite_epsilon_and_a_loss_that_is_no_number(location):
    result = train(SPECS[0].model_copy(update={"noise_scale": 0.0}))
    result.history.loc[:, "loss"] = np.nan
    with Store(location) as results:
        results.add([result])
        row = results.runs().iloc[0]
    assert np.isinf(row["epsilon"])
    assert pd.isna(row["final_loss"])
    assert row["diverged"]


def test_a_claim_is_one_process_s_alone(location, monkeypatch):
    with Store(location) as mine:
        as_if(monkeypatch, "elsewhere/1")
        with Store(location) as theirs:
            assert mine.claim(SPECS[:4]) == SPECS[:4]
            assert theirs.claim(SPECS) == SPECS[4:]
            assert mine.claim(SPECS) == SPECS[:4]  # again: the first answer may have been lost
            assert mine.keys(RUNNING) == {spec.key for spec in SPECS}
            mine.release()
            assert theirs.keys(RUNNING) == {spec.key for spec in SPECS[4:]}
            assert theirs.claim(SPECS[:1]) == SPECS[:1]


def test_a_claim_ends_with_its_lease(location, monkeypatch):
    as_if(monkeypatch, "elsewhere/1")
    with Store(location) as theirs:
        theirs.claim(SPECS)
        monkeypatch.undo()
        with Store(location) as mine:
            assert mine.claim(SPECS) == []
            long_ago = update(RUNS).where(RUNS.c.key == SPECS[0].key).values(lease_until=1.0)
            with mine._writing.begin() as connection:
                connection.execute(long_ago)
            theirs.renew()
            assert mine.claim(SPECS) == []
            with mine._writing.begin() as connection:
                connection.execute(long_ago)
            assert mine.claim(SPECS) == SPECS[:1]
            theirs.renew()
            assert set(mine.claims()["owner"]) == {"elsewhere/1", mine._owner}


def test_claims_of_a_process_that_is_gone_are_free_at_once(location, monkeypatch):
    ended = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    ended.start()
    ended.join()
    here = ownership.new_owner().rsplit("/", 2)[0]
    as_if(monkeypatch, f"{here}/{ended.pid}/0")
    with Store(location) as theirs:
        theirs.claim(SPECS)
    monkeypatch.undo()
    with Store(location) as mine:
        assert mine.claim(SPECS) == SPECS


def test_who_is_gone():
    here, process, _ = ownership.new_owner().rsplit("/", 2)
    assert not ownership.is_gone(f"{here}/{process}/0")
    assert not ownership.is_gone(f"{here}/1/0")  # another user's, perhaps
    assert not ownership.is_gone(f"elsewhere/{2**22 + 1}/0")
    assert not ownership.is_gone("elsewhere")
    assert ownership.is_gone(f"{here}/{2**22 + 1}/0")  # above what Linux numbers
    assert ownership.new_owner() != ownership.new_owner()


def test_what_is_done_stays_as_it_is(location):
    spec = SPECS[0]
    result = train(spec)
    other = train(spec.model_copy(update={"steps": 1}))
    with Store(location) as results:
        results.add([result])
        changed = type(result)(spec, other.spent, other.history, other.correct, 1)
        results.add([changed])
        results.fail([spec], "too late")
        results.retry([spec.key])
        assert results.claim([spec]) == []
        assert results.runs().loc[spec.key, "accuracy"] == result.accuracy
        assert len(results.history(spec.key)) == len(result.history)
        assert results.failures().empty


def test_failed_runs_are_tried_again_only_if_asked(location):
    with Store(location) as results:
        results.claim(SPECS[:2])
        results.fail(SPECS[:2], "no luck", "traceback")
        assert results.keys() == set()
        assert results.failed().to_dict() == {spec.key: "no luck" for spec in SPECS[:2]}
        assert list(results.failures()["details"]) == ["traceback"] * 2
        row = results.runs().loc[SPECS[0].key]
        assert row["epsilon"] == pytest.approx(train(SPECS[0]).epsilon)
        assert results.claim(SPECS[:2]) == []
        results.retry([SPECS[0].key])
        assert results.claim(SPECS[:1]) == SPECS[:1]
        results.add([train(SPECS[0])])
        assert results.keys() == {SPECS[0].key}
        assert results.keys(FAILED) == {SPECS[1].key}


def test_a_claim_that_another_took_over_is_not_failed(location, monkeypatch):
    as_if(monkeypatch, "elsewhere/1")
    with Store(location) as late:
        late.claim(SPECS[:1])
        monkeypatch.undo()
        with Store(location) as mine:
            with mine._writing.begin() as connection:
                connection.execute(update(RUNS).values(lease_until=1.0))
            assert mine.claim(SPECS[:1]) == SPECS[:1]
            late.fail(SPECS[:1], "boom")
            assert mine.failed().empty
            assert mine.keys(RUNNING) == {SPECS[0].key}


def test_looking_makes_no_store(tmp_path):
    for location in (tmp_path / "none.db", f"sqlite:///{tmp_path / 'none.db'}"):
        with pytest.raises(PrivRobustError, match="does not exist"):
            Store(location, create=False)
    assert not list(tmp_path.iterdir())


def test_all_or_nothing(location):
    results = [train(spec) for spec in SPECS[:2]]
    twice = replace(results[1], history=pd.concat([results[1].history] * 2))
    with Store(location) as opened:
        opened.claim(SPECS[:2])
        with pytest.raises(PrivRobustError, match=r"(?i)unique"):  # after the runs are written
            opened.add([results[0], twice])
        assert opened.keys() == set()
        opened.add(results)
        assert len(opened.history(SPECS[1].key)) == len(results[1].history)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("times", "is_kept"), [(1, True), (2, False)])
def test_an_interrupt_waits_for_the_end_of_a_transaction_and_a_second_does_not(
    location, monkeypatch, sent, times, is_kept
):
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    result, settle = train(SPECS[0]), Store._settle

    def interrupted(*given):
        for _ in range(times):
            signal.raise_signal(sent)
        return settle(*given)

    monkeypatch.setattr(Store, "_settle", interrupted)
    try:
        with Store(location) as opened:
            with pytest.raises(KeyboardInterrupt):
                opened.add([result])
            assert opened.keys() == ({SPECS[0].key} if is_kept else set())
            assert signal.getsignal(sent) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_data_of_the_same_name(location):
    def data(shift):
        inputs = torch.arange(40.0).reshape(20, 2) + shift
        return Dataset.from_tensors("mine", inputs, torch.arange(20) % 2)

    with Store(location) as results:
        results.same_data([data(0)])
        results.same_data([data(0)])
        with pytest.raises(PrivRobustError, match=r"mine is not the data that .* has results of"):
            results.same_data([data(1)])


def test_a_store_of_another_version_is_refused(location, monkeypatch):
    monkeypatch.setattr(store, "SCHEMA_VERSION", 4)
    Store(location)
    monkeypatch.undo()
    with pytest.raises(PrivRobustError, match=r"version 4, .* reads 6; give another --store"):
        Store(location)


def made_by_version_5(location):
    """A store as it was before runs had a `sampling_rate`, with one run of each status."""
    with Store(location) as results:
        results.add([train(SPECS[0])])
        results.claim(SPECS[1:3])
        results.fail(SPECS[2:3], "no luck")
        before = results.runs().drop(columns="sampling_rate")
        with results._writing.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE runs DROP COLUMN sampling_rate")
            connection.execute(update(ABOUT).values(schema_version=5))
        results.release()
    return before


def test_a_store_of_the_version_before_is_read_and_written(location):
    before = made_by_version_5(location)
    for create in (False, True):
        with Store(location, create=create) as results:
            runs = results.runs()
            pd.testing.assert_frame_equal(runs.drop(columns="sampling_rate"), before)
            assert runs["sampling_rate"].isna().all()
            assert len(results.history(SPECS[0].key)) == 1
            assert results.failed().to_dict() == {SPECS[2].key: "no luck"}
    rated = RunSpec(**{**dict(SPECS[3]), "sampling_rate": 0.1})
    with Store(location) as results:
        results.add([train(rated)])
        assert results.runs([rated.key])["sampling_rate"].item() == 0.1
        assert len(results.runs()) == 3
        assert lay_out(results.runs()).blocks


def test_an_older_store_that_cannot_be_changed_is_read(location, monkeypatch):
    before = made_by_version_5(location)
    monkeypatch.setattr(Store, "_add_columns", _refuse_to_write)
    with Store(location) as results:
        runs = results.runs()
        pd.testing.assert_frame_equal(runs.drop(columns="sampling_rate"), before)
        assert list(runs.columns) == [c.name for c in RUNS.c if c.name in runs]
        assert runs["sampling_rate"].isna().all()


def _refuse_to_write(self, connection, names):
    """As a file does that may be read only, and a database for who may only read it."""
    if self._is_sqlite:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    else:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN sampling_rate FLOAT")


def _race(location, start, found):
    start.wait()
    with Store(location) as results:
        found.put([spec.seed for spec in SPECS for _ in results.claim([spec])])
        start.wait()  # claims of a process that has ended would be free


def test_two_processes_that_open_and_claim_at_once(location):
    spawn = multiprocessing.get_context("spawn")
    start, found = spawn.Barrier(2), spawn.Queue()
    racers = [spawn.Process(target=_race, args=(location, start, found)) for _ in range(2)]
    for racer in racers:
        racer.start()
    seeds = found.get(timeout=60) + found.get(timeout=60)
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert sorted(seeds) == list(range(6))


def test_a_database_that_is_away_for_a_while(server, monkeypatch):
    waits = []

    def back(seconds):
        waits.append(seconds)
        server.start()

    monkeypatch.setattr(store.time, "sleep", back)
    with Store(server.new_database("away")) as results:
        results.claim(SPECS[:1])
        server.stop()
        results.add([train(SPECS[0])])
        assert results.keys() == {SPECS[0].key}
    assert waits == [1]


def test_a_database_that_stays_away(server, monkeypatch):
    monkeypatch.setattr(store.time, "sleep", lambda seconds: None)
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
    monkeypatch.setattr(store.time, "sleep", waits.append)
    result = train(SPECS[1])
    with Store(tmp_path / "results.db") as results:
        results.add([train(SPECS[0])])

        def fill(connection, record):
            connection.execute("PRAGMA max_page_count = 1")  # as if no page could be added

        results._engine.dispose()
        event.listen(results._engine, "connect", fill)
        many = result.history.loc[np.zeros(3000, dtype=int)].assign(step=range(3000))
        large = type(result)(result.spec, result.spent, many, result.correct, result.steps)
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
