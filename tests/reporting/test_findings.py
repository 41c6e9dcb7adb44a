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
    least, middle, most = (
        f"{100 * kept.query('noise_scale == @b')['accuracy'].iloc[0]:.0f}" for b in (0.3, 0.03, 0.0)
    )
    by = r"\(-\d+.\d+ ± [\d.]+ points by attacks, -\d+.\d+ ± [\d.]+ by noise\)"
    assert re.search(
        rf"Under the worst attacks: nnm \+ trimmed_mean withstands f = 2 of 12 at epsilon "
        rf"0.771 to ∞, where it keeps {least} ± \d % at 0.771 {by}, {middle} ± \d % at 15.4 "
        rf"\(-\S+ ± \S+, -\S+ ± \S+\) and {most} ± \d % at ∞ \(-\S+ ± \S+\)\.",
        text,
    )


def test_what_seeds_do_not_tell_apart_is_undecided():
    close = {"nnm + trimmed_mean": 0.8, "majority_vote": 0.8, "median": 0.5}
    assert re.search(
        r"(\S+) \(undecided against \S+.*\) withstands f = 2 of 12", said(sweep(close))
    )
    text = said(sweep())  # a point apart, three standard errors of a pair
    assert "nnm + trimmed_mean withstands" in text


def test_noise_and_attacks_are_charged_with_the_paired_difference():
    """0.2 and 0.1 by construction; unpaired seeds alone differ by more than 0.02."""
    text = said(sweep())
    attacks, _, noise, half = re.search(
        r"at 0.771 \((\S+) ± (\S+) points by attacks, (\S+) ± (\S+) by noise\)", text
    ).groups()
    assert float(attacks) == pytest.approx(-10, abs=1)
    assert float(noise) == pytest.approx(-20, abs=1)
    assert float(half) < 1
    clean, half, less = re.search(
        r"Without attackers noise changes nnm \+ trimmed_mean by (\S+) ± (\S+) points at epsilon "
        r"0.771 and (\S+) ± \S+ at 15.4, compared with ∞\.",
        text,
    ).groups()
    assert float(clean) == pytest.approx(-20, abs=1)
    assert float(half) < 1
    assert float(less) == pytest.approx(-5, abs=1)
    assert "is not known: nnm + trimmed_mean was run at a single epsilon" in said(
        sweep(scales=[0.03])
    )


def test_what_breaks_is_named_and_what_that_means():
    text = said(sweep())
    assert "f = 2 breaks mean and median at epsilon 0.771, and mean at epsilon 15.4 and ∞." in text
    assert "half of its clean accuracy and more than chance (10.0 %), and breaks where it" in text
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
    assert "a single seed decides nothing" in text
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
    ran = (
        "f = 2 Byzantine workers beside 10 honest ones; under alie and sign_flip; 5 seeds; all of "
    )
    assert f"; {ran}{len(runs)} runs finished." in said(runs)
    assert "10 workers, all honest; no attack; 5 seeds" in said(runs[runs["byzantine"] == 0])
    assert "no clean run" in said(runs[runs["byzantine"] > 0])
    lacks = runs[~((runs["aggregator"] == "median") & (runs["attack"] == "alie"))]
    assert "3 worst cases are of fewer attacks than others, and not compared" in said(lacks)
    assert "all on validation data" in said(runs.assign(evaluate_on="validation"))


def test_the_promise_is_to_whom_and_for_which_neighbours():
    text = said(sweep())
    assert text.endswith(
        "Promised to each example of an honest worker, against whoever sees every message of one "
        "run, the server too: (epsilon, 1e-05)-differential privacy; neighbours: one example's "
        "contribution set to zero, n public (zero-out)."
    )
    assert "differential privacy; after ~ an ESTIMATE alone" in said(
        sweep().assign(is_upper_bound=False)
    )
    assert "at epsilon ~0.771 to ∞" in said(sweep().assign(is_upper_bound=False))
    assert said(sweep(scales=[0.0])).endswith("Nothing is private: no noise (b = 0).")


def test_the_hardest_data_are_those_that_are_told_of():
    easy, hard = sweep(), sweep({**KEPT, "nnm + trimmed_mean": 0.6}, heterogeneity=1.0)
    both = pd.concat([easy, hard])
    text = said(both)
    assert "On heterogeneity 1, the hardest of 2 kinds of data, under the worst attacks" in text
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
    assert 3 <= len(found) <= 6
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
    assert findings(some)[1].startswith("No rule has all of its runs")


def test_validation_runs_are_left_out_beside_others():
    runs = sweep()
    tuning = sweep({"mean": 0.9}, evaluate_on="validation")
    both = pd.concat([runs, tuning])
    assert findings(both) == findings(runs)


def test_the_same_numbers_are_in_the_table():
    """A sentence's accuracy and a cell's are one text."""
    runs = sweep(scales=[0.0])
    kept = re.search(r"withstands f = 2 of 12 at epsilon ∞, where it keeps (.*?) %", said(runs))[1]
    rows = [line for block in PRESETS["trilemma"](runs).blocks for line in block]
    (of_best,) = [line for line in rows if line[0].text == "nnm + trimmed_mean"]
    assert kept.replace(" ", "") == of_best[-1].text
