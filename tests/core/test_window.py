"""Prose in windows: every word in its place and whole, no line wider than the window."""

import io
import os
import pty
import sys
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from privrobust.cli.saying import say
from privrobust.core.window import columns_of, wrapped

WORDS = st.lists(st.text("ab_─測.", min_size=1, max_size=9), min_size=1, max_size=30)


@given(WORDS, st.integers(10, 60), st.integers(0, 4), st.integers(0, 4))
def test_words_keep_their_order_and_lines_fit(words, columns, hang, indent):
    lines = wrapped(" " * indent + " ".join(words), columns, hang).split("\n")
    assert " ".join(line.strip() for line in lines).split() == words
    assert all(
        line.startswith(" " * (indent + hang * (place > 0))) for place, line in enumerate(lines)
    )
    assert all(cell_len(line) <= columns or line.strip() in words for line in lines)
    for first, second in pairwise(lines):
        assert cell_len(f"{first} {second.split()[0]}") > columns


@pytest.mark.parametrize("columns", range(3, 40))
def test_a_number_keeps_its_percent_and_its_interval(columns):
    text = "mean 83 ± 5 % of 95 %, b = 0.1, q < 1 and `table a.db | less -S` so on"
    lines = [line.strip() for line in wrapped(text, columns).split("\n")]
    for piece in ("83 ± 5 %", "95 %,", "b = 0.1,", "q < 1", "`table a.db | less -S`"):
        assert any(piece in line for line in lines)


def test_outside_of_windows_lines_stay_whole(monkeypatch, tmp_path):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "word " * 100
    assert wrapped(text, None) == text
    assert columns_of(io.StringIO()) is None
    with (tmp_path / "file").open("w") as file:
        assert columns_of(file) is None
    file = (tmp_path / "file").open()
    file.close()
    assert columns_of(file) is None


@pytest.mark.parametrize(
    ("stated", "columns"), [("60", 60), ("0", None), ("-5", None), ("²", None)]
)
def test_columns_in_the_environment_count_everywhere(monkeypatch, stated, columns):
    monkeypatch.setenv("COLUMNS", stated)
    assert columns_of(io.StringIO()) == columns


@pytest.mark.parametrize(("told", "columns"), [(97, 97), (0, 80)])
def test_a_terminal_is_asked(monkeypatch, told, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda place: os.terminal_size((told, 24)))
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "wb", 0)), closing(os.fdopen(theirs, "w")) as terminal:
        assert columns_of(terminal) == columns


def test_what_is_said_hangs_under_its_mark(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    say("one two three four five", "error: ", err=True)
    assert capsys.readouterr() == ("", "error: one two three\n       four five\n")
    monkeypatch.delenv("COLUMNS")
    say("one two three four five six seven")
    assert capsys.readouterr().out == "one two three four five six seven\n"
    assert not sys.stdout.isatty()
