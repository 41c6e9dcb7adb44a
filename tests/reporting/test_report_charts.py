"""The report's charts: what is drawn of runs, what is said of it, and what cannot be drawn."""

import ast
import math
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import EPSILON, RUNS, expected, grid, row, stored
from scipy import stats

from privrobust.core.formatting import in_percent
from privrobust.reporting.report.charts import charts
from privrobust.reporting.report.curves import curves
from privrobust.reporting.report.epsilon_axis import EpsilonAxis
from privrobust.reporting.report.rows import rows_of
from privrobust.store import Store

NONE = RUNS.iloc[:0]


def drawn_of(runs, curves=None):
    """The charts of runs, by name."""
    return {chart.name: chart for chart in charts(rows_of(runs, NONE), curves or {})}


@cache
def usual():
    """The charts of the usual runs."""
    return drawn_of(RUNS)


def records(chart):
    """Its data, row by row, as pandas has them."""
    texts = (
        (name, pd.Series(column["texts"])[column["places"]].tolist())
        for name, column in chart.data.items()
        if isinstance(column, dict)
    )
    return pd.DataFrame(chart.data | dict(texts))


# --- accuracy against epsilon ----------------------------------------------------------------


def test_points_are_means_and_their_intervals():
    found = records(usual()["privacy"])
    assert len(found) == 2 * 2 * 3 * 2 * 2  # methods, heterogeneity, b, f, clean and worst
    for point in found.itertuples():
        mean, half = expected(
            RUNS,
            0 if point.kind == "clean" else point.f,
            aggregator=point.method,
            heterogeneity=float(point.others.split()[-1]),
            noise_scale=float(point.b),
        )
        assert point.accuracy == pytest.approx(mean, rel=1e-5)
        ends = np.clip([mean - half, mean + half], 0, 1)
        assert [point.low, point.high] == pytest.approx(ends, rel=1e-5)
        shown = [float(part) for part in point.shown.removesuffix(" %").split(" ± ")]
        assert shown == pytest.approx([100 * mean, 100 * half], abs=0.51)
        epsilon = EPSILON[float(point.b)]
        if math.isinf(epsilon):
            assert point.part != "private"  # which alone lines connect
            assert point.x > max(EPSILON[0.03], EPSILON[0.3])
        else:
            assert (point.x, point.part) == (epsilon, "private")
            assert epsilon <= float(point.epsilon) < 1.01 * epsilon


positive = st.floats(1e-9, 1e9)


@given(st.sets(positive, min_size=1, max_size=30), st.booleans(), st.booleans(), st.integers(1, 20))
def test_epsilons_stand_where_they_are_and_labels_never_below(epsilons, has_zero, has_inf, lanes):
    ends = {0.0} if has_zero else set()
    ends |= {math.inf} if has_inf else set()
    axis = EpsilonAxis(epsilons | ends, lanes)
    encoding = axis.encoding().to_dict()
    low, high = encoding["scale"]["domain"]
    for lane in range(lanes):
        places = [axis.place(epsilon, lane) for epsilon in sorted(epsilons | ends)]
        assert places == sorted(places)
        assert all(low < place < high for place in places)
        assert {axis.place(epsilon, lane) for epsilon in epsilons} == epsilons
    at_infinity = [axis.place(math.inf, lane) for lane in range(lanes)] if has_inf else []
    assert len(set(at_infinity)) == len(at_infinity)
    texts, many = map(
        ast.literal_eval, re.fullmatch(r"(.*)\[indexof\((.*), datum.value\)\]",
                                       encoding["axis"]["labelExpr"]).groups()
    )  # fmt: skip
    labelled = {value: text for value, text in zip(many, texts, strict=True) if value in epsilons}
    assert min(epsilons) in labelled
    assert all(value <= float(text) <= 1.01 * value for value, text in labelled.items())
    assert (["not", "private"] in texts, "0" in texts) == (has_inf, has_zero)
    few = ast.literal_eval(re.search(r"\? (\[.*?\]) :", encoding["axis"]["values"]["expr"])[1])
    assert set(few) <= set(many)


def reading(chart, **at):
    (text,) = [each["text"] for each in chart.readings if each["at"] == at]
    return text


def scored(scores, **common):
    """Runs of three seeds each, at accuracies that differ by a thousandth."""
    return stored(
        row(accuracy + 0.001 * seed, aggregator=method, noise_scale=b, seed=seed, **common, **more)
        for (method, b, f), accuracy in scores.items()
        for seed in range(3)
        for more in ({"byzantine": f, "attack": "alie"},)
    )


def test_the_reading_names_who_reaches_most_at_which_epsilon():
    scores = {
        ("median", 0.3, 2): 0.6, ("mean", 0.3, 2): 0.1, ("krum", 0.3, 2): 0.5999,
        ("median", 0.03, 2): 0.65, ("mean", 0.03, 2): 0.7, ("krum", 0.03, 2): 0.2,
        ("median", 0.0, 2): 0.2, ("mean", 0.0, 2): 0.9, ("krum", 0.0, 2): 0.3,
    }  # fmt: skip
    text = reading(drawn_of(scored(scores))["privacy"], chosen_f=2, chosen_others="heterogeneity 0")
    half = 4.303 * 0.001 / 3**0.5  # Student's, of three
    told = f" ± {100 * half:.1f} %"
    assert text == (
        "With heterogeneity 0 and f = 2, the most that a method reaches under its worst attack: "
        f"median, 60.1{told} at epsilon 0.771 (1 other may be as good); "
        f"mean, 70.1{told} at epsilon 15.4, 90.1{told} without privacy."
    )


def test_what_faced_fewer_attacks_is_never_named_as_the_best():
    runs = RUNS.assign(accuracy=RUNS["accuracy"].where(RUNS["aggregator"] == "median", 0.001))
    lacking = (runs["aggregator"] == "median") & (runs["attack"] == "alie")
    chart = drawn_of(runs[~lacking])["privacy"]
    text = reading(chart, chosen_f=2, chosen_others="heterogeneity 0")
    assert "attack: mean, 0.1 ± 0.0 %" in text
    assert "median" not in text
    found = records(chart)
    is_fewer = (found["kind"] == "worst case") & (found["method"] == "median")
    assert set(found["signs"][is_fewer]) == {"‡"}
    assert set(found["signs"][~is_fewer]) == {""}
    assert found["runs"][is_fewer].str.endswith("worst of 1 of the 2 attacks").all()
    assert "‡ fewer attacks were run than elsewhere." in chart.caption


def chosen(chart, name):
    (value,) = [each["value"] for each in chart.spec["params"] if each["name"] == f"chosen_{name}"]
    return value


def test_the_first_f_is_where_methods_differ_most():
    scores = {(method, 0.3, f): 0.1 for method in ("median", "mean") for f in (2, 4)}
    assert chosen(drawn_of(scored(scores))["privacy"], "f") == 4
    scores["median", 0.3, 2] = 0.8
    assert chosen(drawn_of(scored(scores))["privacy"], "f") == 2


def test_marks_and_failures_are_told():
    runs = RUNS.copy()
    at = runs["attack"] == "alie"
    first = at & (runs["seed"] == 0) & (runs["noise_scale"] == 0.3)
    runs["failure"] = runs["failure"].mask(first, "no memory")
    runs["accuracy"] = runs["accuracy"].mask(first)
    runs["diverged"] = runs["diverged"].mask(runs["byzantine"] == 0, True)
    runs["is_upper_bound"] = runs["noise_scale"] != 0.03
    found = drawn_of(runs)
    chart = found["privacy"]
    points = records(chart)
    failed = points[(points["kind"] == "worst case") & (points["b"] == "0.3")]
    assert failed["accuracy"].isna().all()
    assert (failed["y"] < 0).all()
    assert failed["shown"].str.match(r"failed 1 of 3, others \d").all()
    assert failed["runs"].str.fullmatch("2 of 3 finished, 2 seeds").all()
    assert set(failed["signs"]) == {"°"}
    assert set(points[points["kind"] == "clean"]["signs"]) == {"†", "~†"}
    estimates = points[points["b"] == "0.03"]
    assert set(estimates["epsilon"]) == {"~15.4 (an estimate, may be too small)"}
    assert set(points[points["kind"] == "worst case"]["signs"]) == {"", "~", "°"}
    for sign in "~†°":
        assert f"{sign} " in chart.caption
    assert "Cells with a failed run stand below 0 %" in chart.caption
    assert "at epsilon ~15.4" in " ".join(each["text"] for each in chart.readings)
    squares = records(found["heatmap"])
    is_failed = squares["label"] == "failed°"
    assert squares["accuracy"].isna().equals(is_failed)
    assert is_failed.sum() == 2 * 2 * 2  # methods, heterogeneity, f
    assert found["heatmap"].hatched == "failed"


def test_tuning_is_told_with_an_epsilon():
    tuning = RUNS.iloc[:1].assign(evaluate_on="validation")
    chart, *_ = charts(rows_of(RUNS, tuning), {})
    told = {epsilon.partition(" ")[2] for epsilon in records(chart)["epsilon"] if epsilon[0] != "∞"}
    assert told == {"", "+ tuning"}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("privacy", lambda runs: runs[runs["noise_scale"] == 0],
         "No epsilon can be drawn: no run is private (no noise (b = 0))."),
        ("privacy", lambda runs: runs.assign(accuracy=math.nan, failure="no memory"),
         "No accuracy can be drawn: in every cell a run failed."),
        ("heatmap", lambda runs: runs[runs["byzantine"] == 0],
         "Nothing was run under attack, so no method broke down."),
        ("curves", lambda runs: runs,
         "No training curve can be drawn: no run has an evaluation."),
    ],
)  # fmt: skip
def test_a_sentence_says_why_there_is_no_chart(name, change, told):
    chart = drawn_of(change(RUNS))[name]
    assert (chart.lacks, chart.spec, chart.data) == (told, {}, {})
    assert not usual()["privacy"].lacks


def test_without_attackers_the_clean_accuracy_is_told():
    chart = drawn_of(RUNS[RUNS["byzantine"] == 0])["privacy"]
    assert chart.title == "Accuracy against epsilon, without attackers"
    assert not chart.signs
    assert all("reaches without attackers: " in each["text"] for each in chart.readings)
    assert set(records(chart)["kind"]) == {"clean"}


# --- where methods break down ----------------------------------------------------------------


def test_squares_lie_along_what_varies_most():
    by_noise = records(usual()["heatmap"])
    assert set(by_noise["across"]) == {"0", "0.03", "0.3"}
    assert set(by_noise["rest"]) == {"heterogeneity 0", "heterogeneity 1"}
    runs = grid(noise_scale=[0.1], heterogeneity=[0.0, 0.5])
    by_data = records(drawn_of(runs)["heatmap"])
    assert set(by_data["across"]) == {"0", "0.5"}
    assert set(by_data["rest"]) == {"b = 0.1"}
    named = runs.assign(partition=["labels(k=2)" if each else "similarity"
                                   for each in runs["heterogeneity"]])  # fmt: skip
    assert set(records(drawn_of(named)["heatmap"])["across"]) == {"0", "labels(k=2)"}


def test_squares_hold_worst_cases_and_say_what_was_not_run():
    runs = RUNS[(RUNS["byzantine"] != 4) | (RUNS["noise_scale"] != 0.3)]
    chart = drawn_of(runs)["heatmap"]
    squares = records(chart)
    assert chart.hatched == "not run"
    assert not usual()["heatmap"].hatched
    assert len(squares) == 2 * 2 * (3 * 3 - 1)
    for square in squares.itertuples():
        mean, _ = expected(
            runs, square.f, aggregator=square.method, noise_scale=float(square.across),
            heterogeneity=float(square.rest.split()[-1]),
        )  # fmt: skip
        assert square.accuracy == pytest.approx(mean, rel=1e-5)
        assert square.shown == f"{square.label} %"
        assert square.label.startswith(square.short)
    here = squares[(squares["method"] == "mean") & (squares["rest"] == "heterogeneity 1")]
    attacked = here[here["f"] > 0].sort_values("accuracy")
    least, most = attacked.iloc[0], attacked.iloc[-1]
    text = reading(chart, chosen_method="mean", chosen_rest="heterogeneity 1")
    assert f"under its worst attack: {least['shown']} (b = {least['b']}, f = {least['f']}" in text
    assert f" to {most['shown']} (b = {most['b']}, f = {most['f']}, {most['attack']})." in text


# --- training --------------------------------------------------------------------------------


CURVES = {"steps": [[10, 20]], "rows": {1: [0]}, "curves": [{}], "scale": 1}


def test_curves_tell_which_seeds_they_are_of(changed):
    """A single seed has no interval; what failed and diverged is told with its curve."""
    late = "step = 6 and run in (select key from runs where seed > 0 and byzantine = 0)"
    path = changed(
        (f"delete from evaluations where {late}",),
        ("update runs set diverged = 1 where byzantine = 0 and seed = 2",),
        ("update runs set status = 'failed', accuracy = null, failure = 'no' "
         "where attack = 'sign_flip' and seed = 0",),
    )  # fmt: skip
    with Store(path) as store:
        runs = store.runs()
        drawn = curves(store, rows_of(runs, runs.iloc[:0]))
        history = store.histories(list(runs.index))
    by_attack = {drawn["curves"][place]["attack"]: drawn["curves"][place]
                 for place in drawn["rows"][1]}  # fmt: skip
    clean, failed = by_attack["none"], by_attack["sign_flip"]
    assert clean["seeds"] == [3, 3, 1]
    assert clean["low"][2] is clean["high"][2] is None
    assert (clean["signs"], clean["runs"]) == ("†", "3 of 3 finished, 1 diverged")
    assert (failed["signs"], failed["runs"]) == ("1 failed°", "2 of 3 finished, 2 seeds")
    first = rows_of(runs, runs.iloc[:0]).rows[0]
    of_first = history[history["run"].isin(first.runs.index[first.runs["attack"].isna()])]
    for place, (_, values) in enumerate(of_first.groupby("step")["accuracy"]):
        half = stats.sem(values) * stats.t.ppf(0.975, 2) if len(values) > 1 else math.nan
        assert clean["shown"][place] == " ± ".join(filter(None, in_percent(values.mean(), half)))


def test_training_is_read_at_its_end():
    chart = drawn_of(RUNS, CURVES)["curves"]
    first = rows_of(RUNS, NONE).rows[0]
    told = [f"without attackers {first.clean.text} %"]
    told += [f"under {name} {cell.text} %" for name, cell in first.attacked.items()]
    assert reading(chart, chosen_row=1) == (f"Row 1, in the end: {', '.join(told)}.")
    assert [sign.name for sign in chart.key] == ["none", "alie", "sign_flip"]


def test_a_single_evaluation_makes_no_curve():
    chart = drawn_of(RUNS, CURVES | {"steps": [[300]]})["curves"]
    assert chart.lacks.endswith("each run has a single evaluation, at step 300.")
