"""Claims and leases, on SQLite and PostgreSQL alike."""

import multiprocessing
import time

import pytest
from sqlalchemy import update

from privrobust import RunSpec, train
from privrobust.store import Store, claims, leases
from privrobust.store.schema import FAILED, RUNNING, RUNS

SPECS = [RunSpec(honest=3, steps=2, clip_norm=1.0, noise_scale=0.1, seed=seed) for seed in range(6)]


def as_if(monkeypatch, owner):
    """Let the next stores be another process's."""
    monkeypatch.setattr(claims, "new_owner", lambda: owner)


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
    here = leases.new_owner().rsplit("/", 2)[0]
    as_if(monkeypatch, f"{here}/{ended.pid}/0")
    with Store(location) as theirs:
        theirs.claim(SPECS)
    monkeypatch.undo()
    with Store(location) as mine:
        assert mine.claim(SPECS) == SPECS


def test_who_is_gone():
    here, process, _ = leases.new_owner().rsplit("/", 2)
    assert not leases.is_gone(f"{here}/{process}/0")
    assert not leases.is_gone(f"{here}/1/0")  # another user's, perhaps
    assert not leases.is_gone(f"elsewhere/{2**22 + 1}/0")
    assert not leases.is_gone("elsewhere")
    assert leases.is_gone(f"{here}/{2**22 + 1}/0")  # above what Linux numbers
    assert leases.new_owner() != leases.new_owner()


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
