"""What users name is text: in no output is it read as markup."""

import io
import unicodedata
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console
from tex import compile_table, needs_tex

from privrobust import RunSpec
from privrobust.data import Dataset
from privrobust.escaping import in_markdown, in_tex
from privrobust.executors import Outcome
from privrobust.figures.canvas import save_figure
from privrobust.figures.cells import title_of_data
from privrobust.figures.partitions import partition_figure
from privrobust.progress import Bars
from privrobust.running import _status_lines, _warnings_on
from privrobust.tables import FORMATS
from privrobust.tables.layout import Column, Entry, Layout

RED = "\x1b[31mred"
NAMES = ["a[old]", "b2[/].csv", "[red]x", "x[/red]", "[link=http:]y", ":x:", "[bold]"]


def table(*names, notes=()):
    """A table that has each name as a title, as a cell and as the best cell of its column."""
    columns = [Column((name,), is_text=True) for name in names]
    rows = [[Entry(name) for name in names], [Entry(name, is_best=True) for name in names]]
    return Layout(columns, [rows], list(notes))


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_a_terminal_show_names_as_they_are(name):
    lines = (line.strip() for line in FORMATS["terminal"](table(name)).splitlines())
    assert [line for line in lines if line.strip("─")] == [name, name, f"*{name}"]


@pytest.mark.parametrize("name", NAMES)
def test_bars_and_warnings_show_names_as_they_are(name):
    runs = [RunSpec(honest=2, steps=1, dataset=f"mine:{each}") for each in ("a", "b")]
    named = [run.model_construct(**dict(run) | {"dataset": name + run.dataset}) for run in runs]
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with _warnings_on(console):
        watch = Bars(console)
        watch.start(named, done=0)
        for run, accuracy in zip(named, (0.25, 0.5), strict=True):
            watch._cells.add(run.key, accuracy)
        watch.settled(Outcome(named[:1], reason=f"{name} is at fault"))
        watch.stop()
    shown = console.file.getvalue()
    assert f"best accuracy so far 50.0 %: dataset {name}mine:b" in shown
    assert f"worst accuracy so far 25.0 %: dataset {name}mine:a" in shown
    assert f"warning: failed: {name} is at fault" in shown


def test_no_name_commands_a_terminal():
    made = FORMATS["terminal"](table(RED, notes=[RED]))
    assert made.count(r"\x1b[31mred") == 4
    assert "\x1b" not in made
    found = {"done": 0, "running": 0, "failed": 1, "owners": []}
    lines = _status_lines(found | {"failures": [{"reason": RED, "runs": 1}]})
    assert lines.endswith(r"failed: 1 runs: \x1b[31mred")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a[old](b)", r"a\[old\](b)"),
        ("majority_vote", "majority_vote"),
        ("_x_ __init__", r"\_x\_ \_\_init\_\_"),
        ("*x* a*b", r"\*x\* a\*b"),
        ("bold or *: the best", "bold or *: the best"),
        ("<b>&amp; & `x` ~y~ a|b", r"\<b\>\&amp; & \`x\` \~y\~ a\|b"),
    ],
)
def test_markdown_has_signs_as_they_are(text, written):
    assert in_markdown(text) == written
    made = FORMATS["markdown"](table(text, notes=[text]))
    assert f"| {written} |" in made
    assert f"- {written}\n" in made


@pytest.mark.parametrize("text", ["Grüße naïve façade", "α-trimmed", "Медиана", "中値", "ﬁ→✓"])
def test_latex_keeps_letters_of_every_alphabet(text):
    made = FORMATS["latex"](table(text, notes=[text]))
    assert made.count(in_tex(text)) == 4
    assert unicodedata.normalize("NFC", text) in made
    assert "?" not in made
    assert made.splitlines()[1].startswith("% has letters outside ASCII")
    assert FORMATS["latex"](table("ascii ±≥∞†‡°¹²³")).isascii()


def test_latex_composes_accents_which_pdflatex_cannot():
    assert in_tex("e\u0301") == "é"


@needs_tex
def test_latex_of_odd_names_compiles(tmp_path):
    made = FORMATS["latex"](table("[old] Grüße", *NAMES, "#$%&~_^\\{}<>|\"'", notes=NAMES))
    compile_table(made, tmp_path)


@pytest.mark.parametrize("name", ["$x$", "a$b", r"$\frac{$"])
def test_figures_show_names_as_they_are(name, tmp_path):
    labels = torch.arange(40) % 2
    dataset = Dataset.from_tensors(name, torch.zeros(40, 1), labels)
    figure = partition_figure(dataset, ["iid"], honest=2, seed=0)
    figure.axes[0].set_title(title_of_data(name))
    save_figure(figure, tmp_path / "f.svg")
    parsed = ElementTree.parse(tmp_path / "f.svg").iter()
    shown = ["".join(each.itertext()).strip() for each in parsed]
    assert name in shown
    assert f"{name}: training examples of each label and honest worker" in shown
