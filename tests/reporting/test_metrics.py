"""Tables of other metrics than accuracy: means, worst attacks, the best, what was not measured."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from frames import frame
from scipy import stats
from typer.testing import CliRunner

from privrobust.cli.commands import app
from privrobust.core.formatting import with_digits
from privrobust.errors import SpecError
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.robustness import breakdown, robustness
from privrobust.reporting.summary import summarise
from privrobust.reporting.tables import FORMATS, PRESETS, data, lay_out

SEEDS = range(4)
ATTACKS = ("alie", "sign_flip")


def made():
    """Two rules, clean and under two attacks, every metric at random."""
    draw = np.random.default_rng(0)
    settings = [
        {"aggregator": rule, "noise_scale": 0.1, "seed": seed, **attacked}
        for rule in ("mean", "median")
        for attacked in ({}, *({"byzantine": 2, "attack": name} for name in ATTACKS))
        for seed in SEEDS
    ]
    runs = frame(*((each, draw.uniform(0.4, 0.6)) for each in settings))
    return runs.assign(
        final_loss=draw.uniform(1, 2, len(runs)),
        calibration_error=draw.uniform(0, 0.2, len(runs)),
        train_accuracy=runs["accuracy"] + draw.uniform(0, 0.3, len(runs)),
        train_loss=draw.uniform(0, 1, len(runs)),
        worst_class_accuracy=runs["accuracy"] - draw.uniform(0.1, 0.3, len(runs)),
        worst_worker_accuracy=runs["accuracy"] - draw.uniform(0, 0.3, len(runs)),
        error=draw.uniform(0, 3, len(runs)),
    )


RUNS = made()
BY_HAND = {
    "generalisation_gap": RUNS["train_accuracy"] - RUNS["accuracy"],
    "loss_gap": RUNS["final_loss"] - RUNS["train_loss"],
}


def values(metric, aggregator, attack):
    """Of all seeds, by pandas alone."""
    column = BY_HAND.get(metric, RUNS.get(metric))
    here = RUNS["attack"].isna() if attack is None else RUNS["attack"] == attack
    return column[here & (RUNS["aggregator"] == aggregator)]


def worst_attack(metric, aggregator):
    """Less is worse of accuracies, more of losses, errors and gaps."""
    means = {attack: values(metric, aggregator, attack).mean() for attack in ATTACKS}
    return (min if metric.endswith("accuracy") else max)(means, key=means.get)


def line(layout, aggregator):
    """Entries of a row by their heading."""
    heads = [" ".join(column.header) for column in layout.columns]
    rows = [row for block in layout.blocks for row in block]
    (found,) = [row for row in rows if any(entry.text == aggregator for entry in row)]
    return dict(zip(heads, found, strict=True))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("aggregator", ["mean", "median"])
def test_a_cell_is_the_mean_of_runs_with_its_student_interval(metric, aggregator):
    row = line(lay_out(RUNS, ("clean", "worst"), metrics=[metric]), aggregator)
    worst = worst_attack(metric, aggregator)
    for heading, attack in (("clean", None), ("f=2 worst", worst)):
        found = values(metric, aggregator, attack)
        low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
        scale = 1 if "loss" in metric or metric == "error" else 100
        mean, half = map(float, row[heading].text.split("±"))
        assert mean == pytest.approx(scale * found.mean(), abs=0.51 * half)  # a digit of it
        assert half == pytest.approx(scale * (high - low) / 2, rel=0.3)
    measured = robustness(RUNS, metric).xs(aggregator, level="aggregator").iloc[0]
    cost = values(metric, aggregator, None).mean() - values(metric, aggregator, worst).mean()
    assert measured["attack"] == worst
    assert measured["gap"] == pytest.approx(cost if metric.endswith("accuracy") else -cost)


def test_the_first_metric_chooses_the_attack_that_all_are_shown_under():
    metrics = ["train_accuracy", "accuracy", "generalisation_gap"]
    summary = summarise(RUNS, metrics).xs("worst", level="attack")
    for aggregator in ("mean", "median"):
        worst = worst_attack("train_accuracy", aggregator)
        row = summary.xs(aggregator, level="aggregator").iloc[0]
        for metric in metrics:
            assert row[metric] == pytest.approx(values(metric, aggregator, worst).mean())
        assert row["generalisation_gap"] == pytest.approx(row["train_accuracy"] - row["accuracy"])


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_is_marked_by_its_direction_and_a_gap_never(metric):
    layout = lay_out(RUNS, ("clean",), metrics=[metric])
    marked = [rule for rule in ("mean", "median") if line(layout, rule)["clean"].is_best]
    means = {rule: values(metric, rule, None).mean() for rule in ("mean", "median")}
    best = (max if metric.endswith("accuracy") else min)(means, key=means.get)
    assert marked == ([] if "gap" in metric else [best])
    assert any("no gap" in note.lower() for note in layout.notes) == ("gap" in metric)
    uses_training = "train" in metric or "gap" in metric
    assert any("not covered by epsilon" in note for note in layout.notes) == uses_training


def test_headings_name_metrics_where_there_are_several():
    row = line(lay_out(RUNS, metrics=["accuracy", "worst_class_accuracy"]), "mean")
    assert list(row)[-8:] == [
        "clean accuracy",
        "clean worst class",
        "f=2 alie accuracy",
        "f=2 alie worst class",
        "f=2 sign_flip accuracy",
        "f=2 sign_flip worst class",
        "f=2 worst accuracy",
        "f=2 worst worst class",
    ]
    assert "clean" in line(lay_out(RUNS, metrics=["worst_class_accuracy"]), "mean")


def test_what_an_earlier_version_did_not_measure_is_empty_and_said_once():
    old = RUNS["aggregator"] == "mean"
    lacking = ["train_accuracy", "train_loss", "worst_class_accuracy", "worst_worker_accuracy"]
    runs = RUNS.assign(**{name: RUNS[name].mask(old) for name in lacking})
    for preset in ("fairness", "generalisation"):
        layout = PRESETS[preset](runs)
        row = line(layout, "mean")
        texts = {head: entry.text for head, entry in row.items() if "clean" in head or "f=" in head}
        assert all(text == "" for head, text in texts.items() if not head.endswith(" accuracy"))
        assert texts["clean accuracy"]
        assert texts["f=2 worst accuracy"]
        (note,) = [note for note in layout.notes if "earlier version" in note]
        assert note.startswith("12 of 24 runs")
        for write in FORMATS.values():
            assert write(layout)
    for name in lacking:
        layout = lay_out(runs, ("clean", "worst", "gap"), metrics=[name])
        assert line(layout, "mean")["f=2 worst"].text == ""
        assert line(layout, "median")["f=2 worst"].text
    cells = data(runs)
    assert cells[cells["aggregator"] == "mean"]["train_loss"].isna().all()
    assert not any("earlier" in note for note in PRESETS["fairness"](RUNS).notes)


def test_one_seed_that_lacks_a_value_empties_its_cell():
    """What is left would be a mean over the luckier seeds."""
    first = (RUNS["seed"] == 0) & (RUNS["attack"] == "alie")
    runs = RUNS.assign(final_loss=RUNS["final_loss"].mask(first), diverged=first)
    layout = lay_out(runs, metrics=["final_loss"])
    row = line(layout, "median")
    assert row["f=2 alie"].text == "†"
    assert row["f=2 worst"].text == "†"  # no finite loss is worse than any
    assert row["f=2 sign_flip"].text
    assert not any("earlier version" in note for note in layout.notes)


def test_failed_runs_say_so_whatever_is_shown():
    failed = (RUNS["seed"] == 0) & (RUNS["attack"] == "alie")
    values_lost = {name: RUNS[name].mask(failed) for name in METRICS if name in RUNS}
    runs = RUNS.assign(**values_lost, failure=RUNS["failure"].mask(failed, "no memory"))
    for metric in METRICS:
        row = line(lay_out(runs, metrics=[metric]), "mean")
        assert (row["f=2 alie"].text, row["f=2 worst"].text) == ("failed", "failed")
        assert row["f=2 sign_flip"].text not in ("", "failed")


@pytest.mark.parametrize("metric", METRICS)
def test_a_breakdown_point_is_of_an_accuracy(metric):
    if metric.endswith("accuracy"):
        assert breakdown(RUNS, metric=metric)["point"].between(0, 1).all()
    else:
        with pytest.raises(SpecError, match=f"metric: a breakdown point by {metric} is not accep"):
            breakdown(RUNS, metric=metric)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["acuracy"]}, "metric: .*'acuracy'.*accuracy"),
        ({"metrics": []}, "metric: none is named; accepted: some of accuracy, final_loss"),
        ({"metrics": ["accuracy", "train_loss"], "shows": ["gap"]}, "show: gap with 2 metrics"),
        ({"metrics": ["loss_gap"], "shows": ["breakdown"]}, "a breakdown point by loss_gap"),
    ],
)
def test_what_cannot_be_shown(settings, message):
    with pytest.raises(SpecError, match=message):
        lay_out(RUNS, **settings)


def test_data_has_every_metric_with_its_interval():
    cells = data(RUNS).set_index(["aggregator", "attack"])
    for metric in METRICS:
        for aggregator in ("mean", "median"):
            found = values(metric, aggregator, "alie")
            half = stats.sem(found) * stats.t.ppf(0.975, len(found) - 1)
            name = "interval" if metric == "accuracy" else f"{metric}_interval"
            assert cells.loc[(aggregator, "alie"), metric] == pytest.approx(found.mean())
            assert cells.loc[(aggregator, "alie"), name] == pytest.approx(half)
            worst = values(metric, aggregator, worst_attack("accuracy", aggregator)).mean()
            assert cells.loc[(aggregator, "worst"), metric] == pytest.approx(worst)


@pytest.mark.parametrize(
    ("mean", "half", "texts"),
    [
        (1.23456, 0.0123, ("1.235", "0.012")),
        (1.23456, 0.00034, ("1.2346", "0.0003")),
        (12.3456, 3.4, ("12", "3")),
        (0.5, math.nan, ("0.500", "")),
        (math.inf, math.nan, ("inf", "")),
    ],
)
def test_losses_have_as_many_digits_as_their_interval_leaves(mean, half, texts):
    assert with_digits(mean, half, 3, 4) == texts


def run(*options):
    return CliRunner().invoke(app, ["table", *map(str, options)])


def test_the_command_shows_metrics(trained):
    by_rule = ("--rows", "aggregator", "--columns", "epsilon", "--show", "clean,worst")
    shown = run(trained, "--metric", "worst_class_accuracy", *by_rule)
    assert shown.exit_code == 0
    assert "Accuracy in % on the worst class of test data: mean over 3 seeds" in shown.output
    for preset in ("fairness", "generalisation"):
        assert run(trained, "--preset", preset, "--format", "markdown").exit_code == 0
    written = run(trained, "--format", "json")
    rows = pd.DataFrame(json.loads(written.output)["rows"])
    gap = rows["train_accuracy"] - rows["accuracy"]
    np.testing.assert_allclose(rows["generalisation_gap"], gap, atol=1e-12)
    assert (rows["worst_class_accuracy"] <= rows["accuracy"] + 1e-12).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "worst_clas"], "metric"),
        (["--metric", "accuracy", "--preset", "noise"], "--metric; accepted: one of them"),
        (["--metric", "accuracy", "--format", "csv"], "metric: 'accuracy' says nothing of csv"),
    ],
)
def test_the_command_refuses_in_a_line(trained, options, message):
    refused = run(trained, *options)
    assert isinstance(refused.exception, SpecError)
    assert message in str(refused.exception)
