"""What learnt nothing: the largest class's share, found by accuracies alone."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.store import Store
from privrobust.store.chance import Chance
from privrobust.store.chance import chance as bounds


def chance(rows):
    """Where runs determine it."""
    found = bounds(rows)
    assert math.isnan(found.least) or found.least == found.most
    return found.least


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


@settings(max_examples=20)
@given(st.lists(st.integers(1, 500), min_size=3, max_size=9), st.integers(1, 3), st.integers(0, 99))
def test_too_few_runs_bound_it(sizes, runs, seed):
    found = bounds(measured(sizes, runs, seed))
    truth = max(sizes) / sum(sizes)
    assert found.least - 1e-4 <= truth <= found.most + 1e-4
    assert found.least >= 1 / len(sizes) - 1e-9


def test_bounds_are_what_a_single_run_leaves():
    """With a right alone, `a = accuracy`: the others share the rest, in any way."""
    found = bounds([(0.2, [1.0, 0.0, 0.0])])
    assert (found.least, found.most) == pytest.approx((0.4, 0.8), abs=1e-5)
    assert math.isnan(chance([]))


@pytest.mark.parametrize("runs", [1, 30])
def test_runs_that_all_answer_the_largest_class_are_chance(runs):
    """Nothing was learnt, and rank is short just then; 79 of 100 are of the class."""
    assert chance([(0.79, [1.0, *[0.0] * 9])] * runs) == pytest.approx(0.79, abs=1e-5)


def test_runs_that_answer_two_classes_tell_of_these():
    shares = np.array([0.8, *[0.2 / 9] * 9])
    draw = np.random.default_rng(0)
    rows = [[1 - draw.uniform(0, 0.05), draw.uniform(), *[0.0] * 8] for _ in range(30)]
    assert chance([(float(row @ shares), row) for row in np.array(rows)]) == pytest.approx(
        0.8, abs=1e-4
    )


def test_what_rounding_makes_of_runs_that_are_alike_is_no_solution():
    """Full rank by the fifth decimal alone, of accuracies rounded to the sixth."""
    rows = [[0.5, 0.5, 0.5 + 1e-5 * k] for k in range(3)] + [[0.5, 0.5 + 1e-5, 0.5]]
    found = bounds([(round(0.5 * a + 0.3 * b + 0.2 * c, 6), [a, b, c]) for a, b, c in rows])
    assert found.least <= 0.5 <= found.most


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
    assert bounds([(1.0, [0.0, 0.5]), (0.0, [1.0, 0.5])]) == Chance(1 / 2, 1.0)


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
    assert (runs["chance"] == runs["chance_at_most"]).all()
    assert few["chance"].tolist() == [runs.loc[specs[-1].key, "chance"]]
