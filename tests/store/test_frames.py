"""The types of what a store gives to people who use pandas."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import update

from privrobust import RunSpec, train
from privrobust.accountants import Spent
from privrobust.reporting.tables import chosen
from privrobust.store import Store
from privrobust.store.schema import EVALUATIONS, RUNS

SPEC = RunSpec(honest=4, steps=2, clip_norm=1.0, noise_scale=0.1)
PAGE = (Path(__file__).parents[2] / "docs" / "tables_and_figures.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def result():
    return train(SPEC)


def kinds(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_types_are_the_same_whatever_is_stored(location, result):
    paired = SPEC.model_copy(update={"pairwise_noise": 0.5, "colluding": 2, "honest": 5})
    with Store(location) as store:
        empty, nothing = kinds(store.runs()), kinds(store.histories([]))
        store.add([result])
        one, history = kinds(store.runs()), kinds(store.histories([SPEC.key]))
        store.add([replace(result, spec=paired)])
        store.claim([SPEC.model_copy(update={"seed": 3})])
        store.fail([SPEC.model_copy(update={"seed": 3})], "no memory")
        runs = store.runs()
    assert empty == one == kinds(runs)
    assert nothing == history
    assert set(one.values()) == {"float64", "int64", "Int64", "bool", "str", "datetime64[s, UTC]"}
    assert runs.loc[paired.key, "colluding"] == 2
    assert pd.isna(runs.loc[SPEC.key, "colluding"])
    assert one["finished"] == "datetime64[s, UTC]"
    assert {one[name] for name in ("repeats", "attack", "failure", "data_dir")} == {"str"}
    assert {one[name] for name in ("diverged", "is_upper_bound")} == {"bool"}


def test_infinity_is_infinite_and_what_is_not_there_is_missing(location, result):
    spent = Spent(math.inf, 1e-5, "pld", is_upper_bound=True, reason="no noise (b = 0)")
    with Store(location) as store:
        store.add([replace(result, spent=spent)])
        (row,) = (row for _, row in store.runs().iterrows())
    assert row["epsilon"] == math.inf
    missing = {name for name in RUNS.c.keys() if name in row and pd.isna(row[name])}  # noqa: SIM118
    assert {"attack", "target_epsilon", "colluding", "failure", "attack_success_rate"} <= missing
    assert "accuracy" not in missing


def test_a_time_is_when_it_was_and_a_damaged_one_is_missing(location, result):
    before = pd.Timestamp.now("UTC").floor("s")
    with Store(location) as store:
        store.add([result])
        finished = store.runs()["finished"].iloc[0]
        assert before <= finished <= pd.Timestamp.now("UTC")
        with store._writing.begin() as connection:
            connection.execute(update(RUNS).values(finished="soon"))
        assert store.runs()["finished"].isna().all()


def test_a_history_is_tidy(location, result):
    """A row an evaluation, with the key of its run: it joins the runs."""
    with Store(location) as store:
        store.add([result])
        joined = store.histories([SPEC.key]).join(store.runs()["noise_scale"], on="run")
    assert list(joined["step"]) == list(result.history["step"])
    np.testing.assert_array_equal(joined["noise_scale"], 0.1)


def test_the_page_says_what_every_column_is(location):
    section = PAGE.split("## In pandas\n")[1].split("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"(?m)^\| (`.*?) \|", section))))
    with Store(location) as store:
        results = set(store.runs().columns) - set(RunSpec.model_fields)
    measures = set(EVALUATIONS.c.keys()) - {"run"}
    assert told == results | measures


@pytest.mark.parametrize(("condition", "kept"), [("2", 1), ("none", 1), ("[2, none]", 2)])
def test_conditions_know_a_whole_number_that_is_missing(tmp_path, result, condition, kept):
    with Store(tmp_path / "results.db") as store:
        given = {"pairwise_noise": 0.5, "colluding": 2, "honest": 5}
        store.add([result, replace(result, spec=SPEC.model_copy(update=given))])
        assert len(chosen(store.runs(), [f"colluding={condition}"])) == kept
