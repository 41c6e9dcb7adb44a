"""What a machine can tell of how figures look: words on the canvas and apart, colours that show."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import (
    RUNS,
    bars_of,
    drawn_lines,
    drawn_words,
    grid,
    panel_of,
    tuned,
    unreadable,
    with_failure,
    words,
)

from privrobust.data import Dataset
from privrobust.errors import SpecError
from privrobust.reporting.figures import DARK, LIGHT, painted
from privrobust.reporting.figures.bias_variance import bias_variance_figure
from privrobust.reporting.figures.canvas import NARROW, WIDE
from privrobust.reporting.figures.curves import curves_figure
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.figures.lettering import filled, telling, width_of, wrapped
from privrobust.reporting.figures.panels import Place
from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.reporting.figures.partitions import partition_figure
from privrobust.reporting.figures.scales import Scale, bracket

_RULES = [
    "median", "mean", "majority_vote", "trimmed_mean", "geometric_median", "krum",
    "multi_krum(best_of=3)", "nnm + trimmed_mean", "nnm + centred_clipping(radius=1.0)",
    "bucketing(s=2) + geometric_median", "arc + mean", "centred_clipping(radius=0.001)",
]  # fmt: skip
_FILES = [
    f"table(path=/data/projects/hospital/federation/{name}/patients_2021.csv, label=outcome)"
    for name in ("north", "south", "west_and_the_islands")
]


def _of_files():
    parts = [grid(heterogeneity=[0.0], byzantine=[0, 2], attack=["alie"]) for _ in _FILES]
    parts = [part.assign(dataset=name) for part, name in zip(parts, _FILES, strict=True)]
    return pd.concat(parts).set_axis([f"{at:032d}" for at in range(sum(map(len, parts)))])


STORES = {
    "usual": RUNS,
    "one seed": RUNS[RUNS["seed"] == 0],
    "one epsilon": RUNS[RUNS["noise_scale"] == 0.3],
    "not private": RUNS[RUNS["noise_scale"] == 0],
    "narrow": RUNS[RUNS["byzantine"] == 0],
    "four beside each other": grid(byzantine=[0, 2, 4, 6], heterogeneity=[0.5, 0.25]),
    "twelve rules": grid(
        aggregator=_RULES, heterogeneity=[0.0], noise_scale=[0.0, 0.3], byzantine=[0, 2],
        attack=["alie"], seed=[0, 1],
    ),
    "files": _of_files(),
    "diverged, and some failed": with_failure(
        RUNS.assign(diverged=RUNS["seed"] == 0), RUNS.index[0]
    ),
}  # fmt: skip


def _histories(runs):
    finished = runs[runs["failure"].isna()]
    return pd.concat(
        pd.DataFrame({"run": finished.index, "step": step, "accuracy": finished["accuracy"]})
        for step in (10, 20, 30)
    )


_DRAWN = {
    "epsilon": [*STORES],
    "heatmap": ["usual", "twelve rules", "files", "diverged, and some failed"],
    "pareto": ["four beside each other", "twelve rules", "files"],
    "curves": ["one epsilon", "twelve rules", "diverged, and some failed"],
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in _DRAWN for name in _DRAWN[kind]]
)
def test_words_are_on_the_canvas_and_apart(kind, name):
    runs = STORES[name]
    draw = {
        "epsilon": epsilon_figure,
        "heatmap": heatmap_figure,
        "pareto": pareto_figure,
        "curves": lambda runs: curves_figure(runs, _histories(runs)),
    }
    figure = draw[kind](runs)
    assert figure.get_figwidth() in (NARROW, WIDE)
    assert not unreadable(figure)


def test_words_of_the_other_kinds_are_on_the_canvas_and_apart():
    assert not unreadable(learning_rate_figure(tuned()))
    assert not unreadable(bias_variance_figure(draws=100))
    data = Dataset.from_tensors(_FILES[0], torch.zeros(90, 1), torch.arange(90) % 3)
    for partitions in (["iid"], ["iid", "labels(k=1)", "dirichlet(alpha=2.0)"]):
        assert not unreadable(partition_figure(data, partitions, 5))


def test_names_of_files_are_told_apart_and_said_in_full():
    figure = epsilon_figure(STORES["files"])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(names)) == len(names) == 6
    for name in ("north", "south", "west_and_the_islands"):
        assert sum(f"/{name}/" in each for each in names) == 2
    text = words(figure)
    assert all(name in text for name in _FILES)


# --- lines, bars and marks -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["usual", "one epsilon", "not private", "twelve rules"])
def test_nothing_stands_beside_its_epsilon_and_every_mean_has_its_bar(name):
    runs = STORES[name]
    true = {value for value in runs["epsilon"] if value < np.inf}
    for draw in (epsilon_figure, pareto_figure):
        for panel in draw(runs).axes:
            bars = {(round(x, 9), round((low + high) / 2, 6)) for x, low, high in _all_bars(panel)}
            for line in drawn_lines(panel):
                if line.get_marker() == "None":
                    continue  # of the front
                for x, mean in zip(line.get_xdata(), line.get_ydata(), strict=True):
                    assert (round(x, 9), round(mean, 6)) in bars
                    assert x in true or x > max(true, default=0)  # in the place apart


def _all_bars(panel):
    return np.concatenate(bars_of(panel))


def test_what_failed_has_a_cross_at_its_epsilon_and_no_mean():
    is_it = (RUNS["aggregator"] == "mean") & (RUNS["noise_scale"] == 0.03)
    is_it &= (RUNS["byzantine"] == 4) & (RUNS["heterogeneity"] == 0)
    failed = with_failure(RUNS, RUNS.index[is_it][0])
    for draw in (epsilon_figure, pareto_figure):
        panel = next(each for each in draw(failed).axes if "f = 4" in each.get_title())
        crosses = [line for line in panel.lines if line.get_marker() == "x"]
        assert [float(np.ravel(line.get_xdata())[0]) for line in crosses] == [15.3]
    histories = _histories(failed)
    text = words(curves_figure(failed[failed["byzantine"].isin([0, 4])], histories))
    assert "have no mean, as runs of theirs failed" in text
    assert "failed, no mean" in text


def test_a_curve_of_one_point_has_a_bar_and_a_diverged_one_its_mark():
    runs = RUNS.assign(diverged=RUNS["aggregator"] == "mean")
    histories = pd.DataFrame({"run": runs.index, "step": 10, "accuracy": runs["accuracy"]})
    panel = panel_of(curves_figure(runs, histories), "heterogeneity 0, clean")
    assert len(_all_bars(panel)) == 6  # two rules at three b
    assert [text.get_text() for text in panel.texts].count("†") == 3


def test_a_measure_that_no_run_has_names_those_that_there_are():
    histories = _histories(RUNS).assign(attack_success_rate=np.nan, loss=1.0)
    with pytest.raises(
        SpecError,
        match=r"^measure: no run has recorded 'attack_success_rate'; accepted: accuracy, loss$",
    ):
        curves_figure(RUNS, histories, "attack_success_rate")


@pytest.mark.parametrize("draw", [epsilon_figure, heatmap_figure])
def test_other_metrics_are_drawn_with_their_own_worst_case(draw):
    runs = RUNS.assign(worst_class_accuracy=RUNS["accuracy"] / 2, final_loss=RUNS["accuracy"] * 7)
    figure = draw(runs, metric="worst_class_accuracy")
    assert "Accuracy in % on the worst class of test data" in words(figure)
    assert "worst class in %" in [panel.get_ylabel() for panel in figure.axes]
    if draw is heatmap_figure:
        numbers = [
            [float(text.get_text().split(" ")[0]) for text in panel.texts]
            for panel in (figure.axes[0], draw(runs).axes[0])
        ]
        np.testing.assert_allclose(numbers[0], np.array(numbers[1]) / 2, atol=1)
    losses = draw(runs, metric="final_loss")
    assert "loss" in [panel.get_ylabel() for panel in losses.axes]
    with pytest.raises(SpecError, match=r"^metric: unknown name 'worst_class'"):
        draw(runs, metric="worst_class")
    with pytest.raises(SpecError, match=r"^metric: no run has 'train_loss'; accepted: accuracy, "):
        draw(runs.assign(train_loss=None), metric="train_loss")


# --- colours ---------------------------------------------------------------------------------


def _linear(color):
    parts = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _contrast(one, other):
    """WCAG 2's."""
    levels = sorted(float(_linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_lines_stand_out_from_the_paper(theme):
    for behind in (theme.paper, theme.shade):
        for ink in (theme.ink, theme.pale, theme.alarm):
            assert _contrast(ink, behind) >= 4.5  # of text, level AA
    assert all(_contrast(color, theme.paper) >= 3 for color in theme.lines)  # of graphics


# Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
_BLIND = [
    [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
    [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
    [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900],
]  # fmt: skip


def _lab(linear):
    """CIE 1976 L*a*b* under D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_differ_for_every_eye(theme):
    for sight in (np.eye(3), *np.reshape(_BLIND, (3, 3, 3))):
        seen = [_lab(np.clip(sight @ _linear(color), 0, 1)) for color in theme.lines]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 8  # 2.3 just shows


def test_dark_figures_have_nothing_black_and_leave_the_next_light():
    few = RUNS[RUNS["heterogeneity"] == 0]
    with painted(DARK):
        figures = [draw(few) for draw in (epsilon_figure, heatmap_figure, pareto_figure)]
        figures.append(bias_variance_figure(draws=100))
    for figure in figures:
        assert figure.get_facecolor() == pytest.approx((*_rgb(DARK.paper), 1))
        on_paper = [text for text, _ in drawn_words(figure) if text.get_bbox_patch() is None]
        inks = {text.get_color() for text in on_paper if text.get_text()[0].isalpha()}
        assert inks <= {DARK.ink, DARK.pale}
    assert epsilon_figure(few).get_facecolor() == pytest.approx((1, 1, 1, 1))


def _rgb(color):
    return tuple(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))


# --- words and ticks -------------------------------------------------------------------------


def test_text_is_broken_between_words_and_never_in_a_parameter():
    text = "bucketing(s=2) + centred_clipping(radius=0.1, rounds=3) + geometric_median"
    for inches in (1.0, 2.2, 3.0, 9.0):
        lines = wrapped(text, inches, 7.5).split("\n")
        assert all(width_of(line, 7.5) <= inches for line in lines)
        assert all(line.count("(") == line.count(")") or "…" in line for line in lines)
    assert wrapped("geometric_median", 0.7, 7.5) == "geometric_\nmedian"
    assert wrapped(text, 99, 7.5) == text
    small = filled(f"{_FILES[2]} and more", 2.0, 6.0)
    assert "".join(small.split()) == "".join(f"{_FILES[2]} and more".split())
    assert all(width_of(line, 6.0) <= 2.0 for line in small.split("\n"))


def test_short_names_differ_however_long_they_are():
    names = [f"{'a' * 40}{at}{'b' * 40}" for at in range(12)]
    short = telling(names, 20)
    assert len(set(short.values())) == 12
    assert telling(["mean", "median"], 20) == {"mean": "mean", "median": "median"}


@pytest.mark.parametrize("most", [2, 3, 4, 6])
def test_round_ticks_enclose_every_range(most):
    draw = np.random.default_rng(0)
    for _ in range(300):
        low, high = np.sort(10 ** draw.uniform(-8, 8, 2))
        ticks = bracket(low, high, most)
        assert ticks[0] <= low * 1.005
        assert ticks[-1] >= high / 1.005
        assert 2 <= len(ticks) <= max(3, most)


def test_only_what_is_apart_is_set_side_by_side():
    scale = Scale([0.5, 2.0, np.inf], np.inf, "apart", lines=5)
    places = [Place(index, 5) for index in range(5)]
    assert {scale.beside(0.5, place) for place in places} == {0.5}
    apart = [scale.beside(np.inf, place) for place in places]
    assert apart == sorted(set(apart))
    assert min(apart) > 2.0
