"""Which settings make the front: those that may be compared, learnt something, and are whole."""

import numpy as np
import pytest
from made_runs import EPSILON, RUNS, drawn_lines, grid, panel_of, words

from privrobust.reporting.figures import DARK, LIGHT, painted
from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.reporting.figures.themes import faded

MEDIAN, MEAN = "os"


def sweep(median, mean, **axes):
    """Two rules at two budgets: accuracies of each, clean and under attack, by seed alike."""
    runs = grid(**{"heterogeneity": [0.0], "byzantine": [0, 2], "noise_scale": [0.03, 0.3]} | axes)
    found = {"median": median, "mean": mean}
    accuracy = [
        found[rule][f > 0] + (seed - 1) / 1000
        for rule, f, seed in zip(runs["aggregator"], runs["byzantine"], runs["seed"], strict=True)
    ]
    return runs.assign(accuracy=accuracy, chance=0.1)


def full(figure, title="f = 2"):
    """Markers in full colour, those of the front, each with its epsilon and worst case."""
    return {
        (line.get_marker(), float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 3))
        for line in drawn_lines(panel_of(figure, title))
        if line.get_marker() in (MEDIAN, MEAN)
        and line.get_color() in LIGHT.lines
        and line.get_markerfacecolor() != LIGHT.paper
    }


def steps(figure):
    return [
        line
        for panel in figure.axes
        for line in panel.lines
        if line.get_drawstyle() == "steps-post"
    ]


def test_who_faced_fewer_attacks_is_on_no_front_and_beats_nobody():
    runs = sweep((0.9, 0.8), (0.9, 0.5))
    assert full(pareto_figure(runs)) == {(MEDIAN, 0.77, 0.8)}
    spared = (runs["aggregator"] == "median") & (runs["attack"] == "alie")
    figure = pareto_figure(runs[~spared])
    assert full(figure) == {(MEAN, 0.77, 0.5)}
    assert {tuple(line.get_ydata()) for line in steps(figure)} == {(0.5, 0.5), (0.9, 0.9)}
    assert "Not compared, and faded, of 4 points: fewer attacks than others (‡) (2)." in words(
        figure
    )


@pytest.mark.parametrize(
    ("field", "other"),
    [("dataset", "spam"), ("delta", 1e-7), ("unit", "worker"), ("model", "mlp"), ("steps", 7)],
)
def test_what_differs_in_more_than_rule_and_budget_shares_no_front(field, other):
    runs = sweep((0.9, 0.8), (0.8, 0.5))
    apart = runs[field].mask(runs["aggregator"] == "mean", other)
    figure = pareto_figure(runs.assign(**{field: apart}))
    assert full(figure) == {(MEDIAN, 0.77, 0.8), (MEAN, 0.77, 0.5)}
    assert not steps(figure)
    text = words(figure)
    assert "are not compared, and no steps join them" in text
    assert "best worst case" not in text
    budget = runs["clip_norm"].mask(runs["aggregator"] == "mean", 2.0)
    for compared in (runs, runs.assign(clip_norm=budget)):
        figure = pareto_figure(compared)
        assert full(figure) == {(MEDIAN, 0.77, 0.8)}
        assert len(steps(figure)) == 2
        assert "not compared" not in words(figure).lower()


def test_what_learnt_nothing_makes_no_front():
    figure = pareto_figure(sweep((0.9, 0.101), (0.8, 0.3)))
    assert full(figure) == {(MEAN, 0.77, 0.3)}
    assert "clean or under attack not clearly above chance (2)" in words(figure)
    for accuracies in ((0.9, 0.1), (0.1, 0.1)):
        figure = pareto_figure(sweep(accuracies, accuracies))
        assert not full(figure)
        assert not steps(figure)
        assert "best worst case" not in words(figure)
    unknown = sweep((0.9, 0.1), (0.8, 0.1)).assign(chance=np.nan)
    assert full(pareto_figure(unknown)) == {(MEDIAN, 0.77, 0.1)}


def test_a_worst_case_stays_where_clean_runs_failed():
    runs = sweep((0.9, 0.6), (0.9, 0.8))
    lost = (runs["aggregator"] == "mean") & (runs["byzantine"] == 0) & (runs["noise_scale"] == 0.3)
    failed = runs.assign(
        accuracy=runs["accuracy"].mask(lost), failure=runs["failure"].mask(lost, "no memory")
    )
    figure = pareto_figure(failed)
    panel = panel_of(figure, "f = 2")
    there = [line for line in drawn_lines(panel) if line.get_marker() == MEAN]
    at = sorted(
        (float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 3)) for line in there
    )
    assert at == [(0.77, 0.8), (15.3, 0.8), (15.3, 0.9)]
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_color()) for line in crosses] == [(0.77, LIGHT.lines[1])]
    assert full(figure) == {(MEDIAN, 0.77, 0.6), (MEAN, 15.3, 0.8)}
    assert "Not compared, and faded, of 4 points: no clean accuracy (1)." in words(figure)
    assert "no clean accuracy (1)" in words(pareto_figure(runs[~lost]))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_faded_colours_lie_between_line_and_paper_and_differ(theme):
    with painted(theme):
        mixed = [faded(color) for color in theme.lines]
    assert len(set(mixed)) == len(mixed)
    for pale, color in zip(mixed, theme.lines, strict=True):
        for at in (1, 3, 5):
            ends = [int(end[at : at + 2], 16) for end in (color, theme.paper)]
            assert min(ends) <= int(pale[at : at + 2], 16) <= max(ends)
        assert pale not in (color, theme.paper)


def test_nothing_of_a_crowd_is_transparent():
    crowd = RUNS.assign(epsilon=EPSILON[0.3], accuracy=0.5 + RUNS["byzantine"].astype(int) / 100)
    for panel in pareto_figure(crowd).axes:
        assert all(line.get_alpha() is None for line in panel.lines)
        assert all(bar.get_alpha() is None for bar in panel.collections)
