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

from privrobust.core.formatting import in_percent, rounded_up
from privrobust.reporting.contests import contests
from privrobust.reporting.findings import findings
from privrobust.reporting.report.charts import charts
from privrobust.reporting.report.curves import curves
from privrobust.reporting.report.epsilon_axis import EpsilonAxis
from privrobust.reporting.report.opening import opening
from privrobust.reporting.report.rows import rows_of
from privrobust.store import Store

NONE = RUNS.iloc[:0]


def drawn_of(runs, curves=None):
    """The charts of runs, by name."""
    data = contests(runs) if runs["failure"].isna().any() else []
    return {chart.name: chart for chart in charts(rows_of(runs, NONE), curves or {}, data)}


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
            assert epsilon <= float(point.epsilon.split()[0]) < 1.01 * epsilon


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
    assert all(
        value * (1 - 1e-12) <= float(text) <= 1.01 * value for value, text in labelled.items()
    )
    assert (["not", "private"] in texts, "0" in texts) == (has_inf, has_zero)
    few = ast.literal_eval(re.search(r"\? (\[.*?\]) :", encoding["axis"]["values"]["expr"])[1])
    assert set(few) <= set(many)


def reading(chart, **at):
    (text,) = [each["text"] for each in chart.readings if each["at"] == at]
    return text


def scored(scores, uneven=()):
    """Runs of three seeds each, at accuracies that rise by a thousandth, or fall for the uneven."""
    return stored(
        row(
            accuracy + 0.001 * (2 - seed if method in uneven else seed), aggregator=method,
            noise_scale=b, seed=seed, byzantine=f, attack="alie",
        )
        for (method, b, f), accuracy in scores.items()
        for seed in range(3)
    )  # fmt: skip


def test_the_reading_names_who_is_best_at_which_epsilon_as_findings_do():
    """Seeds of krum move against those of others, so that 0.01 points are no difference."""
    scores = {
        ("median", 0.3, 2): 0.6, ("mean", 0.3, 2): 0.1, ("krum", 0.3, 2): 0.5999,
        ("median", 0.03, 2): 0.65, ("mean", 0.03, 2): 0.7, ("krum", 0.03, 2): 0.2,
        ("median", 0.0, 2): 0.2, ("mean", 0.0, 2): 0.9, ("krum", 0.0, 2): 0.3,
    }  # fmt: skip
    runs = scored(scores, uneven=["krum"])
    chart = drawn_of(runs)["privacy"]
    half = 4.303 * 0.001 / 3**0.5  # Student's, of three
    told = f" ± {100 * half:.1f} %"
    assert reading(chart, chosen_f=2, chosen_others="heterogeneity 0") == (
        "With heterogeneity 0 and f = 2, best under the worst attack: "
        f"median (undecided against krum), 60.1{told} at epsilon 0.77; "
        f"mean, 70.1{told} at epsilon 15.3, 90.1{told} at epsilon ∞."
    )
    assert "Undecided: differences seed by seed leave it open." in chart.caption
    decided = drawn_of(scored(scores | {("krum", 0.3, 2): 0.59}))["privacy"]
    assert "ndecided" not in decided.caption + decided.readings[0]["text"]
    clean = {(method, b, 0): 0.95 for method, b, _ in scores}
    told = " ".join(findings(scored(clean | scores, uneven=["krum"])))
    assert "median (undecided against krum)" in told.replace("\N{NO-BREAK SPACE}", " ")


def test_the_reading_names_both_ends_and_some_epsilons_between(monkeypatch):
    noise = [0.3 + place / 100 for place in range(7)]
    monkeypatch.setattr("made_runs.EPSILON", {b: 1 / b for b in noise} | {0.0: math.inf})
    runs = scored({("median", b, 2): 0.5 for b in [0.0, *noise]})
    (text,) = [each["text"] for each in drawn_of(runs)["privacy"].readings]
    assert re.findall(r"at epsilon (\S+?)[,.]?(?= |$)", text) == [
        *(rounded_up(1 / noise[place], 3) for place in (6, 4, 2, 0)), "∞"
    ]  # fmt: skip


def test_what_faced_fewer_attacks_is_never_named_as_the_best():
    runs = RUNS.assign(accuracy=RUNS["accuracy"].where(RUNS["aggregator"] == "median", 0.001))
    lacking = (runs["aggregator"] == "median") & (runs["attack"] == "alie")
    chart = drawn_of(runs[~lacking])["privacy"]
    text = reading(chart, chosen_f=2, chosen_others="heterogeneity 0")
    assert "attack: mean, 0.1 ± 0.0 %" in text.replace("\N{NO-BREAK SPACE}", " ")
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


def test_figures_open_at_what_the_findings_speak_of():
    """At the f, the rule and, between its epsilons, one that is private."""
    epsilons = {b: {"median": 0.5, "mean": 0.1} for b in (0.3, 0.1, 0.03)}
    scores = {(rule, b, 4): left for b, of in epsilons.items() for rule, left in of.items()}
    scores |= {(rule, 0.0, 4): left for rule, left in (("median", 0.6), ("mean", 0.9))}
    scores |= {(rule, b, 2): 0.65 for rule, b, _ in scores}
    scores |= {(rule, b, 6): 0.1 for rule, b, _ in scores}
    scores |= {(rule, b, 0): 0.7 for rule, b, _ in scores}
    runs = scored(scores)
    told = " ".join(findings(runs)).replace("\N{NO-BREAK SPACE}", " ")
    assert "median withstands f = 4" in told
    rows = rows_of(runs, NONE)
    (first,) = [row for row in rows.rows if row.name == "median, b = 0.1, heterogeneity 0, f = 4"]
    drawn = drawn_of(runs, CURVES)
    assert chosen(drawn["privacy"], "f") == 4
    assert chosen(drawn["heatmap"], "method") == "median"
    assert chosen(drawn["curves"], "row") == first.number
    assert records(drawn["privacy"])["method"].iloc[-1] == "median"  # on top
    assert "Thicker: median." in drawn["privacy"].caption
    swapped = {(rule, b, f): scores[other, b, f]
               for rule, other in (("median", "mean"), ("mean", "median"))
               for _, b, f in scores}  # fmt: skip
    of_others = drawn_of(scored(swapped), CURVES)
    assert chosen(of_others["heatmap"], "method") == "mean"
    assert "Thicker: mean." in of_others["privacy"].caption


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_whatever_failed_figures_open_at_a_row_that_there_is(share):
    draw = np.random.default_rng(7)
    for _ in range(5):
        fails = draw.random(len(RUNS)) < share
        runs = RUNS.assign(
            accuracy=RUNS["accuracy"].mask(fails), failure=RUNS["failure"].mask(fails, "no memory")
        )
        rows, data = rows_of(runs, NONE), contests(runs)
        first = opening(rows, data)
        told = [budget.standing for budget in data[0].budgets if budget.standing]
        assert first in rows.rows
        assert not told or first.method in {each.first.rule for each in told}
        assert not told or first.byzantine in {each.f for each in told}


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
    assert set(estimates["epsilon"]) == {"~15.3 at delta = 1e-05 (an estimate, may be too small)"}
    assert set(points[points["kind"] == "worst case"]["signs"]) == {"", "~", "°"}
    for sign in "~†°":
        assert f"{sign} " in chart.caption
    assert "Cells with a failed run stand below 0 %" in chart.caption
    assert "at epsilon ~15.3" in " ".join(each["text"] for each in chart.readings)
    squares = records(found["heatmap"])
    is_failed = squares["label"] == "failed°"
    assert squares["accuracy"].isna().equals(is_failed)
    assert is_failed.sum() == 2 * 2 * 2  # methods, heterogeneity, f
    assert found["heatmap"].hatched == "failed"


def test_tuning_is_told_with_an_epsilon():
    tuning = RUNS.iloc[:1].assign(evaluate_on="validation")
    chart, *_ = charts(rows_of(RUNS, tuning), {}, [])
    told = {epsilon.partition(" ")[2] for epsilon in records(chart)["epsilon"] if epsilon[0] != "∞"}
    assert told == {"at delta = 1e-05", "at delta = 1e-05 + tuning"}


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
    assert all("best without attackers: " in each["text"] for each in chart.readings)
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


def test_squares_lie_as_epsilon_does_private_on_the_left():
    def across(runs):
        spec = drawn_of(runs)["heatmap"].spec
        layers = [layer["encoding"]["x"] for layer in spec["layer"]]
        assert all(layer == layers[0] for layer in layers)
        return layers[0]["scale"]["domain"], layers[0]["title"]

    assert across(RUNS) == (["0.3", "0.03", "0"], "noise scale b")
    targets = {0.0: None, 0.03: 10.0, 0.3: 2.0}
    several = RUNS.assign(
        target_epsilon=[targets[b] for b in RUNS["noise_scale"]],
        noise_scale=RUNS["noise_scale"] * (1 + RUNS["byzantine"].astype(float) / 10),
    )
    title = "noise scale b, or the epsilon that chose it"
    assert across(several) == (["epsilon 2", "epsilon 10", "b = 0"], title)
    apart = grid(noise_scale=[0.1], heterogeneity=[1.0, 0.5, 0.0])
    assert across(apart)[0] == ["0", "0.5", "1"]


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
    when = "mean over the last 3 evaluations"  # not the curve's end
    assert reading(chart, chosen_row=1) == f"Row 1, {when}: {', '.join(told)}."
    assert [sign.name for sign in chart.key] == ["none", "alie", "sign_flip"]
    last_alone = drawn_of(RUNS.assign(final_evaluations=1), CURVES)["curves"]
    assert reading(last_alone, chosen_row=1) == f"Row 1, in the end: {', '.join(told)}."


def test_a_single_evaluation_makes_no_curve():
    chart = drawn_of(RUNS, CURVES | {"steps": [[300]]})["curves"]
    assert chart.lacks.endswith("each run has a single evaluation, at step 300.")
