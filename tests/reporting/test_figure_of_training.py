"""Curves over steps, and the learning rates that were best."""

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import drawn_lines, panel_of, tuned, with_failure, words
from matplotlib.collections import PolyCollection
from scipy import stats

from privrobust.errors import SpecError
from privrobust.reporting.figures import LIGHT
from privrobust.reporting.figures.curves import curves_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.store import Store


@pytest.mark.parametrize("measure", ["accuracy", "loss", "median_mean_gap"])
def test_curves_draw_means_and_bands_over_seeds(trained, measure):
    with Store(trained) as store:
        runs = store.runs()
        histories = {key: store.history(key) for key in runs.index}
        figure = curves_figure(runs, store.histories(list(runs.index)), measure)
    panel = panel_of(figure, "heterogeneity 0, alie, f = 2")
    bands = [part for part in panel.collections if isinstance(part, PolyCollection)]
    settings = runs[runs["byzantine"] == 2].groupby(["aggregator", "noise_scale"], sort=False)
    for (_, part), line, band in zip(settings, drawn_lines(panel)[::2], bands, strict=True):
        values = np.array([histories[key][measure] for key in part.index])
        np.testing.assert_array_equal(line.get_xdata(), [4, 8, 12])
        np.testing.assert_allclose(line.get_ydata(), values.mean(0))
        low, high = stats.t.interval(0.95, 2, values.mean(0), stats.sem(values))
        vertices = band.get_paths()[0].vertices
        for place, x in enumerate([4, 8, 12]):
            edges = vertices[vertices[:, 0] == x, 1]
            np.testing.assert_allclose([edges.min(), edges.max()], [low[place], high[place]])


def test_a_curve_is_interrupted_where_a_seed_diverged(trained):
    with Store(trained) as store:
        runs = store.runs()
        histories = store.histories(list(runs.index))
    one = runs.index[(runs["aggregator"] == "median") & (runs["byzantine"] == 0)][0]
    histories.loc[(histories["run"] == one) & (histories["step"] == 8), "loss"] = math.inf
    figure = curves_figure(runs, histories, "loss")
    assert np.isnan(panel_of(figure, "heterogeneity 0, clean").lines[0].get_ydata()).tolist() == [
        False,
        True,
        False,
    ]
    assert "interrupted" in words(figure)


def test_histories_are_those_of_each_run(trained):
    with Store(trained) as store:
        keys = list(store.runs().index)
        together = store.histories([*keys[:3], "nobody"])
        assert set(together["run"]) == set(keys[:3])
        for key in keys[:3]:
            mine = together[together["run"] == key].drop(columns="run").reset_index(drop=True)
            pd.testing.assert_frame_equal(mine, store.history(key), check_dtype=False)
        assert store.histories([]).empty


def test_best_rates_are_those_of_validation_and_edges_are_marked():
    figure = learning_rate_figure(tuned())
    panel = figure.axes[0]
    joined, at_zero, at_noise = drawn_lines(panel)
    np.testing.assert_allclose(joined.get_ydata(), [1.0, 0.3])
    open_or_not = [mark.get_markerfacecolor() == LIGHT.paper for mark in (at_zero, at_noise)]
    assert open_or_not == [True, False]
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert labels[-1] == "0"
    text = words(figure)
    assert "validation data" in text
    assert "no ε here counts" in text


def test_a_rate_that_lacks_an_attack_or_failed_is_not_best():
    runs = tuned()
    noisy = (runs["noise_scale"] == 0.1) & (runs["learning_rate"] == 0.3)
    lacking = runs[~(noisy & (runs["attack"] == "sign_flip"))]
    text = words(learning_rate_figure(lacking))
    assert "1 rates that lack" in text
    failing = with_failure(runs, runs.index[noisy][0])
    for changed in (lacking, failing):
        assert learning_rate_figure(changed).axes[0].lines[0].get_ydata()[1] != pytest.approx(0.3)


def test_a_target_that_took_several_b_is_not_left_out_in_silence():
    runs = tuned()
    aimed = runs["noise_scale"] == 0.1
    several = runs["noise_scale"].mask(aimed, 0.1 + runs["byzantine"] / 100)
    runs = runs.assign(noise_scale=several, target_epsilon=np.where(aimed, 2.74, np.nan))
    with pytest.raises(SpecError, match="some target_epsilon took several b"):
        learning_rate_figure(runs)
