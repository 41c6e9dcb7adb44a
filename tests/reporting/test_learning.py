"""What learnt nothing is nowhere the best, and takes clearly more than chance to be above it."""

from itertools import product

import numpy as np
import pytest
from made_runs import row, stored
from scipy import stats

from privrobust.reporting.learning import clearly_above
from privrobust.reporting.report.best import best
from privrobust.reporting.report.rows import rows_of
from privrobust.reporting.report.words import odds
from privrobust.reporting.summary import summarise
from privrobust.reporting.tables import PRESETS

SEEDS = (0.1, 0.11, 0.105)


def of_rules(**accuracies):
    """Three seeds of each, clean and under an attack that takes nothing."""
    cells = [(0, None), (2, "alie")]
    return stored(
        [
            row(value, aggregator=rule, byzantine=f, attack=attack, seed=seed)
            for rule, values in accuracies.items()
            for (f, attack), (seed, value) in product(cells, enumerate(values))
        ]
    ).assign(chance=0.1)


def marked(runs):
    layout = PRESETS["attacks"](runs)
    return [entry.is_best for block in layout.blocks for line in block for entry in line]


@pytest.mark.parametrize(
    ("median", "is_marked"), [((0.1, 0.12, 0.11), False), ((0.9, 0.92, 0.91), True)]
)
def test_no_best_is_marked_at_chance(median, is_marked):
    """In tables and on the page alike, and not the second best in its place."""
    runs = of_rules(median=median, mean=SEEDS)
    assert any(marked(runs)) == is_marked
    found = best(rows_of(runs, runs.iloc[:0]))
    assert bool(found) == is_marked
    assert any(marked(of_rules(median=(0.1, 0.12, 0.11), mean=SEEDS).drop(columns="chance")))


def test_a_summary_says_what_learnt():
    runs = of_rules(median=(0.9, 0.92, 0.91), mean=SEEDS)
    learnt = summarise(runs)["learnt"].groupby("aggregator").agg(set).to_dict()
    assert learnt == {"median": {True}, "mean": {False}}
    bounded = summarise(runs.assign(chance_at_most=0.95))
    assert not bounded["learnt"].any()
    assert set(bounded["chance"]) == {0.1}


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_models_at_chance_are_seldom_above_it(seeds):
    """2.5 %, and less where seeds agree by accident; 360 examples."""
    draw = np.random.default_rng(seeds)
    repeats = 5000
    values = draw.binomial(360, 0.1, (repeats, seeds)) / 360
    half = stats.t.isf(0.025, seeds - 1) * values.std(1, ddof=1) / seeds**0.5
    found = clearly_above(values.mean(1), half, seeds, 0.1).sum()
    assert found <= stats.binom.isf(1e-6, repeats, 0.025)


def test_odds_are_never_less_than_they_are():
    """e^0.771 = 2.1619..., and e^3 = 20.08..."""
    runs = of_rules(mean=SEEDS)
    for epsilon, told in ((0.771, "2.17-fold"), (3.0, "21-fold"), (0.01, "1.02-fold")):
        assert any(told in line for line in odds(runs.assign(epsilon=epsilon)))
