import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from privrobust import RunSpec
from privrobust.schema import cells
from privrobust.tables import legend, render, row_fields, summarise


def frame(*runs):
    """Rows as `Store.runs` gives them, from (spec fields, accuracy) pairs."""
    rows = []
    for settings, accuracy in runs:
        spec = RunSpec(**{"honest": 10, **settings})
        rows.append(
            {
                **cells(spec),
                "accuracy": accuracy,
                "steps_taken": spec.steps,
                "kappa": 1.0 + accuracy,
                "diverged": False,
                "failure": None,
                "epsilon": 6.721 if spec.noise_scale else math.inf,
                "accountant_used": "pld",
                "is_upper_bound": True,
                "not_private": None if spec.noise_scale else "no noise (b = 0)",
            }
        )
    return pd.DataFrame(rows)


def shown(runs):
    console = Console(file=io.StringIO(), width=200)
    console.print(render(runs), *legend(runs), sep="\n")
    return console.file.getvalue()


ATTACKED = {"byzantine": 2, "noise_scale": 0.1}
SIGN_FLIP, ALIE = ({**ATTACKED, "attack": name} for name in ("sign_flip", "alie"))
RUNS = frame(
    *(({"seed": seed, "noise_scale": 0.1}, 0.9 + seed / 100) for seed in range(3)),
    *(({"seed": seed, **SIGN_FLIP}, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.1))),
    *(({"seed": seed, **ALIE}, accuracy) for seed, accuracy in enumerate((0.41, 0.42, 0.43))),
)


def test_means_and_student_intervals():
    summary = summarise(RUNS)
    row = summary.xs((2, "sign_flip"), level=("byzantine", "attack")).iloc[0]
    values = np.array([0.5, 0.6, 0.1])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert row["accuracy"] == pytest.approx(values.mean())
    assert row["interval"] == pytest.approx((high - low) / 2)
    assert row["seeds"] == 3


def test_worst_is_the_least_mean_over_attacks_not_the_mean_of_least():
    worst = summarise(RUNS).xs((2, "worst"), level=("byzantine", "attack")).iloc[0]
    assert worst["accuracy"] == pytest.approx(0.4)  # sign-flip; the least of each seed mean 0.31


def test_one_seed_has_no_interval():
    text = shown(RUNS[RUNS["seed"] == 0])
    assert "±" not in text.splitlines()[5]
    assert "90.0" in text


def test_cells_and_legend():
    text = shown(RUNS)
    assert "91.0±2.5" in text
    assert "40.0±65.7" in text
    assert "6.73" in text  # 6.721, rounded up: still an upper bound
    assert "at delta = 1e-05, by pld (upper bound)" in text


def test_infinite_epsilon_says_why():
    text = shown(frame(({"noise_scale": 0}, 0.5), ({"noise_scale": 0.1}, 0.5)))
    assert "∞¹" in text
    assert "¹ not private: no noise (b = 0)." in text


def test_estimates_are_labelled():
    text = shown(RUNS.assign(accountant_used="gdp", is_upper_bound=False))
    assert "gdp (ESTIMATE, may be too small)" in text


def test_diverged_and_failed_runs_are_marked():
    runs = RUNS.copy()
    runs.loc[0, "diverged"] = True
    runs.loc[4, ["failure", "accuracy"]] = ["grad_norm_bound: too long", None]
    text = shown(runs)
    assert "91.0†±2.5" in text
    assert "failed: grad_norm_bound: too long" in text


def test_runs_that_max_epsilon_ended_are_told():
    text = shown(RUNS.assign(steps_taken=[300, 120, 300, 80, 300, 300, 300, 300, 300]))
    assert "max_epsilon ended 2 runs, after 80 to 120 steps." in text


def test_rows_are_told_apart_by_what_varies_by_itself():
    usual = ["heterogeneity", "aggregator", "noise_scale"]
    decided = [({"aggregator": name, "learning_rate": lr}, 0) for name, lr in
               [("mean", 0.5), ("median", 0.1)]]  # fmt: skip
    assert row_fields(frame(*decided)) == usual
    crossed = [({"aggregator": name, "learning_rate": lr}, 0) for name in ("mean", "median")
               for lr in (0.1, 0.5)]  # fmt: skip
    assert row_fields(frame(*crossed)) == [*usual, "learning_rate"]
    optional = [({"clip_norm": clip_norm}, 0) for clip_norm in (None, 1.0)]
    assert row_fields(frame(*optional)) == [*usual, "clip_norm"]


def test_honest_makes_no_rows_where_it_only_makes_room_for_byzantine():
    usual = ["heterogeneity", "aggregator", "noise_scale"]
    sizes = [(workers, f) for workers in (12, 15) for f in (0, 2, 4)]
    runs = [
        {"honest": workers - f, "byzantine": f, "attack": "alie", "noise_scale": 0.1}
        for workers, f in sizes
    ]
    fixed = frame(*((run, 0.5) for run in runs))
    assert row_fields(fixed) == [*usual, "workers"]
    assert row_fields(fixed[:3]) == usual
    assert "f of all workers are Byzantine; epsilon is the largest over f." in shown(fixed)
    added = frame(*(({**run, "honest": 10}, 0.5) for run in runs[:3]))
    assert row_fields(added) == usual
    assert "added to the honest ones" in shown(added)
    assert row_fields(frame(({"honest": 10}, 0), ({"honest": 8}, 0))) == [*usual, "honest"]


def test_nothing_but_seeds_is_averaged_over():
    runs = frame(*(({"evaluate_on": split}, 0.5) for split in ("test", "validation")))
    assert row_fields(runs)[-1] == "evaluate_on"


def test_rows_stand_by_heterogeneity_then_method():
    runs = frame(
        *(
            ({"aggregator": name, "heterogeneity": heterogeneity}, 0.5)
            for name in ("mean", "median")
            for heterogeneity in (0.0, 1.0)
        )
    )
    lines = [line.split()[:2] for line in shown(runs).splitlines() if " me" in line]
    assert [line for line in lines if line[1].startswith("me")][-4:] == [
        ["0", "mean"], ["0", "median"], ["1", "mean"], ["1", "median"],
    ]  # fmt: skip
