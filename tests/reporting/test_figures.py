import io
import math
import re
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image
from scipy import integrate, stats
from typer.testing import CliRunner

from privrobust import RunSpec, train
from privrobust.cli.main import app
from privrobust.errors import PrivRobustError, SpecError
from privrobust.reporting.figures import new_figure, save_figure
from privrobust.reporting.figures.bias_variance import bias_variance_figure, monte_carlo
from privrobust.reporting.figures.canvas import ENDINGS, NARROW, WIDE, looks
from privrobust.reporting.figures.curves import curves_figure
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.figures.pareto import front, pareto_figure
from privrobust.reporting.figures.scales import Scale
from privrobust.reporting.tables import chosen
from privrobust.store import Store
from privrobust.store.schema import cells

EPSILON = {0.0: math.inf, 0.03: 15.3, 0.1: 2.74, 0.3: 0.77}
OF_RUNS = [epsilon_figure, heatmap_figure, pareto_figure, learning_rate_figure]


def row(accuracy, **settings):
    """One as `Store.runs` gives it."""
    spec = RunSpec(**{"honest": 10, "clip_norm": 1.0, **settings})
    failed = accuracy is None
    return {
        **cells(spec),
        "status": "failed" if failed else "done",
        "accuracy": accuracy,
        "steps_taken": spec.steps,
        "kappa": None if failed else 0.5,
        "diverged": False,
        "failure": "no memory" if failed else None,
        "epsilon": EPSILON[spec.noise_scale],
        "accountant_used": "pld",
        "is_upper_bound": True,
        "not_private": None if spec.noise_scale else "no noise (b = 0)",
        "key": spec.key,
    }


def frame(rows):
    return (
        pd.DataFrame(rows).set_index("key").replace({None: np.nan}).astype(object).infer_objects()
    )


def grid(**replaced):
    """A sweep of made-up accuracies, no two alike."""
    axes = {
        "aggregator": ["median", "mean"],
        "heterogeneity": [0.0, 1.0],
        "noise_scale": [0.0, 0.03, 0.3],
        "byzantine": [0, 2, 4],
        "attack": ["sign_flip", "alie"],
        "seed": [0, 1, 2],
        **replaced,
    }
    draw = np.random.default_rng(3)
    specs = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    rows = {entry["key"]: entry for entry in (row(draw.uniform(), **spec) for spec in specs)}
    return frame(rows.values())


RUNS = grid()
CLIPS = [1, 2, 3, 4, 5]


def with_failure(runs, key):
    is_it = runs.index == key
    return runs.assign(
        accuracy=runs["accuracy"].mask(is_it), failure=runs["failure"].mask(is_it, "no memory")
    )


def expected(runs, byzantine, **fields):
    """Mean and interval over seeds, of the worst attack, by pandas and SciPy alone."""
    here = runs[(runs["byzantine"] == byzantine)]
    for field, value in fields.items():
        here = here[here[field] == value]
    by_attack = [part["accuracy"].astype(float) for _, part in here.groupby("attack", dropna=False)]
    worst = min(by_attack, key=lambda values: values.mean())
    low, high = stats.t.interval(0.95, len(worst) - 1, worst.mean(), stats.sem(worst))
    return worst.mean(), (high - low) / 2


def panel_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title().replace("\n", ", ") == title)


def words(figure):
    """All that is written in a figure, lines joined."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        file = io.StringIO()
        figure.savefig(file, format="svg")
    return " ".join(re.findall(r">([^<>]+)</t", file.getvalue()))


# --- numbers ---------------------------------------------------------------------------------


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


def colliding(figure):
    """Pairs of titles, or of labels along an axis, that overlap once drawn."""
    figure.canvas.draw()
    alike = [[axes.title for axes in figure.axes], *(a.get_xticklabels() for a in figure.axes)]
    return [
        (one.get_text(), other.get_text())
        for texts in alike
        for one, other in combinations(filter(Text.get_text, texts), 2)
        if one.get_window_extent().overlaps(other.get_window_extent())
    ]


def test_four_panels_beside_each_other_have_room_for_their_words(trained):
    eight = grid(byzantine=[0, 2, 4, 6], heterogeneity=[0.5, 0.25])
    assert not colliding(epsilon_figure(eight))
    assert not colliding(pareto_figure(grid(byzantine=[0, 2, 4, 6, 8])))
    rates = [
        grid(learning_rate=[rate], heterogeneity=[0.0, 0.25, 0.5, 1.0], noise_scale=[*EPSILON])
        for rate in (0.1, 0.3)
    ]
    wide = pd.concat(rates)
    wide["noise_scale"] = wide["noise_scale"].replace({0.03: 0.003})
    assert not colliding(learning_rate_figure(wide))
    with Store(trained) as store:
        runs, histories = store.runs(), store.histories(list(store.runs().index))
    attacks = runs.assign(
        attack=[None, "min_max(direction=unit)"] * (len(runs) // 2), heterogeneity=0.25
    )
    assert not colliding(curves_figure(attacks, histories))


def test_accuracy_is_in_percent_in_every_figure(trained):
    with Store(trained) as store:
        runs, histories = store.runs(), store.histories(list(store.runs().index))
    drawn = [epsilon_figure(RUNS), pareto_figure(RUNS), curves_figure(runs, histories)]
    for figure in drawn:
        figure.canvas.draw()
        for panel in figure.axes:
            assert panel.get_ylim() == (0, 1)
            for label in filter(Text.get_text, panel.get_yticklabels()):
                assert float(label.get_text()) == pytest.approx(100 * label.get_position()[1])
    for figure in (*drawn, heatmap_figure(RUNS)):
        assert "accuracy in %" in [panel.get_ylabel() for panel in figure.axes]
    loss = curves_figure(runs, histories, "loss").axes[0]
    assert loss.get_ylabel() == "loss"


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
            texts = shown[column, place].split(" ±")
            for text, value in zip(texts, (mean, half), strict=True):
                last = 10.0 ** -len(text.partition(".")[2])
                assert float(text) == pytest.approx(100 * value, abs=0.5 * last + 1e-9)


def test_heatmap_rounds_by_the_interval():
    runs = grid(aggregator=["median"], heterogeneity=[0.0], noise_scale=[0.3], byzantine=[0])
    runs = runs[runs["attack"].isna() | (runs["attack"] == "alie")]
    for away, said in ((0.001, "50.0 ±0.2"), (0.005, "50.0 ±1.2"), (0.1, "50 ±25")):
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
    assert "Hatched: not run, or failed." in text
    assert "Hatched" not in words(heatmap_figure(RUNS))


def test_partitions_other_than_by_similarity_are_columns_by_name():
    runs = pd.concat(
        [grid(heterogeneity=[0.0]), grid(heterogeneity=[0.0], partition=["labels(k=1)"])]
    )
    labels = [label.get_text() for label in heatmap_figure(runs).axes[-2].get_xticklabels()]
    assert labels == ["iid", "labels(k=1)"]


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of real runs, their histories among them."""
    file = tmp_path_factory.mktemp("figures") / "results.db"
    axes = product(["median", "mean"], [0.0, 0.1], [0, 2], [0, 1, 2])
    with Store(file) as store:
        for aggregator, b, f, seed in axes:
            spec = RunSpec(
                honest=5, byzantine=f, attack="alie", aggregator=aggregator, noise_scale=b,
                clip_norm=1.0, steps=12, evaluate_every=4, seed=seed,
            )  # fmt: skip
            store.add([train(spec)])
    return file


@pytest.mark.parametrize("measure", ["accuracy", "loss", "median_mean_gap"])
def test_curves_draw_means_and_bands_over_seeds(trained, measure):
    with Store(trained) as store:
        runs = store.runs()
        histories = {key: store.history(key) for key in runs.index}
        figure = curves_figure(runs, store.histories(list(runs.index)), measure)
    panel = panel_of(figure, "iid, alie, f = 2")
    settings = runs[runs["byzantine"] == 2].groupby(["aggregator", "noise_scale"], sort=False)
    for (_, part), line, band in zip(settings, panel.lines, panel.collections, strict=True):
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
    assert np.isnan(panel_of(figure, "iid, clean").lines[0].get_ydata()).tolist() == [
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


# --- learning rates --------------------------------------------------------------------------


def tuned():
    """Of validation runs: at b = 0 the largest rate is best, at 0.1 the middle one."""
    best_at = {0.0: 1.0, 0.1: 0.3}
    rows = []
    for b, rate, seed in product(best_at, [0.1, 0.3, 1.0], range(3)):
        away = abs(math.log(rate / best_at[b]))
        spec = {"noise_scale": b, "learning_rate": rate, "seed": seed, "evaluate_on": "validation"}
        rows.append(row(0.9 - 0.2 * away + 0.001 * seed, **spec))
        rows.append(row(0.8 - 0.2 * away, **spec, byzantine=2, attack="alie"))
        rows.append(row(0.7 - 0.2 * away, **spec, byzantine=2, attack="sign_flip"))
    rows.append(row(0.99, noise_scale=0.1, learning_rate=0.1))  # on test data: no say in it
    return frame(rows)


def test_best_rates_are_those_of_validation_and_edges_are_marked():
    figure = learning_rate_figure(tuned())
    panel = figure.axes[0]
    joined = panel.lines[0]
    np.testing.assert_allclose(joined.get_ydata(), [1.0, 0.3])
    at_zero, at_noise = panel.lines[1:]
    assert (at_zero.get_markerfacecolor(), at_noise.get_markerfacecolor() == "white") == (
        "white",
        False,
    )
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


# --- bias and variance -----------------------------------------------------------------------


def exact_mean_and_variance(messages, b, law):
    """Of the median of an odd number, by integrating its distribution function."""
    need = len(messages) // 2 + 1

    def below(t):
        chances = [1.0]
        for p in law.cdf((t - messages) / b):
            chances = np.convolve(chances, [1 - p, p])
        return float(np.sum(chances[need:]))

    low, high = messages.min() - 12 * b, messages.max() + 12 * b
    t = np.linspace(low, high, 6001)
    cdf = np.array([below(each) for each in t])
    mean = high - integrate.simpson(cdf, x=t)
    square = high**2 - integrate.simpson(2 * t * cdf, x=t)
    return mean, square - mean**2


@pytest.mark.parametrize(("noise", "law"), [("gaussian", stats.norm), ("laplace", stats.laplace)])
@pytest.mark.parametrize("b", [0.1, 1.0, 4.0])
def test_measured_bias_and_variance_are_the_exact_ones(noise, law, b):
    messages = np.array([0.0, 0.1, 0.2, 0.5, 3.0])
    mean, variance = exact_mean_and_variance(messages, b, law)
    found = monte_carlo(messages[:, None], [b], noise, 1_000_000, 0).iloc[0]
    assert found["bias"] == pytest.approx(abs(mean - messages.mean()), abs=2 * found["error"])
    assert found["error"] < 0.01
    assert found["variance"] == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("noise", "power", "factor"), [("gaussian", -2, math.pi / 2), ("laplace", -1, 1)]
)
def test_theory_has_the_exponents_of_a_large_population(noise, power, factor):
    law = {"gaussian": stats.norm, "laplace": stats.laplace}[noise]
    messages = -np.log1p(-(np.arange(200) + 0.5) / 200)
    scales = [20.0, 40.0]
    figure = bias_variance_figure(messages, scales, noise, draws=2000)
    bias, variance = (axes.lines for axes in figure.axes)
    theory = next(line.get_ydata() for line in bias if line.get_linestyle() == "-")
    assert math.log2(theory[1] / theory[0]) == pytest.approx(power)
    for b, told in zip(scales, theory, strict=True):  # the population median, solved for
        low, high = -1.0, 3.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (
                (low, middle) if law.cdf((middle - messages) / b).mean() > 0.5 else (middle, high)
            )
        assert told == pytest.approx(abs(low - messages.mean()), rel=0.1)
    line = next(line.get_ydata() for line in variance if line.get_linestyle() == "-")
    np.testing.assert_allclose(line, [factor * b**2 / 200 for b in scales])


def test_the_same_seed_draws_the_same_points():
    def points(seed):
        return (
            bias_variance_figure(scales=[0.5, 1.0], draws=600, seed=seed)
            .axes[1]
            .lines[0]
            .get_ydata()
        )

    np.testing.assert_array_equal(points(1), points(1))
    assert (points(1) != points(2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"messages": [1.0]}, r"^messages: shape \(1,\) is not accepted"),
        ({"messages": [1.0, math.nan]}, "^messages: .*finite"),
        ({"messages": [2.0, 2.0]}, "^messages: all workers send the same"),
        ({"scales": [0.0]}, r"^scales: \[0.0\] is not accepted"),
        ({"noise": "cauchy"}, "^noise: unknown name 'cauchy'"),
        ({"draws": 10}, "^draws: 10 is not accepted: 60 or more"),
    ],
)
def test_arguments_of_bias_variance(arguments, message):
    with pytest.raises(SpecError, match=message):
        bias_variance_figure(**arguments)


def test_symmetric_messages_have_a_figure_too():
    words(bias_variance_figure([-1.0, 1.0], draws=100))
    words(bias_variance_figure(np.arange(12.0).reshape(4, 3) ** 2, draws=100))


# --- hostile stores --------------------------------------------------------------------------


@pytest.mark.parametrize("draw", OF_RUNS)
def test_no_runs_and_only_failures_are_one_line(draw):
    with pytest.raises(SpecError, match="no runs to draw"):
        draw(RUNS.iloc[:0])
    failures = RUNS.assign(accuracy=None, failure="no memory", kappa=None)
    with pytest.raises(SpecError, match=r"nothing to draw: all \d+ runs failed \(no memory\)"):
        draw(failures)


HOSTILE = {
    "one run": RUNS.iloc[:1],
    "one seed": RUNS[RUNS["seed"] == 0],
    "one attack": RUNS[RUNS["attack"] == "alie"],
    "never clean": RUNS[RUNS["byzantine"] > 0],
    "only clean": RUNS[RUNS["byzantine"] == 0],
    "only not private": RUNS[RUNS["noise_scale"] == 0],
    "one epsilon": RUNS[RUNS["noise_scale"] == 0.3],
    "holes": RUNS.sample(frac=0.4, random_state=0),
    "half failed": RUNS.assign(
        accuracy=RUNS["accuracy"].where(RUNS["seed"] > 0),
        failure=RUNS["seed"].map({0: "no memory"}).astype(object),
    ),
    "diverged": RUNS.assign(diverged=True),
    "no evaluation": RUNS.assign(accuracy=RUNS["accuracy"].where(RUNS["attack"] != "alie")),
    "all alike": RUNS.assign(accuracy=0.1),
    "validation": RUNS.assign(evaluate_on="validation"),
    "fixed workers": RUNS.assign(
        honest=15 - RUNS["byzantine"].astype(int),
        target_epsilon=RUNS["epsilon"].where(RUNS["noise_scale"] > 0),
        noise_scale=RUNS["noise_scale"] * (1 + RUNS["byzantine"].astype(int) / 100),
    ),
    "near": RUNS.assign(epsilon=RUNS["noise_scale"].map({0.0: math.inf, 0.03: 2.0, 0.3: 1.98})),
    "far": RUNS.assign(epsilon=RUNS["noise_scale"].map({0.0: math.inf, 0.03: 1e9, 0.3: 1e-4})),
}  # fmt: skip


@pytest.mark.parametrize("draw", OF_RUNS)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("error")
def test_whatever_a_store_holds_is_drawn_or_refused_in_one_line(draw, name):
    refused = None
    try:
        figure = draw(HOSTILE[name])
    except PrivRobustError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        assert draw is not heatmap_figure
        return
    assert figure.get_figwidth() in (NARROW, WIDE)
    words(figure)


def test_small_print_says_what_is_missing():
    assert "none for 60 of 60 cells with a single seed" not in words(epsilon_figure(RUNS))
    text = words(epsilon_figure(HOSTILE["one seed"]))
    assert "mean over 1 seed." in text
    assert "°: fewer than 3 seeds." in text
    assert text.count("°") == 37  # one a cell, and what it means
    assert "°" not in words(epsilon_figure(RUNS))
    assert words(epsilon_figure(HOSTILE["diverged"])).count("†") == 37
    assert "†°" in words(heatmap_figure(HOSTILE["one seed"].assign(diverged=True)))
    failed = words(epsilon_figure(with_failure(RUNS, RUNS.index[0])))
    assert "1 of 36 cells are not drawn: runs of theirs failed" in failed
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
    panel = panel_of(epsilon_figure(both), "iid, clean")
    assert min(line.get_ydata().min() for line in panel.lines) > 0  # no validation run in the mean


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


# --- files and global state ------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_formats_and_sizes(tmp_path, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        save_figure(epsilon_figure(RUNS), file)
    content = files[0].read_bytes()
    assert content == files[1].read_bytes()  # nothing of the time and place it was drawn at
    if ending == "pdf":
        assert content.startswith(b"%PDF")
        assert b"/Type3" not in content
    elif ending == "svg":
        assert b"<text" in content
    else:
        with Image.open(files[0]) as image:
            assert image.width == round(WIDE * 300)


def test_matplotlib_is_left_as_it_was(trained):
    before = dict(mpl.rcParams)
    for draw in (*OF_RUNS[:3], lambda runs: learning_rate_figure(tuned())):
        save_figure(draw(RUNS), Path(trained).with_suffix(".png"))
    bias_variance_figure(draws=100)
    with pytest.raises(SpecError):
        epsilon_figure(RUNS.iloc[:0])
    assert dict(mpl.rcParams) == before


def test_importing_figures_imports_no_matplotlib():
    rooms = ("bias_variance", "curves", "epsilon", "heatmap", "learning_rate", "pareto")
    code = (
        f"import sys, {', '.join(f'privrobust.reporting.figures.{room}' for room in rooms)}\n"
        "import privrobust.cli.figure; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("draw", [lambda: epsilon_figure(RUNS), lambda: new_figure(1, 1)])
def test_without_matplotlib_it_says_what_to_install(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        SpecError, match=r"^plot: needs matplotlib: pip install 'privrobust\[plot\]'"
    ):
        draw()


def test_lines_differ_in_everything_that_survives_a_copier():
    eight = looks("abcdefgh").values()
    for part in ("color", "marker", "linestyle"):
        assert len({str(getattr(look, part)) for look in eight}) == 8


@pytest.mark.parametrize(
    ("values", "apart"),
    [([1.0, 10.0, math.inf], math.inf), ([0.0, 0.01], 0.0), ([math.inf], math.inf)],
)
def test_what_has_no_place_on_a_logarithm_gets_one_apart(values, apart):
    scale = Scale(values, apart, "apart")
    places = [scale(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 < place < math.inf for place in places)
    panel = new_figure(3, 2).add_subplot()
    scale.show(panel)
    low, high = panel.get_xlim()
    assert all(low < place < high for place in places)
    assert "apart" in [label.get_text() for label in panel.get_xticklabels()]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1, 2, 4, 8, math.inf], [1, 2, 4, 8]),
        ([1.85, 6.73, 39.9, 421, math.inf], [10, 100]),
        ([1, 1.1, 10, 100, math.inf], [1, 10, 100]),  # not round
        ([1, 10, 90, 100, math.inf], [1, 10, 100]),  # not apart
        ([0.9996, 1.9998, 3.998, 7.993, math.inf], [1, 2, 4, 8]),
        ([3, math.inf], [3]),
    ],
)
def test_ticks_stand_at_round_values_or_between(values, ticks):
    panel = new_figure(3, 2).add_subplot()
    Scale(values, math.inf, "apart", 4).show(panel)
    *ordinary, _ = panel.get_xticks()
    assert ordinary == ticks


# --- the command -----------------------------------------------------------------------------


def command(*arguments):
    result = CliRunner().invoke(app, ["figure", *map(str, arguments)])
    if isinstance(result.exception, PrivRobustError):
        return str(result.exception)
    assert result.exception is None, result.exception
    return result.output


@pytest.mark.parametrize("kind", ["epsilon", "heatmap", "pareto", "curves", "partitions"])
def test_the_command_draws_what_a_store_holds(trained, tmp_path, kind):
    file = tmp_path / "figure.pdf"
    assert "is drawn in" in command(kind, trained, "-o", file)
    assert file.read_bytes().startswith(b"%PDF")


def test_where_chooses_runs_as_tables_do(trained, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "privrobust.reporting.figures.epsilon.epsilon_figure",
        lambda runs: seen.append(runs) or new_figure(1, 1),
    )
    wanted = ("--where", "noise_scale=0.10", "--where", "attack=[none, alie]")
    command("epsilon", trained, "-o", tmp_path / "f.png", *wanted)
    assert set(seen[0]["noise_scale"]) == {0.1}
    assert set(seen[0]["byzantine"]) == {0, 2}


def test_endings_are_matplotlibs_and_known_without_it(monkeypatch):
    assert set(ENDINGS) <= set(new_figure(1, 1).canvas.get_supported_filetypes())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "(.foo is not supported); accepted: eps, jpeg" in command(
        "heatmap", "x.db", "-o", "x.foo"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epsilom", "{db}"], "figure: unknown name 'epsilom'; did you mean 'epsilon'?"),
        (["epsilon"], "store: epsilon is drawn of results"),
        (["epsilon", "nowhere.db"], "store: 'nowhere.db' does not exist"),
        (
            ["epsilon", "{db}", "-o", "f.foo"],
            "plot: 'f.foo' cannot be written (.foo is not supported)",
        ),
        (["epsilon", "{db}", "-o", "f"], "plot: 'f' is no file name"),
        (["epsilon", "{db}", "-o", "none/f.pdf"], "cannot be written"),
        (["epsilon", "{db}", "--where", "seed"], "where: 'seed' is not accepted: field=value"),
        (
            ["epsilon", "{db}", "--where", "sed=1"],
            "where: unknown name 'sed'; did you mean 'seed'?",
        ),
        (["epsilon", "{db}", "--where", "seed=7"], "where: no run has seed=7"),
        (["epsilon", "{db}", "--measure", "loss"], "measure: 'loss' says nothing of epsilon"),
        (
            ["curves", "{db}", "--measure", "los"],
            "measure: unknown name 'los'; did you mean 'loss'?",
        ),
        (["bias_variance", "{db}"], "says nothing of bias_variance"),
        (["bias_variance", "--noise", "x"], "noise: unknown name 'x'"),
        (["learning_rate", "{db}"], "learning_rate: nothing to draw"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    told = command(*(str(argument).format(db=trained) for argument in arguments))
    assert message in told
    assert "\n" not in told
    assert not list(tmp_path.iterdir())


def test_an_empty_store_is_one_line(tmp_path):
    with Store(tmp_path / "empty.db"):
        pass
    for kind in ("epsilon", "heatmap", "pareto", "curves", "learning_rate", "partitions"):
        told = command(kind, tmp_path / "empty.db", "-o", tmp_path / "f.png", "--where", "seed=1")
        assert told == f"store: {tmp_path / 'empty.db'} has no finished run yet"


def test_help_teaches():
    text = command("--help")
    for kind in ("epsilon", "heatmap", "pareto", "curves", "learning_rate", "bias_variance"):
        assert kind in text
    assert "$ privrobust figure" in text
    assert "--where 'attack=[none, alie]'" in text
    assert "field=[a, b]" in text
