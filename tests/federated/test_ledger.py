"""A ledger forgets nothing, lets nothing through that does not fit, and says what is wrong."""

import math
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest
from charging import ROUND, charge
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from privrobust.accountants import Accountant, Release, epsilon, register_accountant
from privrobust.errors import BudgetExhausted, PrivRobustError, SpecError
from privrobust.federated import Ledger
from privrobust.federated.entries import release_of, seal, written
from privrobust.noise import NoiseLaw, register_noise_law
from privrobust.store import Store, transactions

OTHER = Release(noise_scale=2.0, clip_norm=1.0, unit="worker", steps=3, worker_sampling_rate=0.5)


def composed(*releases):
    return pytest.approx(epsilon(releases, delta=1e-5), rel=1e-12)


def test_what_is_charged_composes_over_runs(location):
    with Ledger(location, "ward 7") as ledger:
        assert ledger.spent.epsilon == 0
        assert ledger.entries == ()
        assert ledger.charge(ROUND, "first").epsilon == composed(ROUND)
    with Ledger(location, "ward 7") as again, Ledger(location, "ward 8") as of_others:
        again.charge(OTHER)
        of_others.charge(ROUND)
        spent = again.charge(ROUND, "third")
        assert spent.epsilon == composed(replace(ROUND, steps=2), OTHER)
        assert spent.is_upper_bound
        assert again.spent == spent
        assert [(entry.note, entry.release) for entry in again.entries] == [
            ("first", ROUND), ("", OTHER), ("third", ROUND)
        ]  # fmt: skip
        assert of_others.spent.epsilon == composed(ROUND)
        assert "'ward 8'" in repr(of_others)
        assert "tester" not in repr(of_others)  # who the server knows


@pytest.mark.parametrize("sampling", ["shuffled", "balls_in_bins", "fixed"])
def test_charges_of_epochs_that_were_begun_apart_are_epochs_of_their_own(sampling, location):
    """Four times one step of three: as many epochs, not two."""
    one = Release(
        noise_scale=0.5, clip_norm=1.0, batch_size=32, dataset_size=95, steps=1, sampling=sampling
    )
    with Ledger(location, "ward 7") as ledger:
        for _ in range(4):
            ledger.charge(one)
        assert ledger.spent.epsilon == composed(one, one, one, one)


def test_what_does_not_fit_is_refused_and_not_written(location):
    fits = epsilon(replace(ROUND, steps=3))
    with Ledger(location, "ward", max_epsilon=fits) as ledger:
        for _ in range(3):
            assert not ledger.would_exceed(ROUND)
            ledger.charge(ROUND)
        assert ledger.would_exceed(ROUND)
        with pytest.raises(BudgetExhausted, match=r"'ward' has spent epsilon .* at most") as raised:
            ledger.charge(ROUND)
        assert "\n" not in str(raised.value)
        smaller = replace(ROUND, noise_scale=1000.0)
        assert ledger.would_exceed(smaller)  # even next to nothing
        assert ledger.spent.epsilon == fits
        assert len(ledger.entries) == 3


def test_the_least_limit_that_was_stated_holds_for_all(location):
    Ledger(location, "ward")
    Ledger(location, "ward", max_epsilon=5)
    Ledger(location, "ward", max_epsilon=2.0, delta=1e-5)
    for given_again in (None, 2.0):
        ledger = Ledger(location, "ward", max_epsilon=given_again)
        with pytest.raises(BudgetExhausted, match="at most 2 at delta"):
            ledger.charge(replace(ROUND, noise_scale=1.0))
    with pytest.raises(SpecError, match=r"max_epsilon: 2\.5 is more .* accepted: at most 2$"):
        Ledger(location, "ward", max_epsilon=2.5)
    with pytest.raises(SpecError, match=r"delta: 1e-06 is not .* accepted: 1e-05"):
        Ledger(location, "ward", delta=1e-6)
    assert Ledger(location, "other ward", delta=1e-6).spent.delta == 1e-6
    assert Ledger(location, "other ward").spent.delta == 1e-6


def test_what_is_not_private(location):
    bare = replace(ROUND, noise_scale=0.0)
    with Ledger(location, "limited", max_epsilon=1000.0) as ledger:
        with pytest.raises(BudgetExhausted, match=r"would make it ∞ \(no noise \(b = 0\)\)"):
            ledger.charge(bare)
        assert ledger.spent.epsilon == 0
    with Ledger(location, "free") as ledger:
        assert ledger.charge(bare).epsilon == float("inf")
        assert ledger.charge(ROUND).reason == "no noise (b = 0)"
        assert ledger.entries[0].release == bare
    with pytest.raises(BudgetExhausted):
        Ledger(location, "free", max_epsilon=1.0).charge(ROUND)


class Cauchy(NoiseLaw):
    """Of a user's own."""

    std = 1.0

    def draw(self, uniform):
        return uniform


class Hopeful(Accountant):
    """An estimate."""

    name = "hopeful"
    is_upper_bound = False

    def compose_epsilon(self, steps, delta):
        return 0.1


def test_only_promises_are_kept(tmp_path):
    register_accountant(Hopeful())
    register_noise_law("cauchy", Cauchy)
    path = tmp_path / "ledger.db"
    of_examples = Release(noise_scale=1, clip_norm=1, batch_size=1, dataset_size=9, steps=1)
    for estimate in ("gdp", "hopeful"):
        with pytest.raises(SpecError, match=f"accountant: {estimate} is an estimate"):
            Ledger(path, "ward", accountant=estimate)
    with pytest.raises(SpecError, match="unknown name 'pdl'; did you mean 'pld'"):
        Ledger(path, "ward", accountant="pdl")
    assert not path.exists()
    with Ledger(path, "ward", accountant="rdp") as ledger:
        assert ledger.charge(ROUND).accountant == "rdp"
        for wrong in (replace(ROUND, noise="cauchy"), "a round", [ROUND], None):
            with pytest.raises(SpecError):
                ledger.charge(wrong)
            with pytest.raises(SpecError):
                ledger.would_exceed(wrong)
        with pytest.raises(SpecError, match="unit: releases that compose must agree"):
            ledger.charge(of_examples)
        assert len(ledger.entries) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"url": None}, "ledger: None is not a path"),
        ({"data": ""}, "data: '' is not accepted"),
        ({"data": "a\nb"}, "data: 'a\\\\nb' is not accepted"),
        ({"data": 7}, "data: 7 is not accepted"),
        ({"data": "\ud800"}, "data: "),
        ({"max_epsilon": 0}, "max_epsilon: 0 is not a finite number above 0"),
        ({"max_epsilon": float("nan")}, "max_epsilon: nan"),
        ({"delta": 1}, "delta: 1 is not between 0 and 1"),
        ({"url": "mysql://me:secret@host/x"}, "ledger: mysql://host/x cannot be opened"),
        ({"url": "."}, "it is a folder; accepted: a file, such as ledger.db"),
        ({"url": "nowhere/ledger.db"}, "there is no folder 'nowhere'"),
    ],
)
def test_bad_arguments(given, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrivRobustError, match=told) as raised:
        Ledger(**{"url": "ledger.db", "data": "ward"} | given)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert not list(tmp_path.iterdir())


releases = st.builds(
    Release,
    noise_scale=st.just(0.0) | st.floats(1e-60, 1e60),
    clip_norm=st.floats(1e-30, 1e30),
    steps=st.integers(1, 10**9),
    batch_size=st.floats(1, 1e6),
    dataset_size=st.integers(10**6, 2**63 - 1),
    noise=st.sampled_from(["gaussian", "laplace"]),
    message=st.sampled_from(["vector", "sign"]),
) | st.builds(
    Release,
    noise_scale=st.floats(1e-60, 1e60),
    clip_norm=st.floats(1e-30, 1e30),
    steps=st.integers(1, 10**9),
    unit=st.just("worker"),
    worker_sampling_rate=st.none() | st.floats(1e-300, 1),
    adjacency=st.sampled_from([None, "replace-one"]),
)


@given(releases)
def test_numbers_are_kept_exactly(release):
    text = written(release)
    read = release_of("ward", text, seal("ward", text))
    assert read == release
    assert repr(read) == repr(release)
    assert written(read) == text


KINDS = [ROUND, OTHER, replace(ROUND, noise_scale=1.5), replace(ROUND, noise_scale=0.0)]
charges = st.tuples(st.sampled_from(["a", "b"]), st.none() | st.integers(1, 9), st.integers(0, 3))


@settings(max_examples=10)
@given(st.lists(charges, max_size=8))
def test_any_sequence_of_charges_composes_and_stays_within_the_least_limit(several):
    accepted, limits = {"a": [], "b": []}, {}
    with tempfile.TemporaryDirectory() as folder:
        for data, limit, kind in several:
            if limit is not None and limit > limits.get(data, math.inf):
                limit = None
            if limit is not None:
                limits[data] = limit
            with Ledger(f"{folder}/ledger.db", data, max_epsilon=limit) as ledger:
                after = epsilon([*accepted[data], KINDS[kind]])
                fits = after <= limits.get(data, math.inf)
                assert ledger.would_exceed(KINDS[kind]) is not fits
                try:
                    found = ledger.charge(KINDS[kind])
                except BudgetExhausted:
                    assert not fits
                else:
                    assert fits
                    assert found.epsilon == pytest.approx(after, rel=1e-12)
                    accepted[data].append(KINDS[kind])
                assert [entry.release for entry in ledger.entries] == accepted[data]


def test_of_processes_that_charge_at_once_only_as_many_pass_as_fit(location):
    processes, fit = 2, 1
    Ledger(location, "ward", max_epsilon=epsilon(replace(ROUND, steps=fit)))
    spawn = multiprocessing.get_context("spawn")
    start, found = spawn.Barrier(processes), spawn.Queue()
    racers = [spawn.Process(target=charge, args=(location, start, found)) for _ in range(processes)]
    for racer in racers:
        racer.start()
    passed = [found.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert sorted(each for each in passed if each) == [
        composed(replace(ROUND, steps=steps)) for steps in range(1, fit + 1)
    ]
    assert len(Ledger(location, "ward").entries) == fit


_DIES = """
import os, signal, sys
from privrobust.accountants import Release
from privrobust.federated import Ledger, ledger
from sqlalchemy import event
opened = Ledger(sys.argv[1], "ward")
release = Release(noise_scale=4.0, clip_norm=1.0, unit="worker", steps=1)
if sys.argv[2] == "within":
    event.listen(opened._engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
opened.charge(release)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "charges"), [("within", 0), ("after", 1)])
def test_a_process_that_is_killed(when, charges, tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger(path, "ward", max_epsilon=10.0) as ledger:
        done = subprocess.run([sys.executable, "-c", _DIES, str(path), when])
        assert done.returncode == -signal.SIGKILL
        assert len(ledger.entries) == charges
        assert ledger.charge(ROUND).epsilon == composed(replace(ROUND, steps=charges + 1))


def test_it_is_on_the_disk_before_charge_returns(tmp_path):
    """SQLite's EXTRA: file, journal and folder are synchronised at each commit."""
    with Ledger(tmp_path / "ledger.db", "ward") as ledger, ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_a_server_that_does_not_wait_for_its_disk_is_made_to(server):
    url = server.new_database("hasty")
    with Ledger(url, "ward") as ledger:
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("ALTER DATABASE hasty SET synchronous_commit = off")
        ledger._engine.dispose()
        seen = []

        def look(connection):
            seen.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar())

        event.listen(ledger._engine, "commit", look)
        ledger.charge(ROUND)
    assert seen == ["on"]


DAMAGE = [
    "update privacy_ledger_charges set release = replace(release, '4.0', '9.0') where place = 2",
    "update privacy_ledger_charges set release = 'nonsense'",
    "update privacy_ledger_charges set release = cast(x'ff41' as text)",
    "update privacy_ledger_charges set seal = 'x' where place = 1",
    "update privacy_ledger_charges set data = 'other'",
    "update privacy_ledger_charges set data = x'ff' where place = 3",
    "delete from privacy_ledger_charges where place = 3",
    "delete from privacy_ledger_charges",
    "delete from privacy_ledger_data",
    "update privacy_ledger_data set name = 'warp'",
    "update privacy_ledger_data set charges = 2",
    "update privacy_ledger_data set charges = 'two'",
    "update privacy_ledger_data set max_epsilon = 1e9",
    "update privacy_ledger_data set max_epsilon = null",
    "update privacy_ledger_data set max_epsilon = 'much'",
    "update privacy_ledger_data set delta = 0.1",
    "update privacy_ledger_data set delta = x'00'",
    "update privacy_ledger_data set seal = ''",
    "update privacy_ledger set version = 2",
    "delete from privacy_ledger",
    "drop table privacy_ledger",
    "drop table privacy_ledger_charges",
    "alter table privacy_ledger_charges drop column note",
]


@pytest.fixture
def charged(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger(path, "ward", max_epsilon=50.0) as ledger:
        for _ in range(3):
            ledger.charge(ROUND)
    return path


def changed(path, statement):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("statement", DAMAGE)
def test_damage_is_told_and_nothing_is_charged(statement, charged, monkeypatch):
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: pytest.fail("waits"))
    changed(charged, statement)
    before = charged.read_bytes()
    with pytest.raises(PrivRobustError, match=r"ledger: .*ledger\.db") as raised:
        Ledger(charged, "ward").charge(ROUND)
    assert "\n" not in str(raised.value)
    assert "--store" not in str(raised.value)
    assert charged.read_bytes() == before


def test_damage_that_comes_while_it_is_open(charged):
    with Ledger(charged, "ward") as ledger:
        changed(charged, DAMAGE[0])
        for use in (lambda: ledger.charge(ROUND), lambda: ledger.spent, lambda: ledger.entries):
            with pytest.raises(PrivRobustError, match="a charge of 'ward' was changed; restore"):
                use()


@pytest.mark.parametrize(
    "trials", [100, pytest.param(2000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_damage_makes_what_was_spent_less(trials, charged, monkeypatch):
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("privrobust.federated.ledger._MADE_SECONDS", 0.0)
    whole, spent = charged.read_bytes(), Ledger(charged, "ward").spent.epsilon
    told = []
    for trial in range(trials):
        chance = random.Random(trial)
        content = bytearray(whole)
        for _ in range(chance.choice([1, 10, 100])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if trial % 4 == 0:
            del content[chance.randrange(len(content)) :]
        charged.write_bytes(content)
        try:
            with Ledger(charged, "ward") as ledger:
                assert ledger.spent.epsilon == spent, trial
                assert ledger.would_exceed(replace(ROUND, noise_scale=0.01)), trial
                ledger.charge(ROUND)
        except PrivRobustError as error:
            told.append(str(error))
        except Exception as error:
            raise AssertionError(f"trial {trial}") from error
    assert len(told) > trials / 4
    assert not any("\n" in each for each in told)


@pytest.mark.parametrize("content", [b"", b"no ledger " * 500, None])
def test_files_that_are_no_ledger(content, charged, monkeypatch):
    monkeypatch.setattr("privrobust.federated.ledger._MADE_SECONDS", 0.1)
    content = charged.read_bytes()[:5000] if content is None else content
    charged.write_bytes(content)
    with pytest.raises(PrivRobustError, match=r"ledger: .*ledger\.db") as raised:
        Ledger(charged, "ward").charge(ROUND)
    assert "\n" not in str(raised.value)
    assert charged.read_bytes() == content


# root writes to whatever is read-only, unless it gives that up
AS_ANYONE = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
_READS = """
import sys
from privrobust.accountants import Release
from privrobust.errors import PrivRobustError
from privrobust.federated import Ledger
ledger = Ledger(sys.argv[1], "ward")
print(ledger.spent.epsilon, len(ledger.entries))
try:
    ledger.charge(Release(noise_scale=4.0, clip_norm=1.0, unit="worker", steps=1))
except PrivRobustError as error:
    print(error)
"""


def test_a_ledger_that_is_read_only_is_read(charged):
    charged.chmod(0o444)
    charged.parent.chmod(0o555)
    as_anyone = AS_ANYONE if os.geteuid() == 0 else []
    command = [*as_anyone, sys.executable, "-c", _READS, str(charged)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    charged.parent.chmod(0o755)
    spent, refusal = done.stdout.splitlines()
    assert spent.endswith(" 3")
    assert refusal == f"ledger: {charged}: attempt to write a readonly database"


def _charge_often(ledger):
    for _ in range(100):
        ledger.charge(ROUND, "note " * 40)


def test_a_full_disk(charged, monkeypatch):
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: None)

    def fill(connection, record):
        connection.execute("PRAGMA max_page_count = 1")  # as if no page could be added

    with Ledger(charged, "ward") as ledger:
        ledger._engine.dispose()
        event.listen(ledger._engine, "connect", fill)
        with pytest.raises(PrivRobustError, match=r"disk is full; what was charged is kept"):
            _charge_often(ledger)
        kept = len(ledger.entries)
        event.remove(ledger._engine, "connect", fill)
        ledger._engine.dispose()
        assert ledger.charge(ROUND).epsilon == composed(replace(ROUND, steps=kept + 1))


def test_a_ledger_and_a_store_in_one_database(location):
    with Store(location) as store, Ledger(location, "ward") as ledger:
        ledger.charge(ROUND)
        assert store.keys() == set()
        assert len(ledger.entries) == 1
