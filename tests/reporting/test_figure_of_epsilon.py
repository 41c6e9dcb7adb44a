"""Accuracy against epsilon, and what nobody beats: numbers, edges, marks."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_runs import (
    CLIPS,
    EPSILON,
    RUNS,
    bars_of,
    drawn_lines,
    expected,
    grid,
    panel_of,
    words,
)

from privrobust.reporting.figures import LIGHT
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.pareto import front, pareto_figure


@pytest.mark.parametrize(("title", "f"), [("clean", 0), ("worst case, f = 4", 4)])
@pytest.mark.parametrize(
    ("data", "heterogeneity"), [("heterogeneity 0", 0.0), ("heterogeneity 1", 1.0)]
)
def test_epsilon_draws_means_and_student_bars_where_they_are(title, f, data, heterogeneity):
    panel = panel_of(epsilon_figure(RUNS), f"{data}, {title}")
    lines = [line for line in drawn_lines(panel) if len(line.get_xdata()) == 2]
    for method, line, bars in zip(["median", "mean"], lines, bars_of(panel), strict=True):
        wanted = [
            expected(RUNS, f, aggregator=method, heterogeneity=heterogeneity, noise_scale=b)
            for b in (0.3, 0.03, 0.0)  # by rising epsilon
        ]
        np.testing.assert_array_equal(line.get_xdata(), [0.77, 15.3])
        np.testing.assert_allclose(line.get_ydata(), [mean for mean, _ in wanted[:2]])
        np.testing.assert_array_equal(bars[:2, 0], [0.77, 15.3])
        np.testing.assert_allclose(bars[:, 1:], [[m - half, m + half] for m, half in wanted])


@pytest.mark.parametrize("draw", [epsilon_figure, pareto_figure])
@pytest.mark.parametrize("b", [0.3, 0.0])
def test_a_single_epsilon_has_its_intervals(draw, b):
    for panel in draw(RUNS[RUNS["noise_scale"] == b]).axes:
        bars = np.concatenate(bars_of(panel))
        means = [
            (x, y)
            for line in drawn_lines(panel)
            if line.get_marker() in "os"
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        assert len(bars) == len(means) == (2 if draw is epsilon_figure else 4)
        for x, y in means:
            assert any(at == x and low < y < high for at, low, high in bars)


def test_what_is_not_private_stands_at_the_right_edge_with_its_value():
    figure = epsilon_figure(RUNS)
    panel = panel_of(figure, "heterogeneity 1, clean")
    labels = [label.get_text() for label in panel.get_xticklabels()]
    ticks = dict(zip(labels, panel.get_xticks(), strict=True))
    place = ticks["not\nprivate"]
    assert place > 15.3
    assert max(ticks.values()) == place
    shown = [
        line.get_ydata()[0]
        for line in drawn_lines(panel)
        if len(line.get_xdata()) == 1 and line.get_xdata()[0] > 16
    ]
    wanted = [
        expected(RUNS, 0, aggregator=method, heterogeneity=1.0, noise_scale=0.0)[0]
        for method in ("median", "mean")
    ]
    np.testing.assert_allclose(shown, wanted)


def test_small_print_says_which_b_stands_at_which_epsilon():
    assert "b = 0.03, 0.3 stand at ε = 15.3, 0.77." in words(epsilon_figure(RUNS))
    signs = RUNS["aggregator"] == "mean"
    apart = RUNS.assign(epsilon=RUNS["epsilon"].mask(signs, RUNS["epsilon"] / 2))
    for draw in (epsilon_figure, pareto_figure):
        text = words(draw(apart))
        assert "b = 0.03, 0.3 stand at ε = 15.3, 0.77 for median." in text
        assert "b = 0.03, 0.3 stand at ε = 7.65, 0.385 for mean." in text


def test_estimates_are_marked_and_bounds_are_not():
    assert "estimate" not in words(epsilon_figure(RUNS)).lower()
    estimates = RUNS["noise_scale"] == 0.3
    runs = RUNS.assign(is_upper_bound=~estimates, accountant_used=np.where(estimates, "gdp", "pld"))
    figure = epsilon_figure(runs)
    marked = [text for text in panel_of(figure, "heterogeneity 0, clean").texts if text.get_text()]
    assert [text.get_text() for text in marked] == ["~", "~"]
    assert [text.xy[0] for text in marked] == [0.77, 0.77]
    assert "gdp (~ ESTIMATE, may be too small)" in words(figure)
    assert "ε = ~0.77" in words(heatmap_figure(runs))
    assert "~" in words(pareto_figure(runs))


def test_front_is_what_nobody_beats():
    draw = np.random.default_rng(0)
    points = pd.DataFrame(draw.integers(0, 4, (60, 3)), columns=["epsilon", "clean", "mean"])
    for place, is_best in front(points).items():
        mine = points.loc[place]
        beaten = any(
            other["epsilon"] <= mine["epsilon"]
            and other["clean"] >= mine["clean"]
            and other["mean"] >= mine["mean"]
            and not other.equals(mine)
            for _, other in points.iterrows()
        )
        assert is_best != beaten


def test_pareto_draws_every_setting_and_fades_the_beaten():
    panel = panel_of(pareto_figure(RUNS), "heterogeneity 0, f = 2")
    shown = {}
    for line in drawn_lines(panel):
        if line.get_marker() in ("o", "s") and line.get_markerfacecolor() != LIGHT.paper:
            shown[round(float(line.get_ydata()[0]), 9)] = line.get_alpha()
    found = {}
    for method, b in product(["median", "mean"], EPSILON.keys() - {0.1}):
        fields = {"aggregator": method, "heterogeneity": 0.0, "noise_scale": b}
        found[method, b] = (EPSILON[b], *(expected(RUNS, f, **fields)[0] for f in (0, 2)))
    for epsilon, clean, worst in found.values():
        beaten = any(
            e <= epsilon and c >= clean and w >= worst and (e, c, w) != (epsilon, clean, worst)
            for e, c, w in found.values()
        )
        assert (shown.pop(round(worst, 9)) < 1) == beaten
    assert not shown


def test_pareto_joins_the_best_within_a_budget():
    panel = panel_of(pareto_figure(RUNS), "heterogeneity 0, f = 4")
    steps = next(line for line in panel.lines if line.get_drawstyle() == "steps-post")
    best, worst = [], -1.0
    for b in (0.3, 0.03, 0.0):
        for method in ("median", "mean"):
            fields = {"aggregator": method, "heterogeneity": 0.0, "noise_scale": b}
            worst = max(worst, expected(RUNS, 4, **fields)[0])
        best.append(worst)
    drawn = steps.get_ydata()
    assert drawn[-1] == pytest.approx(best[-1])
    assert set(np.round(drawn, 9)) <= set(np.round(best, 9))


@pytest.mark.parametrize("draw", [epsilon_figure, pareto_figure])
def test_a_panel_without_points_says_why(draw):
    is_cell = (RUNS["byzantine"] == 4) & (RUNS["heterogeneity"] == 1.0)
    failed = RUNS.assign(
        accuracy=RUNS["accuracy"].mask(is_cell), failure=RUNS["failure"].mask(is_cell, "no memory")
    )
    for runs, why in ((RUNS[~is_cell], "not run"), (failed, "no result")):
        said = [[text.get_text() for text in panel.texts] for panel in draw(runs).axes]
        assert [texts for texts in said if texts] == [[why]]
        assert said[-1] == [why]  # below and right: heterogeneity 1, f = 4


def test_pareto_compares_only_what_it_draws():
    """A setting that is left out beats nothing."""
    runs = grid(byzantine=[0, 1, 2, 3, 4, 5], heterogeneity=[0.0], seed=[0], clip_norm=CLIPS)
    last = (runs["aggregator"] == "mean") & (runs["clip_norm"] > 3)
    fewer = runs[~last & (runs["byzantine"] < 5)]
    figures = [
        pareto_figure(part)
        for part in (runs.assign(accuracy=runs["accuracy"].mask(last, 1.0)), fewer)
    ]
    drawn = [
        [
            (line.get_alpha(), *line.get_ydata())
            for axes in figure.axes
            for line in drawn_lines(axes)
        ]
        for figure in figures
    ]
    assert drawn[0] == drawn[1]
    assert "Left out: 1 of 5 values of f and 2 of 10 methods" in words(figures[0])
