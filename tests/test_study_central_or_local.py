"""What the study of central and local privacy says of made-up runs with known answers."""

import math

import pandas as pd
import pytest
from answer import _edges
from frames import frame
from study import central_or_local
from study.lines import _across, lines_figure
from study.verdicts import FAILS, HOLDS, UNDECIDED

from privrobust.errors import PrivRobustError

SEEDS = range(5)
TRAINERS = {"central": (1, 480, "mean"), "mean": (15, 32, "mean"), "median": (15, 32, "median"),
            "majority_vote": (15, 32, "majority_vote")}  # fmt: skip


def runs(lost):
    """Make runs that lose so many points to 90 %, by model, trainer and epsilon."""
    rows = []
    for model in ("logistic", "cnn_opacus"):
        for trainer, (honest, batch, rule) in TRAINERS.items():
            for epsilon in (None, 2.0, 8.0):
                if rule in ("median", "majority_vote") and epsilon is None:
                    continue
                fields = {"dataset": "fashion_mnist", "model": model, "honest": honest,
                          "aggregator": rule, "batch_size": batch, "learning_rate": 0.3,
                          "target_epsilon": epsilon, "clip_norm": epsilon and 1.0}  # fmt: skip
                points = 90 - lost(model, trainer, epsilon)
                rows += [(fields | {"seed": seed}, (points + 0.1 * seed) / 100) for seed in SEEDS]
    return frame(*rows)


def outcome(found, *words):
    (verdict,) = [each for each in found if all(word in each.claim for word in words)]
    return verdict.outcome


def test_what_each_trainer_costs():
    """The server's noise costs nothing, the workers' 2 points and a CNN 6, the median 0.4 more."""

    def lost(model, trainer, epsilon):
        if epsilon is None or trainer == "central":
            return 0.5 * (trainer == "mean")
        on_top = {"mean": 0.0, "median": 0.4, "majority_vote": 3.0}[trainer]
        return {"logistic": 2, "cnn_opacus": 6 if epsilon < 4 else 2.4}[model] + on_top

    found = central_or_local.claims(runs(lost))
    assert len(found) == 2 + 4 + 8 + 2
    for model in ("logistic", "cnn_opacus"):
        assert outcome(found, model, "no privacy") == HOLDS
        for epsilon in ("epsilon 2:", "epsilon 8:"):
            assert outcome(found, model + ", ", epsilon, "against central") == HOLDS
            assert outcome(found, model + ", ", epsilon, "the median costs") == FAILS
            assert outcome(found, model + ", ", epsilon, "the sign vote costs") == HOLDS
    assert outcome(found, "epsilon 2:", "more than") == HOLDS
    assert outcome(found, "epsilon 8:", "more than") == FAILS


@pytest.mark.parametrize(("behind", "expected"), [(2.0, FAILS), (-2.0, FAILS), (0.9, HOLDS)])
def test_as_good_is_neither_worse_nor_better(behind, expected):
    found = central_or_local.claims(runs(lambda model, trainer, _: behind * (trainer == "mean")))
    assert outcome(found, "logistic", "no privacy") == expected


def test_a_run_that_failed_leaves_its_claims_undecided():
    given = runs(lambda *_: 0.0)
    of_central = (given["honest"] == 1) & (given["target_epsilon"] == 2) & (given["seed"] == 3)
    given.loc[of_central & (given["model"] == "logistic"), "accuracy"] = math.nan
    found = central_or_local.claims(given)
    assert outcome(found, "logistic, epsilon 2:", "against central") == UNDECIDED
    assert outcome(found, "logistic, epsilon 2:", "the median costs") == FAILS
    assert outcome(found, "epsilon 2:", "more than") == UNDECIDED


def test_the_table_has_every_trainer_and_the_noise_of_the_average():
    given = runs(lambda model, trainer, _: 10.0 * (trainer == "mean"))
    given["noise_scale"] = [
        0.0 if math.isnan(epsilon) else 3.0 / batch
        for epsilon, batch in zip(given["target_epsilon"], given["batch_size"], strict=True)
    ]
    table = central_or_local.table(given)
    assert "| model | epsilon | central | mean | median | majority_vote |" in table
    assert "| logistic | ∞ | 90.20±0.20 (0.3) | 80.20±0.20 (0.3) |  |  |" in table
    assert "| 2 | 1 | vector | 3.000 | 0.00625 | 0.00625 |" in table
    assert f"| 2 | 15 | vector | 3.000 | 0.0938 | {3 / 32 / math.sqrt(15):.3g} |" in table
    assert "| 2 | 15 | sign | 3.000 | 0.0938 |  |" in table
    panels = central_or_local.figure(given).axes
    assert [panel.get_title() for panel in panels] == ["logistic", "cnn_opacus"]


def test_a_rate_is_at_the_edge_of_those_that_its_setting_was_offered():
    """Of 100 runs the votes', with the least of three, and the mean's without noise are there."""
    offered = {"vote": (0.3, 1, 3), "vector": (0.1, 0.3, 1), "none": (0.03, 0.1, 0.3)}

    def kind(run):
        is_vote = run["aggregator"] == "majority_vote"
        return "vote" if is_vote else "vector" if run["target_epsilon"] > 0 else "none"

    given = runs(lambda *_: 0.0)
    given["noise_scale"] = 0.1 + given["seed"]  # as where f takes from what workers hold
    tried = given[given["seed"] == 0].assign(evaluate_on="validation")
    rates = [offered[kind(run)] for _, run in tried.iterrows()]
    tried = tried.assign(learning_rate=rates).explode("learning_rate")
    tried["learning_rate"] = tried["learning_rate"].astype(float)
    told = _edges("learning_rate", given, tried)
    assert len(given) == 100
    assert "chosen from 0.03, 0.1, 0.3, 1, 3; 40.0% of the runs" in told  # 20 votes, 20 without


def test_a_setting_is_the_same_whether_its_column_has_gaps_or_not():
    """One of integers holds floats where another run has none."""
    whole = runs(lambda *_: 0.0)
    whole = whole[whole["target_epsilon"].notna()].assign(
        target_epsilon=lambda of: of["target_epsilon"].astype(int)
    )
    tried = pd.concat([whole, runs(lambda *_: 0.0)]).assign(learning_rate=0.3)
    assert tried["target_epsilon"].dtype == float
    assert "100.0% of the runs" in _edges("learning_rate", whole, tried)


def test_a_run_whose_setting_was_offered_no_rate_is_an_error():
    given = runs(lambda *_: 0.0)
    with pytest.raises(PrivRobustError, match=r"learning_rate: none was tried for .*8\.0"):
        _edges("learning_rate", given, given[given["target_epsilon"] != 8])


@pytest.mark.parametrize(
    ("kinds", "across"),
    [("ab", 2), ("aabbcc", 2), ("abcabc", 3), ("aaaabbbb", 4), ("aabbccdd", 4), ("aaaaaa", 3),
     ("aaabbb", 3), ("abcde", 1), ("aaaaabbbbb", 1)],
)  # fmt: skip
def test_panels_of_a_kind_stand_in_a_row(kinds, across):
    assert _across(list(kinds)) == across


@pytest.mark.parametrize(("mean", "is_cut"), [(50, False), (2, True), (99, True)])
def test_bands_of_shares_are_cut_where_nothing_is_and_a_grey_strip_is_explained(mean, is_cut):
    index = pd.MultiIndex.from_product([["a"], ["b"], [0, 1]])
    values = pd.DataFrame({0: [mean - 1, mean], 1: [mean + 1, mean]}, index=index, dtype=float)
    drawn = lines_figure(values, "x", "y", grey="without noise", are_shares=True)
    (panel,) = drawn.axes
    heights = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert 0 <= heights.min() < heights.max() <= 100
    low, high = panel.get_ylim()
    assert 0 <= low < high <= 100
    assert (low == 0 or high == 100) == is_cut
    note = drawn.get_supxlabel()
    assert ("cut at 0 and 100" in note) == is_cut
    assert "Grey: without noise." in note
    assert (
        "Grey" not in lines_figure(values.drop(0, level=2), "x", "y", grey="none").get_supxlabel()
    )
