"""An epsilon that leaves out what scaling measured says so wherever it stands."""

import math

import pytest
from made_runs import row, stored

from privrobust.reporting.figures.notes import guarantee as of_figures
from privrobust.reporting.legend import guarantee, promise
from privrobust.reporting.report import words
from privrobust.reporting.report.rows import rows_of
from privrobust.reporting.scaling import SCALED, is_scaled
from privrobust.reporting.tables import FORMATS, PRESETS, data

PLAIN = "table(path='a.csv', label='y')"
BY_DATA = "table(path='a.csv', label='y', scaling='standard')"
NOTE = "data was scaled by what its training examples measured, which epsilon does not count."


def runs_of(*datasets, noise=(0.0, 0.1)):
    return stored(
        [
            row(0.8, dataset=name, noise_scale=b, seed=seed, learning_rate=rate)
            for name in datasets
            for b in noise
            for seed in range(3)
            for rate in (0.1, 0.2)
        ]
    )


@pytest.mark.parametrize(
    ("dataset", "measures"),
    [
        ("digits", False),
        (PLAIN, False),
        (BY_DATA, True),
        ("subset(size=300)", False),
        ("mine:data", False),
        ("table(", False),
        ("table(scaling='standard')", False),  # no dataset: a store may hold any text
        ("", False),
    ],
)
def test_what_a_store_says_of_its_data_tells_it(dataset, measures):
    frame = runs_of("digits").assign(dataset=dataset)
    assert list(is_scaled(frame["dataset"])) == [measures] * len(frame)


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("preset", ["attacks", "noise", "budget", "tuning"])
def test_every_table_marks_the_epsilons_that_leave_it_out(form, preset):
    text = FORMATS[form](PRESETS[preset](runs_of(PLAIN, BY_DATA)))
    mark = r"\P" if form == "latex" else SCALED
    mark = mark if mark in text else SCALED
    assert NOTE in " ".join(text.split())
    assert f"2.74{mark}" in text.replace(" ", "")
    assert "2.74" in text.replace(" ", "").replace(
        f"2.74{mark}", ""
    )  # that of the same data as it is
    assert f"∞{mark}" not in text
    plain = FORMATS[form](PRESETS[preset](runs_of(PLAIN, "digits")))
    assert NOTE not in " ".join(plain.split())
    assert SCALED not in plain


def test_where_nothing_is_promised_nothing_is_left_out():
    assert NOTE not in " ".join(guarantee(runs_of(BY_DATA, noise=(0.0,))))


def test_it_is_a_column_of_data_and_a_note_of_json():
    cells = data(runs_of(PLAIN, BY_DATA))
    of = cells.groupby("dataset")["scaled_by_data"].agg(["min", "max"])
    assert of.loc[BY_DATA].all()
    assert not of.loc[PLAIN].any()
    assert any(NOTE in line for line in promise(runs_of(BY_DATA)))


def test_figures_and_the_report_say_it():
    runs = runs_of(PLAIN, BY_DATA)
    for say in (lambda frame: of_figures(frame, frame), words.guarantees):
        assert f"The {NOTE}" in list(say(runs))
        assert not any(NOTE in line for line in say(runs_of(PLAIN)))
    for each in rows_of(runs, runs[:0]).rows:
        leaves_out = each.setting["dataset"] == BY_DATA and math.isfinite(each.epsilon)
        assert each.scaled_by_data == leaves_out
