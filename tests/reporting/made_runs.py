"""Made-up sweeps, as a store gives them, and what is read off figures of them."""

import io
import math
import re
from itertools import combinations, product
from unittest import mock

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.text import Text
from scipy import stats

from privrobust import RunSpec
from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.learning_rate import learning_rate_figure
from privrobust.reporting.figures.pareto import pareto_figure
from privrobust.store.schema import cells

EPSILON = {0.0: math.inf, 0.03: 15.3, 0.1: 2.74, 0.3: 0.77}
OF_RUNS = [epsilon_figure, heatmap_figure, pareto_figure, learning_rate_figure]


_MEASURED = (
    "final_loss",
    "calibration_error",
    "train_accuracy",
    "train_loss",
    "worst_class_accuracy",
    "worst_worker_accuracy",
    "error",
)


def row(accuracy, **settings):
    """One as `Store.runs` gives it."""
    spec = RunSpec(**{"honest": 10, "clip_norm": 1.0, **settings})
    failed = accuracy is None
    return {
        **cells(spec),
        "status": "failed" if failed else "done",
        "accuracy": accuracy,
        **dict.fromkeys(_MEASURED, accuracy),
        "steps_taken": spec.steps,
        "kappa": None if failed else 0.5,
        "attack_success_rate": None,
        "diverged": False,
        "failure": "no memory" if failed else None,
        "epsilon": EPSILON[spec.noise_scale],
        "accountant_used": "pld",
        "is_upper_bound": True,
        "not_private": None if spec.noise_scale else "no noise (b = 0)",
        "key": spec.key,
    }


def stored(rows):
    """Rows as `Store.runs` gives them."""
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
    return stored(rows.values())


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


def drawn_lines(panel):
    """Those of a panel that are no caps of bars."""
    return [line for line in panel.lines if line.get_marker() not in ("_", "|")]


def bars_of(panel):
    """For each line of a panel x, low and high end of the bar of every mean."""
    return [
        np.array(
            [(x[0], *np.sort(y)) for x, y in (np.transpose(part) for part in bar.get_segments())]
        )
        for bar in panel.collections
        if isinstance(bar, LineCollection)
    ]


def words(figure):
    """All that is written in a figure, lines joined."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        file = io.StringIO()
        figure.savefig(file, format="svg")
    return " ".join(re.findall(r">([^<>]+)</t", file.getvalue()))


_LEAST_POINTS = 6
_MARKS = {"†", "°", "†°", "~"}  # of points that are near each other, too


def drawn_words(figure):
    """All words that are really drawn, each with its box in pixels."""
    found = []
    draw = Text.draw

    def seen(text, renderer, *arguments, **settings):
        if text.get_visible() and text.get_text().strip():
            found.append((text, Text.get_window_extent(text, renderer)))
        return draw(text, renderer, *arguments, **settings)

    figure.set_dpi(200)
    FigureCanvasAgg(figure)  # the canvas of a bare figure draws nothing
    with mock.patch.object(Text, "draw", seen):
        figure.canvas.draw()
    return found


def unreadable(figure):
    """Words off the canvas, too small for print, or over each other."""
    found, canvas = drawn_words(figure), figure.bbox
    assert found
    wrong = [
        text.get_text()
        for text, box in found
        if min(box.x0, box.y0) < -1
        or box.x1 > canvas.x1 + 1
        or box.y1 > canvas.y1 + 1
        or text.get_fontsize() < _LEAST_POINTS
    ]
    spoken = [(text, box) for text, box in found if text.get_text() not in _MARKS]
    for (text, one), (other, two) in combinations(spoken, 2):
        across = min(one.x1, two.x1) - max(one.x0, two.x0)
        down = min(one.y1, two.y1) - max(one.y0, two.y0)
        if across > 1 and down > 1:
            wrong.append((text.get_text(), other.get_text()))
    return wrong


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
    return stored(rows)


HOSTILE = (
    "</script><script>document.title='hit'</script><img src=x onerror=\"document.title='hit'\">"
)
"""Of a store that came from anybody."""


SWEEP = {
    "honest": 5,
    "steps": 6,
    "evaluate_every": 2,
    "clip_norm": 1.0,
    "grid": {
        "aggregator": ["mean", "median"],
        "heterogeneity": [0, 1],
        "noise_scale": [0, 0.1],
        "byzantine": [0, 1, 2],
        "attack": ["sign_flip", "alie(z=1.5)"],
        "seed": [0, 1, 2],
    },
}
"""What the tests of the report train."""
