"""What is said of sweeps whose truth is known."""

import math
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_runs import RUNS, grid, row, stored

from privrobust.reporting.findings import findings
from privrobust.reporting.tables import PRESETS, data

KEPT = {"mean": 0.1, "median": 0.5, "nnm + trimmed_mean": 0.8, "majority_vote": 0.79}
"""Of the clean accuracy 0.9 without noise, under the worst attack of two."""
COSTS = {0.0: 0.0, 0.03: 0.05, 0.3: 0.2}


def sweep(rules=KEPT, scales=COSTS, f=(2,), attacks=("alie", "sign_flip"), seeds=5, **settings):
    """Seeds move all runs by a tenth or so together, and each by a hundredth alone."""
    draw = np.random.default_rng(1)
    shared = draw.normal(0, 0.05, seeds)
    rows = []
    cells = [(0, None), *product(f, attacks)]
    for rule, b, (byzantine, attack), seed in product(rules, scales, cells, range(seeds)):
        accuracy = rules[rule] if byzantine else 0.9
        accuracy += (0.02 if attack == "sign_flip" else 0) - COSTS[b]
        accuracy += 0.5 * shared[seed] + draw.normal(0, 0.003)
        spec = {"aggregator": rule, "noise_scale": b, "byzantine": byzantine, "attack": attack}
        rows.append(row(float(np.clip(accuracy, 0, 1)), **spec, seed=seed, **settings))
    return stored(rows).assign(chance=0.1)


def said(runs):
    """In one text, with plain spaces."""
    return " ".join(findings(runs)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_best_is_named_with_what_it_keeps_at_each_epsilon():
    text = said(sweep({"mean": 0.1, "median": 0.5, "nnm + trimmed_mean": 0.8}))
    kept = data(sweep()).query("aggregator == 'nnm + trimmed_mean' and attack == 'worst'")
    first, last = (
        f"{100 * kept.query('noise_scale == @b')['accuracy'].iloc[0]:.0f}" for b in (0.3, 0.0)
    )
    assert re.search(
        rf"Best under the worst attacks: nnm \+ trimmed_mean withstands f = 2 of 12 at epsilon "
        rf"0.771 to ∞ \({first} ± \d to {last} ± \d %\)\.",
        text,
    )


def test_what_seeds_do_not_tell_apart_is_undecided():
    close = {"nnm + trimmed_mean": 0.8, "majority_vote": 0.8, "median": 0.5}
    assert re.search(r"(\S+) \(undecided: or \S+.*\) withstands f = 2 of 12", said(sweep(close)))
    text = said(sweep())  # a point apart, three standard errors of a pair
    assert "nnm + trimmed_mean withstands" in text


def test_noise_is_charged_with_the_paired_difference():
    """0.2 by construction; unpaired seeds alone differ by more than 0.02."""
    pattern = (
        r"changes nnm \+ trimmed_mean, compared with epsilon ∞, by (\S+) ± (\S+) points clean and "
        r"(\S+) ± (\S+) against f = 2 at epsilon 0.771; (\S+) ± (\S+) and (\S+) ± (\S+) at 15.4"
    )
    points, half, under, _, less, *_ = re.search(pattern, said(sweep())).groups()
    assert float(points) == pytest.approx(-20, abs=1)
    assert float(under) == pytest.approx(-20, abs=1)
    assert float(less) == pytest.approx(-5, abs=1)
    assert float(half) < 1
    assert "is not known: nnm + trimmed_mean was run at a single epsilon" in said(
        sweep(scales=[0.03])
    )


def test_what_breaks_is_named_and_what_that_means():
    text = said(sweep())
    assert "breaks mean and median at epsilon 0.771; mean at epsilon 15.4 and ∞ (leaves" in text
    assert "(leaves under half of clean accuracy, or chance, 10.0 %)." in text
    assert "breaks every rule at epsilon 0.771 to ∞" in said(sweep({"mean": 0.1, "krum": 0.2}))
    assert "breaks every rule but krum at" in said(sweep({"mean": 0.1, "median": 0.2, "krum": 0.8}))
    assert "breaks nothing for sure" in said(sweep({"krum": 0.8}))


def test_what_withstands_fewer_is_said_where_nothing_withstands_most():
    few, many = sweep(f=(2,)), sweep({"mean": 0.1, "median": 0.1}, f=(4,))
    both = pd.concat([few, many])
    both = both[~both.index.duplicated()]
    text = said(both[both["aggregator"].isin(["mean", "median"])])
    assert "median withstands f = 2 of 12" in text
    assert "f = 4 breaks every rule" in text


def test_what_learnt_nothing_withstands_nothing():
    """Half of clean accuracy is left, which is chance."""
    runs = sweep({"median": 0.85}).assign(chance=0.9)
    assert "withstands f" not in said(runs).replace("best rule withstands f", "")
    assert "undecided whether the best rule withstands f = 2 of 12" in said(runs)


def test_a_single_seed_decides_nothing():
    text = said(sweep(seeds=1))
    assert "A single seed: no difference is decided" in text
    assert "withstands f" not in text.replace("best rule withstands f", "")
    assert "±" not in text


def test_failed_runs_are_counted_and_never_best():
    runs = sweep()
    best = (runs["aggregator"] == "nnm + trimmed_mean") & (runs["attack"] == "alie")
    hit = best & (runs["seed"] == 0)
    failed = runs.assign(
        failure=runs["failure"].mask(hit, "no memory"), accuracy=runs["accuracy"].mask(hit)
    )
    text = said(failed)
    assert f"{hit.sum()} of {len(runs)} runs failed (no memory)" in text
    assert "nnm + trimmed_mean withstands" not in text
    assert "majority_vote withstands" in text


def test_what_was_not_run_is_said():
    runs = sweep()
    assert "no attack was run" in said(runs[runs["byzantine"] == 0])
    assert "no attack was run" not in said(runs)
    assert "no clean run" in said(runs[runs["byzantine"] > 0])
    lacks = runs[~((runs["aggregator"] == "median") & (runs["attack"] == "alie"))]
    assert "3 worst cases are of fewer attacks than others, and not compared" in said(lacks)
    assert "all on validation data" in said(runs.assign(evaluate_on="validation"))


def test_the_promise_is_to_whom_and_for_which_neighbours():
    text = said(sweep())
    assert text.endswith(
        "epsilon (delta 1e-05) holds against whoever sees every message of one run, for one "
        "example's contribution set to zero, n public (zero-out)."
    )
    assert "delta 1e-05; after ~ an ESTIMATE alone" in said(sweep().assign(is_upper_bound=False))
    assert "at epsilon ~0.771 to ∞" in said(sweep().assign(is_upper_bound=False))
    assert said(sweep(scales=[0.0])).endswith("Nothing is private: no noise (b = 0).")


def test_the_hardest_data_are_those_that_are_told_of():
    easy, hard = sweep(), sweep({**KEPT, "nnm + trimmed_mean": 0.6}, heterogeneity=1.0)
    both = pd.concat([easy, hard])
    text = said(both)
    assert "On heterogeneity 1, the hardest of 2 kinds of data, best under" in text
    assert "majority_vote withstands f = 2 of 12" in text


ODD = {
    "clean": grid(byzantine=[0], attack=[None]),
    "no noise": grid(noise_scale=[0.0]),
    "one rule": grid(aggregator=["median"]),
    "one seed": grid(seed=[0]),
    "one run": stored([row(0.9)]),
    "deltas": grid(delta=[1e-5, 1e-6], heterogeneity=[0.0]),
    "clip norms": grid(clip_norm=[1.0, 2.0], heterogeneity=[0.0]),
    "rates": grid(learning_rate=[0.1, 0.5], heterogeneity=[0.0]),
    "datasets": grid(dataset=["digits", "mnist"]),
    "attacked only": RUNS[RUNS["byzantine"] > 0],
    "no epsilon": RUNS.assign(epsilon=math.nan),
    "never private": RUNS.assign(epsilon=math.inf, not_private="no clipping"),
    "rules of long names": grid(
        aggregator=["centred_clipping(radius=1.0)", "arc + nnm + geometric_median"]
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_any_store_makes_a_few_whole_sentences(kind):
    found = findings(ODD[kind])
    assert 3 <= len(found) <= 5
    for sentence in found:
        assert sentence.endswith(".")
        assert "nan" not in sentence.lower().replace("nnan", "")
        assert "None" not in sentence
    assert sum(map(len, found)) < 1000


def test_where_nothing_finished_that_is_all_there_is_to_say():
    assert findings(RUNS.iloc[:0]) == ["No run has finished."]
    failed = stored([row(None, seed=seed) for seed in range(3)])
    assert findings(failed) == ["All 3 runs failed: no memory."]
    half = RUNS["seed"] == 0
    some = RUNS.assign(
        accuracy=RUNS["accuracy"].mask(half), failure=RUNS["failure"].mask(half, "x")
    )
    assert findings(some)[0].startswith("No rule has all of its runs")


def test_validation_runs_are_left_out_beside_others():
    runs = sweep()
    tuning = sweep({"mean": 0.9}, evaluate_on="validation")
    both = pd.concat([runs, tuning])
    assert findings(both) == findings(runs)


def test_the_same_numbers_are_in_the_table():
    """A sentence's accuracy and a cell's are one text."""
    runs = sweep(scales=[0.0])
    kept = re.search(r"withstands f = 2 of 12 at epsilon ∞ \((.*?) %\)", said(runs))[1]
    rows = [line for block in PRESETS["trilemma"](runs).blocks for line in block]
    (of_best,) = [line for line in rows if line[0].text == "nnm + trimmed_mean"]
    assert kept.replace(" ", "") == of_best[-1].text
