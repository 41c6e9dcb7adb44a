"""Worst cases by f and heterogeneity: numbers, colours, hatches."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_runs import RUNS, expected, grid, with_failure, words
from matplotlib.colors import to_rgba

from privrobust.reporting.figures.heatmap import heatmap_figure


def test_a_heatmap_tells_the_epsilon_of_each_method_where_they_differ_at_one_b():
    shared = heatmap_figure(RUNS, noise_scale=0.03)
    titles = {axes.get_title() for axes in shared.axes}
    assert {"median", "mean"} <= titles
    assert "ε = " in words(shared)
    half = RUNS["epsilon"].where(RUNS["aggregator"] == "median", RUNS["epsilon"] / 2)
    apart = [axes.get_title() for axes in heatmap_figure(RUNS.assign(epsilon=half)).axes]
    told = [title for title in apart if "ε = " in title]
    assert len(set(told)) == len(told) == 4  # two methods at two b with noise
    assert {"median", "mean"} <= set(apart)  # and at b = 0, where none is private


def test_heatmap_cells_are_worst_cases_in_percent():
    figure = heatmap_figure(RUNS, noise_scale=0.03)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["median", "mean"]
    for panel in panels:
        shown = {text.get_position(): text.get_text() for text in panel.texts}
        fs = [int(label.get_text()) for label in figure.axes[0].get_yticklabels()]
        for (column, share), (place, f) in product(enumerate([0.0, 1.0]), enumerate(fs)):
            mean, half = expected(
                RUNS, f, aggregator=panel.get_title(), heterogeneity=share, noise_scale=0.03
            )
            texts = shown[column, place].split(" ± ")
            for text, value in zip(texts, (mean, half), strict=True):
                last = 10.0 ** -len(text.partition(".")[2])
                assert float(text) == pytest.approx(100 * value, abs=0.5 * last + 1e-9)


def test_heatmap_rounds_by_the_interval():
    runs = grid(aggregator=["median"], heterogeneity=[0.0], noise_scale=[0.3], byzantine=[0])
    runs = runs[runs["attack"].isna() | (runs["attack"] == "alie")]
    for away, said in ((0.001, "50.0 ± 0.2"), (0.005, "50.0 ± 1.2"), (0.1, "50 ± 25")):
        figure = heatmap_figure(runs.assign(accuracy=0.5 + away * (runs["seed"].astype(int) - 1)))
        assert [text.get_text() for text in figure.axes[0].texts] == [said]


def test_heatmap_numbers_can_be_read_on_their_colors():
    def luminance(color):
        linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04 else c / 12.92 for c in color[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for panel in heatmap_figure(RUNS).axes[:-1]:
        squares = panel.patches[1:]
        assert len(squares) == len(panel.texts)
        for square, text in zip(squares, panel.texts, strict=True):
            levels = sorted(
                (luminance(square.get_facecolor()), luminance(to_rgba(text.get_color())))
            )
            assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.5  # WCAG 2, level AA


def test_heatmap_hatches_what_was_not_run_and_names_what_failed():
    is_cell = (RUNS["byzantine"] == 2) & (RUNS["heterogeneity"] == 1.0)
    lost = RUNS[~(is_cell & (RUNS["noise_scale"] == 0.03))].copy()
    failed = lost.index[(lost["byzantine"] == 4) & (lost["attack"] == "alie")][0]
    lost = with_failure(lost, failed)
    panels = [axes for axes in heatmap_figure(lost, noise_scale=0.03).axes if axes.get_title()]
    assert all(panel.patches[0].get_hatch() for panel in panels)
    assert [(1, 1) in {t.get_position() for t in panel.texts} for panel in panels] == [False, False]
    text = words(heatmap_figure(lost))
    assert " failed " in text
    assert "Hatched: not run." in text
    assert "Failed: 1 of 34 cells have no mean" in text
    assert "Hatched" not in words(heatmap_figure(RUNS))


def test_partitions_other_than_by_similarity_are_columns_by_name():
    runs = pd.concat(
        [grid(heterogeneity=[0.0]), grid(heterogeneity=[0.0], partition=["labels(k=1)"])]
    )
    labels = [label.get_text() for label in heatmap_figure(runs).axes[-2].get_xticklabels()]
    assert labels == ["heterogeneity 0", "labels(k=1)"]
