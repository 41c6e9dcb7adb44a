"""Results in a store, on SQLite and PostgreSQL alike."""

import signal
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
from sqlalchemy import update

from privrobust import RunSpec, train
from privrobust.data import Dataset
from privrobust.errors import PrivRobustError
from privrobust.store import Store
from privrobust.store.schema import RUNS
from privrobust.training.records import Records

SPECS = [RunSpec(honest=3, steps=2, clip_norm=1.0, noise_scale=0.1, seed=seed) for seed in range(6)]


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
    for history in (*histories, result.history, early.history, Records(SPECS[:1], 10).history(0)):
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
    for name in (
        "train_accuracy",
        "train_loss",
        "worst_class_accuracy",
        "worst_worker_accuracy",
    ):
        assert row[name] == getattr(result, name), name


def test_infinite_epsilon_and_a_loss_that_is_no_number(location):
    result = train(SPECS[0].model_copy(update={"noise_scale": 0.0}))
    result.history.loc[:, "loss"] = np.nan
    with Store(location) as results:
        results.add([result])
        row = results.runs().iloc[0]
    assert np.isinf(row["epsilon"])
    assert pd.isna(row["final_loss"])
    assert row["diverged"]


def test_what_is_done_stays_as_it_is(location):
    spec = SPECS[0]
    result = train(spec)
    other = train(spec.model_copy(update={"steps": 1}))
    with Store(location) as results:
        results.add([result])
        changed = replace(other, spec=spec)
        results.add([changed])
        results.fail([spec], "too late")
        results.retry([spec.key])
        assert results.claim([spec]) == []
        assert results.runs().loc[spec.key, "accuracy"] == result.accuracy
        assert len(results.history(spec.key)) == len(result.history)
        assert results.failures().empty


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


def test_runs_that_a_later_version_has_trained_anew_count_once(location, monkeypatch):
    """With a b that was given, and with one that a target found, a little otherwise then."""
    given = {"honest": 3, "steps": 2, "clip_norm": 1.0}
    settings = [{"noise_scale": 0.1}, {"target_epsilon": 3.0}, {"noise_scale": 0.1, "seed": 1}]
    with Store(location) as store:
        monkeypatch.setattr("privrobust.spec.key._RESULTS_VERSION", 1)
        before = [train(RunSpec(**given, **each)) for each in settings]
        store.add(before)
        with store._writing.begin() as connection:
            connection.execute(update(RUNS).values(finished="2020-01-01T00:00:00+00:00"))
            found = RUNS.c.target_epsilon.is_not(None)
            connection.execute(update(RUNS).where(found).values(noise_scale=0.123))
        monkeypatch.undo()
        assert len(store.runs()) == 3
        anew = [train(RunSpec(**given, **each)) for each in settings[:2]]
        store.add(anew)
        kept = {before[2].spec.key, *(result.spec.key for result in anew)}
        assert set(store.runs().index) == kept
        assert len(store.runs([before[0].spec.key, anew[0].spec.key])) == 2
