"""What all figures have in common: room, files, settings of matplotlib, whatever a store holds."""

import math
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from made_runs import EPSILON, OF_RUNS, RUNS, grid, tuned, unreadable, words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from privrobust.errors import PrivRobustError, SpecError
from privrobust.reporting.figures import FIGURES, new_figure, save_figure
from privrobust.reporting.figures.bias_variance import bias_variance_figure
from privrobust.reporting.figures.canvas import NARROW, WIDE
from privrobust.reporting.figures.curves import curves_figure
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.reporting.figures.scales import Scale
from privrobust.reporting.figures.themes import looks
from privrobust.store import Store


def test_four_panels_beside_each_other_have_room_for_their_words(trained):
    eight = grid(byzantine=[0, 2, 4, 6], heterogeneity=[0.5, 0.25])
    assert not unreadable(epsilon_figure(eight))
    assert not unreadable(pareto_figure(grid(byzantine=[0, 2, 4, 6, 8])))
    rates = [
        grid(learning_rate=[rate], heterogeneity=[0.0, 0.25, 0.5, 1.0], noise_scale=[*EPSILON])
        for rate in (0.1, 0.3)
    ]
    wide = pd.concat(rates)
    wide["noise_scale"] = wide["noise_scale"].replace({0.03: 0.003})
    assert not unreadable(learning_rate_figure(wide))
    with Store(trained) as store:
        runs, histories = store.runs(), store.histories(list(store.runs().index))
    attacks = runs.assign(
        attack=[None, "min_max(direction=unit)"] * (len(runs) // 2), heterogeneity=0.25
    )
    assert not unreadable(curves_figure(attacks, histories))


def test_accuracy_is_in_percent_in_every_figure(trained):
    with Store(trained) as store:
        runs, histories = store.runs(), store.histories(list(store.runs().index))
    drawn = [epsilon_figure(RUNS), pareto_figure(RUNS), curves_figure(runs, histories)]
    for figure in drawn:
        FigureCanvasAgg(figure).draw()
        for panel in figure.axes:
            assert panel.get_ylim() == (0, 1)
            for label in filter(Text.get_text, panel.get_yticklabels()):
                assert float(label.get_text()) == pytest.approx(100 * label.get_position()[1])
    for figure in (*drawn, heatmap_figure(RUNS)):
        assert "accuracy in %" in [panel.get_ylabel() for panel in figure.axes]
    loss = curves_figure(runs, histories, "loss").axes[0]
    assert loss.get_ylabel() == "loss"


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
        ([0.25, 0.5, 1, 2, 4, 8, math.inf], [0.25, 0.5, 1, 2, 4, 8]),
        ([0.5, 1, 2, 4, 8, 16, 32, math.inf], [0.1, 1, 10, 100]),  # too many
        ([1.85, 6.73, 39.9, 421, math.inf], [1.85, 6.73, 39.9, 421]),
        ([1.57, 1.85, 6.73, 39.9, 421, math.inf], [1.57, 6.73, 421]),  # no room for two
        ([1.57, 1.6, 1.63, 39.9, 421, math.inf], [1, 10, 100, 1000]),  # nor for every second
        ([0.02, 3000, 3100, math.inf], [0.01, 1, 100, 10000]),  # not apart
        ([1, 1.1, 10, 100, math.inf], [1, 10, 100]),
        ([1, 10, 90, 100, math.inf], [1, 10, 100]),  # not apart
        ([0.9996, 1.9998, 3.998, 7.993, math.inf], [0.9996, 1.9998, 3.998, 7.993]),
        ([2.0, 2.001, math.inf], [2.001]),  # all but alike: the larger
        ([3, math.inf], [3]),
    ],
)
def test_ticks_stand_at_the_values_or_enclose_them(values, ticks):
    panel = new_figure(3, 2).add_subplot()
    Scale(values, math.inf, "apart", 2.0).show(panel)
    *ordinary, _ = panel.get_xticks()
    assert ordinary == ticks


def test_values_that_have_no_room_for_a_tick_have_a_small_one():
    values = [1.57, 1.85, 6.73, 39.9, 421]
    panel = new_figure(3, 2).add_subplot()
    Scale([*values, math.inf], math.inf, "apart", 2.0).show(panel)
    small = panel.get_xticks(minor=True).tolist()
    assert sorted({*small, *panel.get_xticks()[:-1]}) == values
    assert {1.85, 39.9} <= set(small)


@pytest.mark.parametrize("byzantine", [[0], [0, 2], [0, 2, 4], [0, 2, 4, 6]])
def test_four_epsilons_are_ticks_in_every_figure(byzantine):
    noises = dict(zip((0.03, 0.1, 0.3, 1.0), (7.993, 3.998, 1.9998, 0.9996), strict=True))
    runs = grid(byzantine=byzantine, noise_scale=[0.03, 0.1, 0.3], seed=[0, 1])
    more = runs[runs["noise_scale"] == 0.3].assign(noise_scale=1.0)
    runs = pd.concat([runs, more.set_axis([f"{key}+" for key in more.index])])
    figure = epsilon_figure(runs.assign(epsilon=runs["noise_scale"].map(noises)))
    assert not unreadable(figure)
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["1.00", "2.00", "4.00", "8.00"]


@pytest.mark.parametrize("kind", FIGURES.values(), ids=FIGURES)
def test_a_figure_takes_first_what_its_entry_says(kind):
    module, _, name = kind.home.partition(".")
    draw = getattr(import_module(f"privrobust.reporting.figures.{module}"), name)
    assert tuple(signature(draw).parameters)[: len(kind.needs)] == kind.needs
    assert name in {each.__name__ for each in OF_RUNS} or kind.needs != ("runs",)


def test_a_file_that_cannot_be_written_says_why_in_words(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SpecError, match=r"cannot be written \([^()\[]+\)$") as refused:
        save_figure(epsilon_figure(RUNS), tmp_path / "folder.png")
    assert "Errno" not in str(refused.value)
