"""What learnt nothing: the largest class's share, found by accuracies alone."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.store import Store
from privrobust.store.chance import chance


def measured(sizes, runs, seed=0):
    """Of models that get any number of examples of each class right: exact fractions."""
    draw = np.random.default_rng(seed)
    right = draw.integers(0, np.array(sizes) + 1, (runs, len(sizes)))
    return [(each.sum() / sum(sizes), (each / sizes).tolist()) for each in right]


@given(st.lists(st.integers(1, 500), min_size=2, max_size=12), st.integers(0, 1000))
def test_it_is_the_largest_class_once_runs_tell(sizes, seed):
    """Thirty times as many runs as classes: no two alike to any chance."""
    found = chance(measured(sizes, 30 * len(sizes), seed))
    assert found == pytest.approx(max(sizes) / sum(sizes), abs=1e-5)


def test_a_rare_class_makes_a_constant_answer_good():
    """One run of two classes is enough: 90 of 100, of which it got 80, and 3 of 10."""
    assert chance([(0.83, [80 / 90, 3 / 10])]) == pytest.approx(0.9)


def test_too_few_runs_leave_the_least_that_it_can_be():
    assert chance(measured([50, 30, 20], 1)) == pytest.approx(1 / 3)
    assert math.isnan(chance([]))


def test_a_class_without_examples_is_none():
    rows = [(of, [*by_class, None]) for of, by_class in measured([70, 30], 9)]
    assert chance(rows) == pytest.approx(0.7)
    assert math.isnan(chance([(0.5, [None, None])]))


HOSTILE = [
    "", "{", "[]", "7", '"x"', "[[1]]", "[NaN]", "[2, 0]", "[-1, 1]", "[1e999]", "[" * 9999,
    json.dumps([0.5] * 1001), None, 5, [math.inf, 0],
]  # fmt: skip


@pytest.mark.parametrize("damage", HOSTILE)
def test_what_is_damaged_is_left_out(damage):
    assert chance([(0.83, [80 / 90, 3 / 10]), (0.5, damage)]) == pytest.approx(0.9)
    assert math.isnan(chance([(0.5, damage)]))
    assert math.isnan(chance([("x", [0.5, 0.5])]))


def test_what_contradicts_itself_tells_nothing():
    """Accuracies that are no mean of those by class."""
    assert chance([(1.0, [0.0, 0.5]), (0.0, [1.0, 0.5])]) == pytest.approx(1 / 2)


def test_a_store_tells_what_its_data_have(tmp_path):
    specs = [
        RunSpec(dataset="digits", clip_norm=1.0, steps=steps, seed=seed, evaluate_on=split)
        for split in ("test", "validation")
        for steps in (1, 4)
        for seed in range(6)
    ]
    with Store(tmp_path / "results.db") as store:
        assert "chance" in store.runs()
        store.add([train(spec) for spec in specs])
        runs = store.runs()
        few = store.runs([specs[-1].key])
    for split, found in runs.groupby("evaluate_on")["chance"].unique().items():
        labels = get_dataset("digits").held_out(split).labels
        assert found == pytest.approx([int(torch.bincount(labels).max()) / len(labels)])
    assert few["chance"].tolist() == [runs.loc[specs[-1].key, "chance"]]
