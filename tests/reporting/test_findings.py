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
    by = r"\(-\d+.\d+ ± [\d.]+ points against no attackers, -\d+.\d+ ± [\d.]+ against epsilon ∞\)"
    assert re.search(
        rf"Under the worst attacks: nnm \+ trimmed_mean withstands f = 2 of 12 at epsilon "
        rf"0.77 to ∞, where it keeps {least} ± \d % at 0.77 {by}, {middle} ± \d % at 15.3 "
        rf"\(-\S+ ± \S+ against no attackers, -\S+ ± \S+ against epsilon ∞\) and {most} ± \d % "
        r"at ∞ \(-\S+ ± \S+ against no attackers\)\.",
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
        r"at 0.77 \((\S+) ± (\S+) points against no attackers, (\S+) ± (\S+) against epsilon ∞\)",
        text,
    ).groups()
    assert float(attacks) == pytest.approx(-10, abs=1)
    assert float(noise) == pytest.approx(-20, abs=1)
    assert float(half) < 1
    clean, half, less = re.search(
        r"Without attackers noise changes nnm \+ trimmed_mean by (\S+) ± (\S+) points at epsilon "
        r"0.77 and (\S+) ± \S+ at 15.3, compared with ∞\.",
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
    assert "f = 2 breaks mean and median at epsilon 0.77, mean at epsilon 15.3 and ∞" in text
    assert "half of its clean accuracy and more than chance (10.0 %), and breaks where it" in text
    assert "breaks every rule at epsilon 0.77 to ∞" in said(sweep({"mean": 0.1, "krum": 0.2}))
    assert "breaks every rule but krum at" in said(sweep({"mean": 0.1, "median": 0.2, "krum": 0.8}))
    assert "breaks no rule at" in said(sweep({"krum": 0.8}))


def test_what_withstands_fewer_is_said_where_nothing_withstands_most():
    few, many = sweep(f=(2,)), sweep({"mean": 0.1, "median": 0.1}, f=(4,))
    both = pd.concat([few, many])
    both = both[~both.index.duplicated()]
    text = said(both[both["aggregator"].isin(["mean", "median"])])
    assert "median withstands f = 2 of 12" in text
    assert "f = 4 breaks every rule" in text


def test_what_learnt_nothing_withstands_nothing():
    """Half of clean accuracy is left, which is chance; or chance may be as much."""
    for most in ({"chance": 0.95}, {"chance": 0.1, "chance_at_most": 0.95}):
        text = said(sweep({"median": 0.85, "mean": 0.85}).assign(**most))
        assert "no rule can be judged at epsilon 0.77 to ∞ (near chance when clean)" in text
        assert "breaks no rule at epsilon 0.77 to ∞ (near chance when clean: " in text
        assert "withstands f" not in text
    assert "more than chance (10.0 to 95.0 %)" in text


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
    assert (
        "Promised to each example of an honest worker, against whoever sees every message of one "
        "run, the server too: (epsilon, 1e-05)-differential privacy; neighbours: one example's "
        "contribution set to zero, n public (zero-out). Not counted: settings that were tuned on "
        "private data."
    ) in text
    assert "differential privacy; after ~ an ESTIMATE alone" in said(
        sweep().assign(is_upper_bound=False)
    )
    assert "at epsilon ~0.77 to ∞" in said(sweep().assign(is_upper_bound=False))
    assert said(sweep(scales=[0.0])).endswith("Nothing is private: no noise (b = 0).")


def test_the_hardest_data_are_those_that_are_told_of():
    easy, hard = sweep(), sweep({**KEPT, "nnm + trimmed_mean": 0.6}, heterogeneity=1.0)
    both = pd.concat([easy, hard])
    text = said(both)
    assert (
        "On heterogeneity 1, where the best rules keep least of 2 such settings, under the worst"
        in text
    )
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
    assert sum(map(len, found)) < 1300


def test_where_nothing_finished_that_is_all_there_is_to_say():
    assert findings(RUNS.iloc[:0]) == ["No run has finished."]
    failed = stored([row(None, seed=seed) for seed in range(3)])
    assert findings(failed) == ["All 3 runs failed: no memory."]
    half = RUNS["seed"] == 0
    some = RUNS.assign(
        accuracy=RUNS["accuracy"].mask(half), failure=RUNS["failure"].mask(half, "x")
    )
    assert "no rule can be judged at epsilon 0.77 to ∞ (failed)" in findings(some)[1]


def test_validation_runs_are_left_out_beside_others():
    runs = sweep()
    tuning = sweep({"mean": 0.9}, evaluate_on="validation")
    both = pd.concat([runs, tuning])
    assert findings(both)[1:] == findings(runs)[1:]
    told = f"all of {len(runs)} runs finished; {len(tuning)} more on validation data, to tune by."
    assert findings(both)[0].endswith(told)


def test_the_same_numbers_are_in_the_table():
    """A sentence's accuracy and a cell's are one text."""
    runs = sweep(scales=[0.0])
    kept = re.search(r"withstands f = 2 of 12 at epsilon ∞, where it keeps (.*?) %", said(runs))[1]
    rows = [line for block in PRESETS["trilemma"](runs).blocks for line in block]
    (of_best,) = [line for line in rows if line[0].text == "nnm + trimmed_mean"]
    assert kept.replace(" ", "") == of_best[-1].text


def made(kept, scales=(0.0, 0.3), seeds=5, **axes):
    """A sweep of `kept(spec)`, the mean; `...` where it was not run, None where it failed."""
    draw = np.random.default_rng(0)
    axes = {
        "aggregator": ["median", "krum"],
        "noise_scale": scales,
        "cell": [(0, None), (2, "alie"), (2, "sign_flip")],
        "seed": range(seeds),
        **axes,
    }
    rows = {}
    for values in product(*axes.values()):
        spec = dict(zip(axes, values, strict=True))
        spec["byzantine"], spec["attack"] = spec.pop("cell")
        mean = kept(spec)
        if mean is not ...:
            noisy = None if mean is None else float(np.clip(mean + draw.normal(0, 0.005), 0, 1))
            entry = row(noisy, **spec)
            rows[entry["key"]] = entry
    return stored(rows.values()).assign(chance=0.1)


def test_what_breaks_against_few_does_not_withstand_many():
    """f = 2 breaks it under an attack that was not run at f = 4."""
    cells = [(0, None), (2, "alie"), (2, "sign_flip"), (4, "sign_flip")]

    def kept(spec):
        return 0.15 if spec["attack"] == "alie" else 0.85 if spec["byzantine"] else 0.9

    text = said(made(kept, cell=cells))
    assert "no rule withstands f = 2 of 12 at epsilon 0.77 and ∞" in text
    assert "f = 4 breaks every rule at epsilon 0.77 and ∞" in text
    text = said(made(lambda spec: 0.85, cell=cells))  # f = 4 was not tried with all attacks
    assert "withstands f = 2 of 12" in text
    assert "f = 4 breaks no rule at epsilon 0.77 and ∞ (under fewer attacks: median and krum)" in (
        text
    )


def test_epsilons_are_compared_under_the_same_attacks():
    """Noise costs nothing: without it the hard attack was not run."""

    def kept(spec):
        if not spec["noise_scale"] and spec["attack"] == "alie":
            return ...
        return {None: 0.9, "sign_flip": 0.85, "alie": 0.6}[spec["attack"]]

    text = said(made(kept))
    assert "no rule can be judged at epsilon ∞ (under fewer attacks)" in text
    assert "against epsilon" not in text
    assert "2 worst cases are of fewer attacks than others, and not compared" in text


def test_a_failed_run_neither_breaks_nor_withstands():
    def kept(spec):
        hit = (spec["aggregator"], spec["attack"], spec["seed"]) == ("krum", "alie", 0)
        return None if hit else 0.85 if spec["byzantine"] else 0.9

    text = said(made(kept))
    assert "f = 2 breaks no rule at epsilon 0.77 and ∞ (failed under alie: krum)" in text
    assert "median withstands f = 2" in text
    lost = made(kept)
    lost = lost.assign(epsilon=lost["epsilon"].mask(lost["failure"].notna()))
    assert said(lost) == text


def test_every_rule_counts_where_every_rule_is_said_to_break():
    """One learnt nothing, one is undecided, one was not run against so many."""
    cells = [(0, None), (2, "alie"), (4, "alie")]

    def kept(other):
        def of(spec):
            if spec["aggregator"] == "krum":
                return other(spec)
            return 0.9 if not spec["byzantine"] else 0.1

        return of

    rules = {"aggregator": ["median", "mean", "krum"], "cell": cells, "scales": [0.3]}
    learnt_nothing = said(made(kept(lambda spec: 0.1), **rules))
    assert "f = 4 breaks every rule but krum (near chance when clean) at epsilon 0.77" in (
        learnt_nothing
    )
    wide = made(kept(lambda s: 0.9 if not s["byzantine"] else 0.1 + 0.17 * s["seed"]), **rules)
    assert "f = 4 breaks every rule but krum (undecided) at epsilon 0.77" in said(wide)
    not_run = made(kept(lambda spec: ... if spec["byzantine"] == 4 else 0.85), **rules)
    assert "f = 4 breaks every rule but krum (not run) at epsilon 0.77" in said(not_run)


def test_rules_compete_by_what_they_spend():
    """With krum's five times as large, median has more epsilon left within each of krum's."""
    runs = made(lambda spec: 0.6 if spec["noise_scale"] == 0.3 else 0.8, scales=[0.1, 0.3])
    krum = runs["aggregator"] == "krum"
    text = said(runs.assign(epsilon=runs["epsilon"].mask(krum, 5 * runs["epsilon"])))
    assert re.search(
        r"median withstands f = 2 of 12 at epsilon 3.85, where it keeps \S+ ± \S+ % "
        r"\(spending 2.74, ",
        text,
    )
    never = runs.assign(
        epsilon=runs["epsilon"].mask(krum, math.inf),
        not_private=runs["not_private"].astype(object).mask(krum, "it looks"),
    )
    assert "median withstands f = 2 of 12 at epsilon 0.77 and 2.74" in said(never)
    assert "at epsilon 0.77 and 2.74 (not run: krum)" in said(never)


def test_data_of_which_runs_failed_are_not_told_to_be_easier():
    def kept(spec):
        return None if spec["heterogeneity"] and spec["byzantine"] else 0.85

    for order in ([0.0, 1.0], [1.0, 0.0]):
        text = said(made(kept, heterogeneity=order))
        told = "On heterogeneity 0, one of 2 such settings (of other runs: which is harder is open)"
        assert told in text
        assert "keep least" not in text


def test_what_cannot_be_judged_hides_nothing():
    """krum leaves more, and has no clean runs."""

    def kept(spec):
        if spec["aggregator"] == "krum":
            return 0.88 if spec["byzantine"] else ...
        return 0.8 if spec["byzantine"] else 0.9

    text = said(made(kept))
    assert "median withstands f = 2 of 12 at epsilon 0.77 and ∞" in text
    assert "without a clean run: krum" in text


def test_means_are_over_as_many_seeds_as_there_are():
    def kept(spec):
        return ... if spec["byzantine"] and spec["seed"] > 1 else 0.85

    text = said(made(kept))
    assert "; 2 to 5 seeds;" in text
    assert "interval over 2 to 5 seeds (few)" in text


def test_noise_that_mends_is_told_from_what_it_mends():
    """Without noise nothing is learnt."""
    runs = made(lambda s: 0.1 if not s["noise_scale"] else 0.8 if s["byzantine"] else 0.9)
    text = said(runs)
    assert re.search(r"compared with ∞, where it is not clearly above chance \(\S+ ± \S+ %\)", text)
    assert "against epsilon" not in text
    assert f"all of {len(runs)} runs finished; {len(runs)} of them diverged" in said(
        runs.assign(diverged=True)
    )


def test_what_the_best_keep_is_from_the_least_to_the_most():
    """Not from the first to the last: it peaks between them."""
    keeps = {0.0: 0.2, 0.03: 0.4, 0.3: 0.25}
    runs = made(
        lambda s: keeps[s["noise_scale"]] if s["byzantine"] else 0.95, scales=[0.0, 0.03, 0.3]
    )
    assert re.search(
        r"no rule withstands f = 2 of 12 at epsilon 0.77 to ∞ \(the best keeps (19|20)\.\d+ ± \S+ "
        r"to (39|40)\.\d+ ± \S+ %\)",
        said(runs),
    )


def test_what_chance_is_unknown_is_said():
    text = said(made(lambda spec: 0.85).assign(chance=math.nan))
    assert "half of its clean accuracy (what chance is, runs do not tell), and breaks" in text


def test_caveats_of_epsilon_are_told():
    dataset = "table(path='a.csv', label='y', scaling='standard')"
    text = said(made(lambda spec: 0.85, dataset=[dataset]))
    assert "The data was scaled by what its training examples measured, which epsilon does not" in (
        text
    )
