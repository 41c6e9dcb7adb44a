"""What the study of noise_aware claims of made-up results, and what its sweeps run."""

import math
from pathlib import Path

import pandas as pd
import pytest
from frames import frame
from study import noise_aware
from study.noise_aware import ALL, HALF, TRUTH
from study.verdicts import FAILS, HOLDS, UNDECIDED

from privrobust.aggregators import NoiseAware, get_aggregator
from privrobust.sweeps.loading import load_sweep

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
OF_F = {1: "noise_aware(selected=0.9)", 15: "noise_aware(selected=0.4)"}
UNKNOWING = ["label_flip", "sign_flip"]


def made(left, epsilons=(2.0, 8.0), seeds=range(5)):
    """Make runs; `left` gives accuracy in % of a rule's label, epsilon, f and attack."""
    rows = []
    for f in (0, 1, 15):
        rules = {TRUTH: OF_F.get(f), "fltrust": "fltrust(examples=20)"}
        if f < 15:
            beliefs = {ALL: "noise_aware(selected=1)", HALF: "noise_aware(selected=0.5)"}
            rules |= {**beliefs, "median": "median"}
        attacks = [*UNKNOWING, "camouflage(every=8)", "line_search"] if f else [None]
        for rule, aggregator in rules.items():
            for attack in attacks:
                if aggregator is None or (attack == "line_search" and rule != "median"):
                    continue  # without attackers all are honest
                name = attack and attack.partition("(")[0]
                for epsilon in epsilons:
                    for seed in seeds:
                        settings = {
                            "aggregator": aggregator, "byzantine": f, "attack": attack,
                            "target_epsilon": epsilon, "clip_norm": 1.0, "seed": seed,
                        }  # fmt: skip
                        percent = left(rule, epsilon, f, name) + 0.1 * seed
                        rows.append((settings, percent / 100))
    return frame(*rows)


def usual(rule, epsilon, f, attack):
    """Knowing helps by 3 points, and is what an attacker exploits, less so at epsilon 8."""
    if attack == "camouflage" and rule in (TRUTH, ALL, HALF):
        return 10 if epsilon < 8 else 35
    if attack in ("camouflage", "line_search"):
        return 60
    return 83 if rule in (TRUTH, ALL, HALF) else 80


def of(verdicts, *words):
    """Return the outcome of the one verdict whose claim has all these words."""
    (found,) = [each for each in verdicts if all(word in each.claim for word in words)]
    return found.outcome


def test_all_that_is_expected_is_found():
    found = noise_aware.claims(made(usual))
    for epsilon in ("epsilon 2", "epsilon 8"):
        for f in ("f = 1:", "f = 15:"):
            assert of(found, epsilon, f, "keeps over 1 point") == HOLDS
            assert of(found, f"{epsilon}, {f}", "less than half") == HOLDS
            assert of(found, epsilon, f, "another rule keeps over 10") == HOLDS
        assert of(found, epsilon, f"{ALL}, loses at most") == HOLDS
        assert of(found, epsilon, f"{HALF}, loses at most") == HOLDS
    assert of(found, "f = 1: at epsilon 2", "than at epsilon 8") == HOLDS
    assert len(found) == 2 * (3 * 2 + 2) + 2


KNOWING = "camouflage", "line_search"


@pytest.mark.parametrize(
    ("words", "where", "value"),
    [
        ("keeps over 1 point", lambda rule, epsilon, attack: rule == "median", 83),
        (f"{HALF}, loses", lambda rule, epsilon, attack: rule == HALF, 77),
        ("less than half", lambda rule, epsilon, attack: attack == "camouflage", 50),
        ("another rule keeps", lambda rule, epsilon, attack: attack in KNOWING, 30),
        ("more of the clean", lambda rule, epsilon, attack: attack == "camouflage", 20),
    ],
)
def test_what_is_not_so_is_not_upheld(words, where, value):
    """Each value takes away what one kind of claim rests on, at f = 1."""

    def left(rule, epsilon, f, attack):
        return value if attack and where(rule, epsilon, attack) else usual(rule, epsilon, f, attack)

    found = [each for each in noise_aware.claims(made(left)) if "f = 1:" in each.claim]
    hit = [each for each in found if words in each.claim]
    assert {each.outcome for each in hit} == {FAILS}


def test_attacks_that_know_a_rule_are_only_where_they_are_named():
    """The search against the median counts as knowing, and a failed run decides nothing."""
    at = noise_aware._At(noise_aware.accuracies(made(usual)), 8.0, 1)
    assert at.left("median", knowing=False).mean() == pytest.approx(80.2)
    assert at.left("median", knowing=True).mean() == pytest.approx(60.2)
    assert at.left(TRUTH, knowing=True).mean() == pytest.approx(35.2)
    failed = made(usual)
    is_hit = (failed["attack"] == "label_flip") & failed["aggregator"].str.contains("0.9")
    failed.loc[is_hit & (failed["seed"] == 2), "accuracy"] = math.nan
    found = noise_aware.claims(failed)
    assert of(found, "epsilon 8, f = 1:", "keeps over 1 point") == UNDECIDED


def test_the_table_has_a_row_for_every_rule_and_f():
    runs = made(usual)
    rows = noise_aware.table(runs).splitlines()
    assert rows[0] == (
        "| epsilon | rule | f | clean | label_flip | sign_flip | line_search | camouflage |"
    )
    told = f"| 8 | {TRUTH} | 15 | 83.20±0.20 | 83.20±0.20 | 83.20±0.20 |  | 35.20±0.20 |"
    assert told in rows
    assert sum(row.startswith("| 2 |") for row in rows) == 5 + 2


def test_the_sweep_tells_the_truth_and_searches_where_it_may():
    """What is told selects ten of ten honest; and no seed that judges was seen before."""
    sweep = load_sweep(EXPERIMENTS / "noise_aware.yaml")
    search = load_sweep(EXPERIMENTS / "noise_aware_search.yaml")
    for case in sweep.cases:
        rule = get_aggregator(case["aggregator"])
        if isinstance(rule, NoiseAware) and rule.selected not in (1, 0.5):
            assert rule.selects(10 + case["byzantine"]) == 10
    seeds = [sweep.grid["seed"], search.grid["seed"], sweep.tune.seeds]
    assert len(set().union(*seeds)) == sum(map(len, seeds))
    assert search.fixed["evaluate_on"] == "validation"
    runs = pd.DataFrame(sweep.combinations())
    known = runs[runs["attack"].str.startswith("camouflage")]
    assert known.groupby("target_epsilon")["attack"].nunique().tolist() == [1, 1, 1]
    assert set(known["attack"]) <= set(search.grid["attack"])
