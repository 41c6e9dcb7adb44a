"""Tables in windows: no line is wider, no word is cut, nothing is lost but what is said to be."""

import re
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import settings as few_examples
from hypothesis import strategies as st
from made_runs import RUNS, grid
from rich.cells import cell_len

from privrobust.cli.table import print_table
from privrobust.reporting.tables import FORMATS, PRESETS, SHOWN, lay_out
from privrobust.reporting.tables.folding import folded
from privrobust.reporting.tables.formats import lines
from privrobust.reporting.tables.table import Column, Entry, Layout

LONG = "table(path='/data/of/a/hospital/in/a/folder/with/a/long/name.csv', label='died')"


def layout_of(texts, values, rows, detail=0):
    """Columns of names, then of numbers, some of them details; every cell is told apart."""
    heads = [Column((name,), is_text=True) for name in texts]
    heads += [
        Column(header, detail="details" if place < detail else "")
        for place, header in enumerate(values)
    ]
    names = [[f"r{row}_of {name}" for name in texts] for row in range(rows)]
    cells = [[f"{row}.{place}±9" for place in range(len(values))] for row in range(rows)]
    body = [
        [Entry(text) for text in [*left, *right]] for left, right in zip(names, cells, strict=True)
    ]
    return Layout(heads, [body[: rows // 2], body[rows // 2 :]] if rows > 1 else [body], [])


WORDS = st.text("abc", min_size=1, max_size=8)
NAMES = st.lists(WORDS, min_size=1, max_size=3).map("_".join)
HEADERS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


@few_examples(max_examples=50)
@given(
    st.lists(NAMES, max_size=5),
    st.lists(HEADERS, min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(30, 120),
)
def test_every_cell_is_there_once_and_every_line_fits(texts, values, rows, columns):
    layout = layout_of(texts, values, rows)
    told, parts = folded(layout, columns)
    shown = [lines(part) for part in parts]
    assert max(cell_len(line) for part in shown for line in part) <= columns
    cells = [word for part in shown for line in part for word in line.split() if "±" in word]
    assert sorted(cells) == sorted(
        entry.text for block in layout.blocks for row in block for entry in row if "±" in entry.text
    )
    # headers are whole when what is broken is put together again
    heads = [
        "".join(column.header) for part in parts for column in part.columns if not column.is_text
    ]
    assert heads == ["".join(header) for header in values]
    for part in parts:
        for column in part.columns:
            pieces = [piece for piece in column.header if piece]
            for piece in pieces:
                assert re.fullmatch(r"[abc]+(_[abc]+)*_?|row", piece)
    # a name is beside its numbers, or said before with the row's number, or is that of all rows
    names = {
        entry.text
        for block in layout.blocks
        for row in block
        for entry in row
        if "±" not in entry.text
    }
    everything = " ".join([*told, *(line for part in shown for line in part)])
    for name in names:
        assert all(piece in everything for piece in re.split(r"(?<=[_ ])", name) if piece.strip())


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 150, 200])
def test_what_has_room_is_left_as_it_is(columns):
    layout = layout_of(["method", "b"], [("f=2", "sign_flip"), ("f=2", "alie")], 4)
    assert folded(layout, columns) == ([], [layout])
    assert folded(layout_of(["a"], [("x",)] * 99, 2), None)[0] == []


def test_headers_break_after_underscores_spaces_and_between_parameters_alone():
    header = ("f=2", "own_large_value(scale=100.0, hidden=[64, 32], of='a_b c')")
    layout = layout_of(["name"], [header, *[("f=2", "alie")] * 4], 2)
    _, (part,) = folded(layout, 79)
    [column] = [each for each in part.columns if "scale=100.0" in each.title]
    pieces = ["own_", "large_", "value(", "scale=100.0,", "hidden=[64, 32],", "of='a_b c')"]
    shown = [piece for piece in column.header if piece and piece != "f=2"]
    assert "".join(shown).replace(" ", "") == "".join(pieces).replace(" ", "")
    for piece in pieces:
        assert sum(piece in line for line in shown) == 1
    assert {column.header[0] for column in part.columns if not column.is_text} == {"f=2"}


def test_columns_of_a_group_stay_together_where_they_fit():
    values = [("epsilon",), ("clean",), *[("f=2", f"attacker{place}") for place in range(4)]]
    told, parts = folded(layout_of(["method"], values, 3), 60)
    assert [[column.title for column in part.columns if not column.is_text] for part in parts] == [
        ["epsilon", "clean"], [f"f=2 attacker{place}" for place in range(4)],
    ]  # fmt: skip
    assert told[0].startswith("In 2 parts, as all 6 columns side by side take ")


def test_what_all_rows_share_is_said_once():
    layout = layout_of(["method"], [("value",)] * 9, 3)
    same = [[[*row[:1], Entry("0"), *row[1:]] for row in block] for block in layout.blocks]
    layout = Layout(
        [layout.columns[0], Column(("heterogeneity",), is_text=True), *layout.columns[1:]], same, []
    )
    told, parts = folded(layout, 80)
    assert "In every row: heterogeneity 0" in told
    assert not any("heterogeneity" in column.title for part in parts for column in part.columns)


def test_names_that_leave_no_room_are_told_before_by_a_number():
    rows = [
        [Entry(LONG.replace("died", name)), Entry(f"{place}.5±1")]
        for place, name in enumerate("abc")
    ]
    layout = Layout(
        [Column(("dataset",), is_text=True), Column(("clean",))], [rows[:1], rows[1:]], []
    )
    told, (part,) = folded(layout, 60)
    assert told == [f"dataset {at}: {row[0].text}" for at, row in enumerate(rows, 1)]
    assert [line.split() for line in lines(part)[2:] if line] == [
        ["1", "0.5±1"],
        ["2", "1.5±1"],
        ["3", "2.5±1"],
    ]


def test_of_many_parts_details_are_left_out_and_said_to_be():
    values = [("f=2", f"attack_{place}") for place in range(30)] + [("f=2", "worst")]
    layout = layout_of(["method"], values, 3, detail=30)
    told, (part,) = folded(layout, 60)
    assert [column.title for column in part.columns] == ["method", "f=2 worst"]
    assert re.fullmatch(
        r"Left out: details, as all 31 columns side by side take \d+; `\| less -S` shows them so\.",
        told[0],
    )
    _, several = folded(layout_of(["method"], values, 3), 60)  # of no details, nothing
    assert sum(len(each.columns) - 1 for each in several) == 31


LARGE = grid(attack=["sign_flip", "alie", "large_value(scale=10.0)", "min_max", "own_sign_flip"])


@pytest.mark.parametrize("name", [None, *PRESETS])
def test_tables_of_every_preset_fit_every_window(name, monkeypatch, capsys):
    runs = LARGE
    if name == "clipping":
        runs = grid(clip_norm=[0.5, 1.0], attack=["alie"])
    if name == "theory":
        runs = runs.assign(kappa_bound=1.5, error_bound=12.5, error_of_mean=0.25)
    if name == "tuning":
        runs = grid(learning_rate=[0.1, 0.5], byzantine=[0], attack=[None])
    layout = PRESETS[name](runs) if name else lay_out(runs, SHOWN, across=["noise_scale"])
    for columns in (60, 80, 100, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        print_table(layout)
        shown = capsys.readouterr().out
        assert max(map(cell_len, shown.splitlines())) <= columns
        is_whole = "Left out: single attacks" not in shown
        for column, entries in zip(
            layout.columns, zip(*chain(*layout.blocks), strict=True), strict=True
        ):
            if not column.is_text and (is_whole or not column.detail):
                assert all(entry.text in shown for entry in entries)


def test_a_file_has_every_row_in_one_line(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    layout = PRESETS["attacks"](RUNS)
    print_table(layout)
    assert capsys.readouterr().out == FORMATS["terminal"](layout)
