"""What is said of tuning: counted by its law, or not; rows that average over what was chosen."""

import math

import pandas as pd
import pytest
import yaml
from made_runs import row, stored, words

from privrobust.reporting.figures.epsilon import epsilon_figure
from privrobust.reporting.report.recipes import recipe
from privrobust.reporting.report.rows import rows_of
from privrobust.reporting.report.words import guarantees
from privrobust.reporting.summary import row_fields, summarise
from privrobust.reporting.tables import PRESETS, lay_out
from privrobust.reporting.tuning import NOT_COUNTED, about_tuning
from privrobust.sweeps.grid import Sweep

POISSON, CONSTANT = "poisson(mean=10.0)", "constant(count=3)"
RATES = [0.1, 0.5, 2.0]
OUTSIDERS, EVERYBODY = "against outsiders alone", "all of which may be seen"


def chosen(repeats, rates=RATES, **settings):
    """Runs of three seeds, clean and attacked, each with a learning rate of its own."""
    given = {"noise_scale": 0.3, "repeats": repeats} | settings
    runs = []
    for seed, rate in enumerate(rates):
        of = given | {"seed": seed, "repetition": seed + 3}
        runs.append(row(0.8 + seed / 100, **of, learning_rate=rate))
        of |= {"byzantine": 2, "attack": "alie"}
        runs.append(row(0.5 + seed / 100, **of, learning_rate=rates[-1 - seed]))
    return runs


def test_each_law_is_told_once_and_whether_some_is_not():
    assert list(about_tuning([None, math.nan])) == [NOT_COUNTED]
    told = list(about_tuning([POISSON, CONSTANT, POISSON]))
    assert [POISSON in told[0], OUTSIDERS in told[0]] == [True, True]
    assert [CONSTANT in told[1], EVERYBODY in told[1]] == [True, True]
    assert len(told) == 2
    assert list(about_tuning([None, POISSON]))[-1].startswith("Not counted, without repeats:")


def test_what_each_seed_chose_is_averaged_over():
    runs = stored(chosen(POISSON))
    assert "learning_rate" not in row_fields(runs)
    summary = summarise(runs)
    clean = summary.xs("", level="attack")
    assert clean["seeds"].tolist() == [3]
    assert clean["accuracy"].item() == pytest.approx(0.81)


def test_what_is_compared_is_not():
    """Two schedules, each with the rates that seeds chose; and a tuned row beside others."""
    runs = stored([*chosen(POISSON), *chosen(POISSON, schedule="cosine")])
    assert [name for name in row_fields(runs) if name in ("schedule", "learning_rate")] == [
        "schedule"
    ]
    beside = [row(0.7, noise_scale=0.3, learning_rate=0.5, seed=seed) for seed in range(3)]
    both = stored([*chosen(POISSON), *beside])
    assert row_fields(both)[-1] == "repeats"
    assert "learning_rate" not in row_fields(both)
    plain = [row(0.7, noise_scale=0.3, learning_rate=rate, seed=0) for rate in RATES]
    assert "learning_rate" in row_fields(stored(plain))
    assert "learning_rate" in row_fields(stored([*chosen(POISSON), *plain]))


def test_runs_by_which_one_was_chosen_are_told_apart():
    """On the validation split one seed has runs of several rates."""
    tried = [
        row(0.7 + rate / 10, noise_scale=0.3, repeats=POISSON, repetition=place, **{
            "learning_rate": rate, "evaluate_on": "validation", "seed": seed
        })
        for seed in range(2)
        for place, rate in enumerate([0.1, 0.5, 0.1])
    ]  # fmt: skip
    layout = PRESETS["tuning"](stored(tried))
    assert not any("epsilon does not count" in note for note in layout.notes)
    assert any(note.startswith(f"Counted, with repeats {POISSON}") for note in layout.notes)
    plain = PRESETS["tuning"](stored([one | {"repeats": None, "key": str(n)}
                                      for n, one in enumerate(tried)]))  # fmt: skip
    assert any("epsilon does not count" in note for note in plain.notes)


@pytest.mark.parametrize("law", [POISSON, CONSTANT])
def test_tables_figures_and_reports_say_what_is_counted(law):
    runs = stored(chosen(law))
    counted = next(about_tuning([law]))
    notes = lay_out(runs).notes
    assert counted in notes
    assert NOT_COUNTED not in notes
    (told,) = guarantees(runs)
    assert told.endswith(counted)
    text = words(epsilon_figure(stored([*chosen(law), *chosen(law, noise_scale=0.03)])))
    assert " ".join(counted.split()[:4]) in text
    assert "not counted" not in text


def test_a_report_marks_rows_whose_tuning_is_not_counted_alone():
    tried = stored([row(0.7, noise_scale=0.3, evaluate_on="validation")]).astype({"attack": object})
    priced = tried.assign(repeats=POISSON)
    plain = stored([row(0.7, noise_scale=0.3, seed=seed) for seed in range(3)])
    plain = plain.astype({"attack": object})
    assert [each.tuned for each in rows_of(plain, tried).rows] == [True]
    assert [each.tuned for each in rows_of(plain, priced).rows] == [False]
    both = rows_of(pd.concat([plain, stored(chosen(POISSON))]), pd.concat([tried, priced]))
    assert {str(each.setting["repeats"]): each.tuned for each in both.rows} == {
        "none": True, POISSON: False,
    }  # fmt: skip


def test_the_yaml_of_a_row_trains_the_runs_that_were_chosen():
    runs = stored(chosen(POISSON))
    sweep = Sweep.from_settings(yaml.safe_load(recipe(runs)))
    assert sorted(run.key for run in sweep.runs()) == sorted(runs.index)
