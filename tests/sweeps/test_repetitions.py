"""Tuning that is counted: which runs are drawn, which is published, what they share."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from privrobust import RunSpec, train
from privrobust.accountants.repeats import get_repeats
from privrobust.errors import SpecError
from privrobust.reporting.tables import lay_out
from privrobust.store import Store
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.repetitions import repetitions
from privrobust.sweeps.runner import run_whole
from privrobust.sweeps.tuning import candidates, choose, undecided
from privrobust.training.noise import Perturbation
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

RATES = [0.1, 0.3, 0.5]
CANDIDATES = [{"learning_rate": rate} for rate in RATES]
PRIVATE = {"honest": 5, "steps": 5, "clip_norm": 1.0, "noise_scale": 0.4}
POISSON = "poisson(mean=4.0)"
SURELY = 1e-6


def sweep_of(tune=None, **settings):
    given = PRIVATE | {"repeats": POISSON} | settings
    return Sweep.from_settings(given | {"tune": {"learning_rate": RATES} | (tune or {})})


# --- what is drawn ---------------------------------------------------------------------------


def test_as_many_as_the_law_gives():
    mean = 4.0
    counts = Counter(len(repetitions(POISSON, seed, CANDIDATES)) for seed in range(4000))
    cells = [*range(11), 11]
    found = [counts[k] for k in range(11)] + [sum(counts[k] for k in counts if k > 10)]
    mass = [*stats.poisson.pmf(range(11), mean), stats.poisson.sf(10, mean)]
    assert len(cells) == len(found)
    assert stats.chisquare(found, np.array(mass) * 4000).pvalue > SURELY


def test_each_of_a_candidate_drawn_by_itself():
    drawn = [
        [each["learning_rate"] for each in repetitions("negative_binomial", seed, CANDIDATES)]
        for seed in range(1000)
    ]
    every = Counter(rate for run in drawn for rate in run)
    assert stats.chisquare([every[rate] for rate in RATES]).pvalue > SURELY
    pairs = Counter(pair for run in drawn for pair in pairwise(run))
    table = [[pairs[one, other] for other in RATES] for one in RATES]
    assert stats.chi2_contingency(table).pvalue > SURELY


def test_of_a_constant_number_candidates_in_turn():
    drawn = repetitions("constant(count=5)", 7, CANDIDATES)
    assert [each["learning_rate"] for each in drawn] == [0.1, 0.3, 0.5, 0.1, 0.3]
    assert [each["repetition"] for each in drawn] == [0, 1, 2, 3, 4]


def test_the_same_seed_draws_the_same_under_every_method_and_attack():
    grid = {"aggregator": ["mean", "median"], "byzantine": [0, 1], "attack": ["alie", "zero"]}
    tried = candidates(sweep_of(grid=grid | {"seed": [0, 1]}))
    drawn = {}
    for run in tried:
        at = run.aggregator, run.byzantine, str(run.attack), run.seed
        drawn.setdefault(at, []).append((run.repetition, run.learning_rate))
    assert len(drawn) == 2 * 3 * 2
    by_seed = [{str(rates) for at, rates in drawn.items() if at[-1] == seed} for seed in (0, 1)]
    assert [len(each) for each in by_seed] == [1, 1]
    assert by_seed[0] != by_seed[1]
    assert tried == candidates(sweep_of(grid=grid | {"seed": [0, 1]}))


# --- which is published ----------------------------------------------------------------------


def test_each_run_is_the_best_of_its_own_and_is_tested_as_it_is():
    sweep = sweep_of(grid={"seed": [0, 1, 2], "byzantine": [0, 1], "attack": ["alie"]})
    tried = candidates(sweep)
    assert {run.evaluate_on for run in tried} == {"validation"}
    draw = np.random.default_rng(3)
    accuracy = {run.key: draw.uniform() for run in tried}
    finals = choose(sweep, accuracy)
    assert {run.evaluate_on for run in finals} == {"test"}
    assert [(run.byzantine, run.seed) for run in finals] == [
        (byzantine, seed) for seed in (0, 1, 2) for byzantine in (0, 1)
    ]
    for final in finals:
        rivals = [r for r in tried if (r.seed, r.byzantine) == (final.seed, final.byzantine)]
        best = max(rivals, key=lambda run: accuracy[run.key])
        assert final == best.model_copy(update={"evaluate_on": "test"})


def test_the_first_of_equals_and_no_failed_one():
    sweep = sweep_of(repeats="constant(count=3)")
    tried = candidates(sweep)
    assert choose(sweep, {run.key: 0.5 for run in tried})[0].repetition == 0
    assert choose(sweep, {tried[2].key: 0.0})[0].repetition == 2
    assert not undecided(sweep, {tried[2].key: 0.0})
    assert len(undecided(sweep, {})) == 1


def test_where_none_is_drawn_nothing_is_published():
    rare, seeds = "poisson(mean=0.5)", list(range(8))
    drawn = {seed: len(repetitions(rare, seed, CANDIDATES)) for seed in seeds}
    assert 0 in drawn.values()
    sweep = sweep_of(repeats=rare, grid={"seed": seeds})
    assert [run.seed for run in choose(sweep, {})] == [seed for seed in seeds if drawn[seed]]
    none = next(seed for seed in seeds if not drawn[seed])
    with pytest.raises(SpecError, match="repeats: no repetition of any run was drawn"):
        choose(sweep_of(repeats=rare, seed=none), {})
    assert undecided(sweep_of(repeats=rare, seed=none), {}) == []


def test_beside_runs_whose_tuning_is_not_counted():
    sweep = sweep_of(repeats=None, grid={"seed": [0, 1]})
    mixed = Sweep.from_settings(
        {**PRIVATE, "grid": {"repeats": [None, POISSON], "seed": [0, 1]}}
        | {"tune": {"learning_rate": RATES}}
    )
    of_both = candidates(mixed)
    assert [run for run in of_both if run.repeats is None] == candidates(sweep)
    assert {run.repeats for run in choose(mixed, {})} == {None, POISSON}


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "settings", "says"),
    [
        ({"by": "worst"}, {}, r"tune.by: 'worst' with repeats: poisson\(mean=4.0\)"),
        ({"by": "clean"}, {}, "tune.by: 'clean' with repeats"),
        ({"seeds": [1]}, {}, r"tune.seeds: \[1\] with repeats"),
        ({}, {"repetition": 3}, "repetition: 3 with tune and repeats"),
        ({"batch_size": [16, 32]}, {}, "tune: candidates of batch_size 16.0 and 32.0 with repeats"),
        ({"steps": [5, 6]}, {"steps": None}, "tune: candidates of steps 5 and 6"),
        ({"clip_norm": [0.5, 1]}, {"clip_norm": None}, "tune: candidates of clip_norm 0.5 and 1.0"),
        ({"delta": [1e-5, 1e-6]}, {}, "tune: candidates of delta 1e-05 and 1e-06"),
        ({"aggregator": ["median", "majority_vote"]}, {}, "candidates of message vector and sign"),
        ({"repeats": [POISSON, None]}, {"repeats": None}, "tune: candidates of repeats"),
    ],
)
def test_a_choice_that_epsilon_would_not_be_of_is_refused(tune, settings, says):
    given = {
        name: value
        for name, value in (PRIVATE | {"repeats": POISSON} | settings).items()
        if value is not None
    }
    sweep = Sweep.from_settings(given | {"tune": {"learning_rate": RATES} | tune})
    for ask in (lambda: candidates(sweep), lambda: choose(sweep, {})):
        with pytest.raises(SpecError, match=says) as raised:
            ask()
        assert "\n" not in str(raised.value)


def test_with_a_target_clipping_norms_cost_the_same():
    sweep = Sweep.from_settings(
        {"honest": 5, "steps": 5, "target_epsilon": 4, "repeats": "negative_binomial(mean=6.0)"}
        | {"seed": 3, "tune": {"clip_norm": [0.25, 1.0]}}
    )
    tried = candidates(sweep)
    assert {run.clip_norm for run in tried} == {0.25, 1.0}
    plans = [PrivacyPlan(run) for run in tried]
    sigmas = [plan.releases[0].noise_multiplier for plan in plans]
    assert max(sigmas) / min(sigmas) < 1 + 1e-12
    assert all(0.999 * 4 <= plan.spent.epsilon <= 4 for plan in plans)


def test_a_number_that_leaves_candidates_out_is_refused():
    with pytest.raises(SpecError, match=r"constant\(count=2\) of 3 candidates leaves some out"):
        candidates(sweep_of(repeats="constant(count=2)"))
    tried = candidates(sweep_of(repeats="constant(count=4)"))
    assert {run.learning_rate for run in tried} == set(RATES)


def test_too_many_runs_are_refused(monkeypatch):
    monkeypatch.setattr("privrobust.sweeps.tuning.MOST_COMBINATIONS", 50)
    with pytest.raises(SpecError, match="repeats: more than 50 runs"):
        candidates(sweep_of(repeats="constant(count=51)"))


# --- runs that are drawn anew ----------------------------------------------------------------


def test_repetitions_deal_alike_and_share_nothing_else():
    places = [(seed, place) for seed in (0, 1) for place in range(50)]
    runs = [RunSpec(**PRIVATE, seed=seed, repetition=place) for seed, place in places]
    streams = {run.stream_seed for run in runs}
    assert len(streams) == len(runs)
    assert all(0 <= each < 2**63 for each in streams)
    assert runs[0].stream_seed == 0
    assert RunSpec(seed=5).stream_seed == 5
    first, second = ([share.tolist() for share in shares(run)] for run in runs[:2])
    assert first == second
    one, other = map(train, runs[:2])
    assert (one.history["loss"] != other.history["loss"]).all()
    assert one.spent == other.spent
    again = train(runs[1])
    assert again.history.equals(other.history)


@pytest.mark.parametrize(
    "noise",
    [
        {},
        {"noise": "laplace"},
        {"noise": "logistic"},
        {"pairwise_noise": 2.0},
        {"unit": "worker", "pairwise_noise": 2.0},
    ],
)
def test_repetitions_share_no_noise_of_any_kind(noise):
    """What they shared would cancel in the difference of their messages."""
    runs = [RunSpec(**PRIVATE | noise, repetition=place) for place in (0, 1, 2)]
    shape = (runs[0].honest, 1000)
    first, *others = (
        Perturbation([PrivacyPlan(run)], shape, torch.device("cpu"))(
            torch.zeros(1, *shape, dtype=torch.float64)
        ).double()
        for run in runs
    )
    for other in others:
        assert (first != other).all()
        together = torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]
        assert abs(float(together)) < 0.3  # over nine standard errors of 1000 coordinates


def test_a_sweep_counts_what_its_tuning_spends(tmp_path):
    settings = PRIVATE | {"evaluate_every": 5, "tune": {"learning_rate": [0.01, 5.0]}}
    grid = {"repeats": [POISSON, None], "seed": [0, 1, 2]}
    sweep = Sweep.from_settings(settings | {"grid": grid})
    with Store(tmp_path / "results.db") as store:
        runs = run_whole(sweep, store)
        table = store.runs([run.key for run in runs])
        tried = store.runs([run.key for run in candidates(sweep)])
        assert run_whole(sweep, store) == runs  # as the store has them
    plain = PrivacyPlan(RunSpec(**PRIVATE)).spent.epsilon
    priced = get_repeats(POISSON)
    assert len(repetitions(POISSON, 0, CANDIDATES)) <= 4 * priced.mean
    for run in runs:
        spent = table.loc[run.key, "epsilon"]
        assert spent == plain if run.repeats is None else spent > plain
        if run.repeats is not None:
            rivals = tried[(tried["seed"] == run.seed) & tried["repeats"].notna()]
            best = rivals.loc[rivals["accuracy"].astype(float).idxmax()]
            assert (best["repetition"], best["learning_rate"]) == (
                run.repetition, run.learning_rate,
            )  # fmt: skip
    laid = lay_out(table)
    assert sum(map(len, laid.blocks)) == 2  # whatever rate a seed took
    notes = "\n".join(laid.notes)
    assert f"Counted, with repeats {POISSON}: the choice of each run among a random" in notes
    assert "Not counted, without repeats: settings that were tuned on private data." in notes
    only = "\n".join(lay_out(table[table["repeats"].notna()]).notes)
    assert "Not counted" not in only
