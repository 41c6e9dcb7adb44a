"""What figures say in small print, and what they leave out where a store holds too much."""

import re

import numpy as np
import pandas as pd
import pytest
from made_runs import CLIPS, OF_RUNS, RUNS, drawn_lines, grid, panel_of, with_failure, words

from privrobust.errors import SpecError
from privrobust.reporting.figures.curves import curves_figure
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.reporting.tables import chosen
from privrobust.store import Store


def test_small_print_says_what_is_missing():
    alone = RUNS[RUNS["seed"] == 0]
    text = words(epsilon_figure(alone))
    assert "mean over 1 seed: a single seed has no interval." in text
    assert "Every mean is over fewer than 3 seeds." in text
    assert "°" not in text  # all have it
    assert "°" not in words(epsilon_figure(RUNS))
    fewer = words(epsilon_figure(RUNS[(RUNS["seed"] == 0) | (RUNS["aggregator"] == "mean")]))
    assert "mean over 1 to 3 seeds; bars: 95 % Student intervals, none for 18 of 36" in fewer
    assert "°: fewer than 3 seeds." in fewer
    assert fewer.count("°") == 19  # one a cell, and what it means
    assert words(epsilon_figure(RUNS.assign(diverged=True))).count("†") == 37
    assert "†" in words(heatmap_figure(alone.assign(diverged=True)))
    failed = words(epsilon_figure(with_failure(RUNS, RUNS.index[0])))
    assert "Failed: 1 of 36 cells have no mean, as runs of theirs failed." in failed
    assert "failed, no mean" in failed  # the cross
    assert "failed, no mean" not in text
    assert "δ = 1e-05, by pld (upper bound); one example's contribution set to zero" in text
    assert "Not private: no noise (b = 0)." in text


@pytest.mark.parametrize("draw", [epsilon_figure, heatmap_figure, pareto_figure])
def test_worst_cases_over_fewer_attacks_are_told(draw):
    assert "the same attacks" not in words(draw(RUNS))
    spared = (
        (RUNS["aggregator"] == "mean") & (RUNS["heterogeneity"] == 1.0) & (RUNS["byzantine"] == 4)
    )
    text = words(draw(RUNS[~(spared & (RUNS["attack"] == "alie"))]))
    assert "3 of 24 worst cases are over fewer than alie, sign_flip;" in text  # three b
    assert "that of mean at heterogeneity 1, f = 4 is over sign_flip." in text


def test_a_tuned_store_says_that_tuning_is_not_counted():
    both = pd.concat([RUNS, RUNS.assign(evaluate_on="validation", accuracy=0.0)])
    for draw in (epsilon_figure, heatmap_figure, pareto_figure):
        text = words(draw(both))
        assert "Settings were tuned on private data" in text
        assert "on test data" in text
    panel = panel_of(epsilon_figure(both), "heterogeneity 0, clean")
    means = [line.get_ydata().min() for line in drawn_lines(panel)]
    assert min(means) > 0  # no validation run in the mean


def test_what_does_not_fit_is_left_out_and_told():
    runs = grid(byzantine=[0, 1, 2, 3, 4], heterogeneity=[0.0], seed=[0], clip_norm=CLIPS)
    figure = epsilon_figure(runs)
    text = words(figure)
    assert "Left out: 1 of 5 values of f and 2 of 10 methods; --where field=value chooses" in text
    assert "byzantine (0, 1, ..., 4), aggregator (median, mean), clip_norm (1, 2, ..., 5)." in text
    methods = [f"{name}, C={clip}" for name in ("median", "mean") for clip in CLIPS]
    assert [label.get_text() for label in figure.legends[0].get_texts()] == methods[:8]
    assert "f = 3" in text
    assert "f = 4" not in text
    histories = pd.DataFrame({"run": runs.index, "step": 1, "accuracy": 0.5})
    curves = curves_figure(runs, histories)
    assert len(curves.axes) == 4
    assert "5 of 9 attacks and f and 22 of 30 methods" in words(curves)
    rates = pd.concat([runs.assign(learning_rate=rate) for rate in (0.1, 0.2)])
    assert "Left out: 2 of 10 methods" in words(learning_rate_figure(rates))
    assert "6 of 10 methods" in words(heatmap_figure(runs))
    assert "Left out" not in words(
        epsilon_figure(runs[runs["byzantine"].isin([0, 4]) & (runs["clip_norm"] < 3)])
    )


@pytest.mark.parametrize("draw", OF_RUNS[:3])
def test_small_print_is_of_what_is_drawn(draw):
    runs = grid(heterogeneity=[0.0], seed=[0, 1, 2], clip_norm=CLIPS, byzantine=[0, 2])
    last = (runs["aggregator"] == "mean") & (runs["clip_norm"] > 3)
    text = words(draw(runs.assign(delta=runs["delta"].mask(last, 1e-7), diverged=last)))
    assert "Left out: " in text
    assert "†" not in text
    assert "ε: at δ = 1e-05, by" in text


def test_methods_without_results_leave_their_place_to_others():
    runs = grid(heterogeneity=[0.0], seed=[0], clip_norm=CLIPS, byzantine=[0, 2])
    first = runs["aggregator"] == "median"
    failed = runs.assign(
        accuracy=runs["accuracy"].mask(first), failure=runs["failure"].mask(first, "no memory")
    )
    figure = heatmap_figure(failed)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"mean, C={clip}" for clip in CLIPS[:4]]


def test_a_thousand_values_are_not_listed():
    runs = grid(
        aggregator=["median"],
        byzantine=[0],
        noise_scale=[0.0],
        heterogeneity=[0.0],
        seed=[0],
        clip_norm=list(range(1, 1001)),
    )
    text = words(epsilon_figure(runs))
    assert "Left out: 992 of 1000 methods" in text
    assert "clip_norm (1, 2, ..., 1000)" in text
    assert len(text) < 1000


def test_what_to_choose_from_is_what_where_takes(trained):
    """Every value that the note lists leaves runs, whatever the figure calls it."""
    with Store(trained) as store:
        runs = store.runs()
        histories = store.histories(list(runs.index))
    thirds = np.arange(len(runs)) % 3
    settings = runs.assign(
        learning_rate=thirds / 3,
        clip_norm=runs["clip_norm"].mask(thirds == 0),
        target_epsilon=(1.0 + runs["seed"]).where(runs["noise_scale"] > 0),
    )
    text = words(curves_figure(settings, histories))
    listed = re.findall(r"(\w+) \(([^()]+)\)", text[text.index("Left out") : text.index("On test")])
    assert {field for field, _ in listed} >= {"aggregator", "noise_scale", "clip_norm"}
    for field, values in listed:
        for value in set(values.split(", ")) - {"..."}:
            assert len(chosen(settings, [f"{field}={value}"]))


@pytest.mark.parametrize("figure", [epsilon_figure, heatmap_figure])
def test_a_failed_run_has_no_accuracy_whatever_its_cell_says(figure):
    with pytest.raises(SpecError, match="all 180 runs failed"):
        figure(RUNS.assign(failure="no memory"))
