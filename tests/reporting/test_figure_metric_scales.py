"""Metrics other than accuracy: axes and colours of what spans decades, and what has no value."""

import math

import numpy as np
import pytest
from made_runs import RUNS, drawn_lines, unreadable, words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, SymLogNorm

from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.metric_scales import colors_of, show_metric

IS_MEAN = RUNS["aggregator"] == "mean"
HUGE = 1.5e6 + 3e4 * RUNS["seed"].astype(int)


def with_loss(loss):
    return RUNS.assign(train_loss=RUNS["accuracy"].mask(IS_MEAN, loss), final_loss=0.1)


def ticks(figure):
    FigureCanvasAgg(figure).draw()
    return [label.get_text() for label in figure.axes[0].get_yticklabels() if label.get_text()]


def test_one_rule_that_blows_up_leaves_the_others_apart():
    panel = epsilon_figure(with_loss(HUGE), "train_loss").axes[0]
    assert panel.get_yscale() == "log"
    low, high = panel.get_ylim()
    shown = [y for line in drawn_lines(panel) for y in line.get_ydata()]
    assert low <= min(shown)
    assert high >= max(shown) > 1.5e6
    height = panel.transAxes.inverted().transform(panel.transData.transform([[1, 0.2], [1, 0.8]]))
    assert height[1, 1] - height[0, 1] > 0.05  # on a linear axis 4e-7
    assert epsilon_figure(with_loss(2.0), "train_loss").axes[0].get_yscale() == "linear"
    assert epsilon_figure(with_loss(HUGE), "loss_gap").axes[0].get_yscale() == "symlog"


def test_ticks_are_whole_numbers_without_a_power_in_the_corner():
    runs = RUNS.assign(train_loss=HUGE)
    for figure in (epsilon_figure(runs, "train_loss"), epsilon_figure(with_loss(HUGE), "loss_gap")):
        labels = [float(text) for text in ticks(figure)]
        assert max(map(abs, labels)) >= 1e6
        assert not figure.axes[0].yaxis.get_offset_text().get_text()


def test_colours_follow_logarithms_over_decades():
    wide = colors_of("train_loss", [0.5, 0.7, 1.5e6])
    assert isinstance(wide.norm, LogNorm)
    assert wide.norm(0.7) - wide.norm(0.5) > 0.02
    signed = colors_of("loss_gap", [-0.5, 0.7, -1.5e6])
    assert isinstance(signed.norm, SymLogNorm)
    for linear in ([0.5, 0.7], [0.5], [math.nan], [], [0.0, 0.0], [-1.0, 0.0, 1.0]):
        mapped = colors_of("train_loss", linear)
        assert type(mapped.norm).__name__ == "Normalize"
        assert np.isfinite(mapped.to_rgba(0.5)).all()
    share = colors_of("calibration_error", [0.0001, 0.5])
    assert (share.norm.vmin, share.norm.vmax) == pytest.approx((0.01, 50))


@pytest.mark.parametrize(
    "means", [[], [math.nan], [math.inf, 1.0], [0.0], [0.0, 1e300], [5e-324, 1]]
)
@pytest.mark.filterwarnings("error")
def test_whatever_means_are_an_axis_is_made(means):
    figure = epsilon_figure(RUNS)
    show_metric(figure.axes[0], "train_loss", means)
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_huge_numbers_fit_their_cells():
    figure = heatmap_figure(with_loss(HUGE), metric="train_loss")
    texts = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert any(text.replace("\n", " ") == "1.53e6 ± 0.07e6" for text in texts)  # SciPy: 74524
    assert max(len(line) for text in texts for line in text.split("\n")) < 16
    assert not unreadable(figure)


def test_a_rule_without_any_value_is_named():
    runs = RUNS.assign(error=RUNS["error"].mask(IS_MEAN))
    for figure in (epsilon_figure(runs, "error"), heatmap_figure(runs, metric="error")):
        assert "No value for mean." in words(figure)
    assert "No value" not in words(epsilon_figure(RUNS, "error"))
