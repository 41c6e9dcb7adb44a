import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privrobust import RunSpec
from privrobust.errors import SpecError
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.tuning import candidates, choose

RATES = [0.1, 0.3, 0.5]
ATTACKED = {"byzantine": [0, 2], "attack": ["alie", "sign_flip"], "seed": [0, 1]}


def sweep_of(tune=None, **settings):
    tune = {"learning_rate": RATES} | (tune or {})
    return Sweep.from_settings({"honest": 9} | settings | {"tune": tune})


def accuracies(sweep, accuracy):
    """By key, of a function of a run."""
    return {run.key: accuracy(run) for run in candidates(sweep)}


def settings_of(runs, *fields):
    return [tuple(getattr(run, field) for field in fields) for run in runs]


def attack_of(run):
    return run.attack.name if run.attack else None


@pytest.mark.parametrize("by", ["clean", "worst"])
@pytest.mark.parametrize("seeds", [{}, {"seeds": [0, 10]}])
@pytest.mark.parametrize("where", ["default", "fixed", "cases", "zip", "grid"])
def test_nothing_is_tuned_on_the_test_split(by, seeds, where):
    splits = {
        "default": {},
        "fixed": {"evaluate_on": "test"},
        "cases": {"cases": [{"evaluate_on": "test"}]},
        "zip": {"zip": {"evaluate_on": ["test"]}},
        "grid": {"grid": ATTACKED | {"evaluate_on": ["test", "validation"]}},
    }
    sweep = sweep_of({"by": by} | seeds, **{"grid": ATTACKED} | splits[where])
    tried = candidates(sweep)
    assert {run.evaluate_on for run in tried} == {"validation"}
    finals = choose(sweep, {run.key: 0.5 for run in tried})
    both = {"test", "validation"} if where == "grid" else {"test"}
    assert {run.evaluate_on for run in finals} == both


def test_a_sweep_on_the_validation_split_ends_on_it():
    sweep = sweep_of(evaluate_on="validation")
    assert {run.evaluate_on for run in choose(sweep, {})} == {"validation"}


def test_by_clean_trains_no_attacks_and_adds_runs_without_them():
    sweep = sweep_of({"seeds": [7, 8]}, grid=ATTACKED | {"byzantine": [1, 2], "momentum": [0, 0.5]})
    tried = candidates(sweep)
    assert {run.byzantine for run in tried} == {0}
    assert set(settings_of(tried, "learning_rate", "seed", "momentum")) == {
        (rate, seed, momentum) for rate in RATES for seed in (7, 8) for momentum in (0, 0.5)
    }
    assert len(tried) == 3 * 2 * 2


def test_by_worst_trains_what_the_sweep_would():
    tried = candidates(sweep_of({"by": "worst"}, grid=ATTACKED))
    assert len(tried) == 3 * (1 + 2) * 2
    assert {(run.byzantine, attack_of(run)) for run in tried} == {
        (0, None), (2, "alie"), (2, "sign_flip"),
    }  # fmt: skip
    assert {run.seed for run in tried} == {0, 1}


def test_each_setting_gets_its_own_best():
    grid = ATTACKED | {"aggregator": ["mean", "median"], "noise_scale": [0, 0.1]}
    sweep = sweep_of(grid=grid, clip_norm=1)
    best = {("mean", 0): 0.1, ("mean", 0.1): 0.3, ("median", 0): 0.5, ("median", 0.1): 0.3}

    def accuracy(run):
        return 1.0 - abs(run.learning_rate - best[run.aggregator, run.noise_scale])

    finals = choose(sweep, accuracies(sweep, accuracy))
    assert len(finals) == 4 * (1 + 2) * 2
    for run in finals:
        assert run.learning_rate == best[run.aggregator, run.noise_scale]
    untuned = Sweep.from_settings({"honest": 9, "clip_norm": 1, "grid": grid}).runs()
    assert [run.model_copy(update={"learning_rate": 0.5}) for run in finals] == untuned


def test_by_worst_means_over_seeds_and_then_takes_the_least():
    """0.3 has the worst seed, yet no mean under 0.6; 0.5 is the best of clean runs."""
    table = {
        0.1: {None: (0.9, 0.9), "alie": (0.5, 0.5), "sign_flip": (0.5, 0.5)},
        0.3: {None: (0.6, 0.6), "alie": (0.2, 1.0), "sign_flip": (0.7, 0.7)},
        0.5: {None: (1.0, 1.0), "alie": (0.9, 0.9), "sign_flip": (0.4, 0.5)},
    }

    def accuracy(run):
        return table[run.learning_rate][attack_of(run)][run.seed]

    for by, best in (("worst", 0.3), ("clean", 0.5)):
        sweep = sweep_of({"by": by}, grid=ATTACKED)
        finals = choose(sweep, accuracies(sweep, accuracy))
        assert {run.learning_rate for run in finals} == {best}
        assert len(finals) == 6


def test_by_worst_counts_runs_without_attack():
    sweep = sweep_of({"by": "worst"}, grid=ATTACKED)
    finals = choose(
        sweep, accuracies(sweep, lambda run: 0.9 if run.byzantine else run.learning_rate / 2)
    )
    assert {run.learning_rate for run in finals} == {0.5}


@pytest.mark.parametrize("by", ["clean", "worst"])
def test_a_failed_run_is_worse_than_any_and_the_first_of_equals_is_taken(by):
    sweep = sweep_of({"by": by}, grid=ATTACKED)
    accuracy = accuracies(sweep, lambda run: {0.1: 0.9, 0.3: 0.0, 0.5: 0.0}[run.learning_rate])
    failed = next(run.key for run in candidates(sweep) if run.learning_rate == 0.1)
    missing = {key: value for key, value in accuracy.items() if key != failed}
    for known in (missing, accuracy | {failed: math.nan}):
        assert {run.learning_rate for run in choose(sweep, known)} == {0.3}
    assert {run.learning_rate for run in choose(sweep, {})} == {0.1}


def test_where_workers_are_fixed_honest_does_not_tell_settings_apart():
    grid = {"byzantine": [0, 2, 4], "attack": ["alie"]}
    sweep = Sweep.from_settings(
        {"workers": 12, "grid": grid, "tune": {"learning_rate": RATES, "by": "worst"}}
    )
    # each f alone would take another
    worst = {(0, 0.1): 1, (0, 0.3): 0.8, (0, 0.5): 0.9, (2, 0.1): 0.7, (2, 0.3): 0.8}
    worst |= {(2, 0.5): 0.9, (4, 0.1): 0.5, (4, 0.3): 0.6, (4, 0.5): 0.4}
    finals = choose(sweep, accuracies(sweep, lambda run: worst[run.byzantine, run.learning_rate]))
    assert settings_of(finals, "honest", "byzantine", "learning_rate") == [
        (12, 0, 0.3), (10, 2, 0.3), (8, 4, 0.3),
    ]  # fmt: skip


def test_where_honest_vary_by_themselves_each_is_a_setting():
    sweep = Sweep.from_settings({"grid": {"honest": [5, 6]}, "tune": {"learning_rate": RATES}})
    best = {5: 0.5, 6: 0.3}
    known = accuracies(sweep, lambda run: float(run.learning_rate == best[run.honest]))
    assert settings_of(choose(sweep, known), "honest", "learning_rate") == [(5, 0.5), (6, 0.3)]


def test_several_fields_are_tuned_together():
    sweep = sweep_of({"momentum": [0.0, 0.9], "schedule": ["constant", "cosine"]})
    assert len(candidates(sweep)) == 3 * 2 * 2
    best = (0.3, 0.9, "cosine")
    fields = ("learning_rate", "momentum", "schedule")
    known = accuracies(sweep, lambda run: float(settings_of([run], *fields) == [best]))
    assert settings_of(choose(sweep, known), *fields) == [best]


def test_a_target_is_tuned_before_its_noise_is_known():
    sweep = sweep_of({"clip_norm": [0.5, 1.0]}, grid={"target_epsilon": [2, 8]})
    known = accuracies(sweep, lambda run: run.clip_norm + run.learning_rate / run.target_epsilon)
    fields = ("target_epsilon", "clip_norm", "learning_rate")
    assert settings_of(choose(sweep, known), *fields) == [(2, 1.0, 0.5), (8, 1.0, 0.5)]


def test_exclusions_give_methods_their_own_candidates():
    sweep = sweep_of(
        grid={"aggregator": ["mean", "majority_vote"]},
        exclude=[
            {"aggregator": "majority_vote", "learning_rate": [0.3, 0.5]},
            {"aggregator": "mean", "learning_rate": 0.1},
        ],
    )
    fields = ("aggregator", "learning_rate")
    pairs = [("mean", 0.3), ("mean", 0.5), ("majority_vote", 0.1)]
    assert settings_of(candidates(sweep), *fields) == pairs
    assert settings_of(choose(sweep, {}), *fields) == [("mean", 0.3), ("majority_vote", 0.1)]


def test_a_candidate_that_is_excluded_anywhere_in_a_setting_is_out():
    sweep = sweep_of(grid=ATTACKED, exclude=[{"attack": "alie", "learning_rate": 0.1}])
    known = accuracies(sweep, lambda run: 1 - run.learning_rate)
    assert {run.learning_rate for run in choose(sweep, known)} == {0.3}
    sweep = sweep_of(
        grid=ATTACKED,
        exclude=[
            {"attack": "alie", "learning_rate": [0.1, 0.3]},
            {"attack": "sign_flip", "learning_rate": 0.5},
        ],
    )
    with pytest.raises(SpecError, match="exclude: leaves no candidate of tune for all runs like"):
        candidates(sweep)
    sweep = sweep_of(grid=ATTACKED, exclude=[{"learning_rate": RATES}])
    with pytest.raises(SpecError, match=r"exclude: leaves no candidate of tune for \{'honest': 9"):
        choose(sweep, {})


def test_a_sweep_that_tunes_nothing_has_no_candidates():
    sweep = Sweep.from_settings({"grid": {"seed": [0, 1]}})
    assert candidates(sweep) == []
    assert choose(sweep, {}) == sweep.runs() == [RunSpec(seed=0), RunSpec(seed=1)]


def test_a_candidate_that_is_no_run_is_one_line():
    with pytest.raises(SpecError, match="learning_rate: 0 is not accepted"):
        candidates(sweep_of({"learning_rate": [0.1, 0]}))
    with pytest.raises(SpecError, match="seed: -1 is not accepted"):
        candidates(sweep_of({"seeds": [-1]}))


@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.4, 0.8]), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True),
    st.sampled_from(["clean", "worst"]),
    st.randoms(use_true_random=False),
)
def test_the_final_runs_are_those_of_a_sweep_with_the_choice_fixed(rates, seeds, by, random):
    grid = {"byzantine": [0, 2], "attack": ["alie", "zero"], "seed": seeds}
    sweep = sweep_of({"learning_rate": rates, "by": by}, grid=grid)
    known = accuracies(sweep, lambda run: random.choice([0.1, 0.5, math.nan]))
    finals = choose(sweep, known)
    (rate,) = {run.learning_rate for run in finals}
    assert finals == Sweep.from_settings({"honest": 9, "learning_rate": rate, "grid": grid}).runs()

    def least(rate):
        runs = [run for run in candidates(sweep) if run.learning_rate == rate]
        groups = {(run.byzantine, attack_of(run)) for run in runs}
        means = [
            sum(known[run.key] for run in runs if (run.byzantine, attack_of(run)) == group)
            for group in groups
        ]
        return -math.inf if any(map(math.isnan, means)) else min(means)

    assert least(rate) == max(map(least, rates))
    assert all(least(other) < least(rate) for other in rates[: rates.index(rate)])
