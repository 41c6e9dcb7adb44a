"""Accuracy against epsilon, and what nobody beats: numbers, edges, marks."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_runs import CLIPS, EPSILON, RUNS, expected, grid, panel_of, words
from matplotlib.collections import PolyCollection

from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.pareto import front, pareto_figure


@pytest.mark.parametrize(("title", "f"), [("clean", 0), ("worst case, f = 4", 4)])
@pytest.mark.parametrize(("data", "heterogeneity"), [("iid", 0.0), ("heterogeneity 1", 1.0)])
def test_epsilon_draws_means_and_student_bands(title, f, data, heterogeneity):
    panel = panel_of(epsilon_figure(RUNS), f"{data}, {title}")
    lines = [line for line in panel.lines if len(line.get_xdata()) == 2]
    bands = [part for part in panel.collections if isinstance(part, PolyCollection)]
    for method, line, band in zip(["median", "mean"], lines, bands, strict=True):
        wanted = [
            expected(RUNS, f, aggregator=method, heterogeneity=heterogeneity, noise_scale=b)
            for b in (0.3, 0.03)  # by rising epsilon
        ]
        np.testing.assert_allclose(line.get_xdata(), [0.77, 15.3])
        np.testing.assert_allclose(line.get_ydata(), [mean for mean, _ in wanted])
        vertices = band.get_paths()[0].vertices
        for x, (mean, half) in zip([0.77, 15.3], wanted, strict=True):
            edges = vertices[np.isclose(vertices[:, 0], x), 1]
            np.testing.assert_allclose([edges.min(), edges.max()], [mean - half, mean + half])


def test_what_is_not_private_stands_at_the_right_edge_with_its_value():
    figure = epsilon_figure(RUNS)
    panel = panel_of(figure, "heterogeneity 1, clean")
    labels = [label.get_text() for label in panel.get_xticklabels()]
    ticks = dict(zip(labels, panel.get_xticks(), strict=True))
    place = ticks["not\nprivate"]
    assert place > 15.3
    assert max(ticks.values()) == place
    shown = [line.get_ydata()[0] for line in panel.lines if line.get_xdata()[0] > 16]
    wanted = [
        expected(RUNS, 0, aggregator=method, heterogeneity=1.0, noise_scale=0.0)[0]
        for method in ("median", "mean")
    ]
    np.testing.assert_allclose(shown, wanted)


def test_the_axis_of_b_is_there_where_b_and_epsilon_decide_each_other():
    def axis_of_b(runs):
        top = panel_of(epsilon_figure(runs), "iid, clean").child_axes
        return [label.get_text() for label in top[0].get_xticklabels()] if top else None

    assert axis_of_b(RUNS) == ["0.3", "0.03", "0"]
    two_norms = pd.concat([RUNS, grid(clip_norm=[2.0]).assign(epsilon=lambda t: t["epsilon"] * 2)])
    assert axis_of_b(two_norms) is None


def test_estimates_are_marked_and_bounds_are_not():
    assert "estimate" not in words(epsilon_figure(RUNS)).lower()
    estimates = RUNS["noise_scale"] == 0.3
    runs = RUNS.assign(is_upper_bound=~estimates, accountant_used=np.where(estimates, "gdp", "pld"))
    figure = epsilon_figure(runs)
    crosses = [line for line in panel_of(figure, "iid, clean").lines if line.get_marker() == "x"]
    np.testing.assert_allclose([float(line.get_xdata()[0]) for line in crosses], [0.77, 0.77])
    assert "gdp (ESTIMATE, may be too small)" in words(figure)
    for other in (heatmap_figure, pareto_figure):
        assert "estimate" in words(other(runs))


def test_front_is_what_nobody_beats():
    draw = np.random.default_rng(0)
    points = pd.DataFrame(draw.integers(0, 4, (60, 3)), columns=["epsilon", "clean", "accuracy"])
    for place, is_best in front(points).items():
        mine = points.loc[place]
        beaten = any(
            other["epsilon"] <= mine["epsilon"]
            and other["clean"] >= mine["clean"]
            and other["accuracy"] >= mine["accuracy"]
            and not other.equals(mine)
            for _, other in points.iterrows()
        )
        assert is_best != beaten


def test_pareto_draws_every_setting_and_fades_the_beaten():
    panel = panel_of(pareto_figure(RUNS), "iid, f = 2")
    shown = {}
    for line in panel.lines:
        if line.get_marker() in ("o", "s") and line.get_markerfacecolor() != "white":
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
    panel = panel_of(pareto_figure(RUNS), "iid, f = 4")
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
        [(line.get_alpha(), *line.get_ydata()) for axes in figure.axes for line in axes.lines]
        for figure in figures
    ]
    assert drawn[0] == drawn[1]
    assert "Left out: 1 of 5 values of f and 2 of 10 methods" in words(figures[0])
