"""What users name is text: in no output is it read as markup."""

import csv
import io
import logging
import re
import unicodedata
import warnings
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console
from tex import compile_table, needs_tex

from privrobust import RunSpec
from privrobust.cli.main import main
from privrobust.cli.status import _status_lines
from privrobust.cli.train import _warnings_on
from privrobust.core.escaping import in_csv, in_markdown, in_tex
from privrobust.core.json_document import document
from privrobust.data import Dataset
from privrobust.errors import PrivRobustError, PrivRobustWarning, SpecError
from privrobust.reporting.figures.canvas import save_figure
from privrobust.reporting.figures.cells import title_of_data
from privrobust.reporting.figures.partitions import partition_figure
from privrobust.reporting.tables import FORMATS
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.store import Store
from privrobust.sweeps.executors import Outcome
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.progress import Bars, log_to
from privrobust.training.loop import train_lanes

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
    assert FORMATS["latex"](table("ascii ±≥∞†‡°§¶¹²³")).isascii()


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
    assert any(text.startswith(f"{name}: training examples") for text in shown)


UNSEEN = {
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil\x1b\\",
    "C1": "\x9b31m",
    "bidi": "\u202ea\u2066b\u2069",
    "zero-width": "a\u200b\u2060\ufeffb",
    "filler": "a\u3164\u115f\ufe0fb",
    "tag": "a\U000e0041",
    "lines": "a\nerror: b\r\u2028c\x0b\x85d",
    "tab": "a\tb",
    "surrogate": "a\ud800",
    "delete": "a\x7f\x08b",
}


def hidden(text):
    """Signs of it that show as nothing or command something; its lines are not among them."""
    return [
        sign
        for sign in text
        if (unicodedata.category(sign)[0] in "CZ" and sign not in " \n")
        or sign in "\u3164\u115f\ufe0f"
    ]


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("form", FORMATS)
def test_signs_that_nobody_sees_are_written_out_in_tables(form, name):
    plain, made = (FORMATS[form](table(each, notes=[each])) for each in ("a", name))
    assert not hidden(made)
    assert made.count("\n") == plain.count("\n")


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
def test_signs_that_nobody_sees_are_written_out_in_status_log_and_data(name, tmp_path, monkeypatch):
    found = {"done": 0, "running": 1, "failed": 1, "missing": 0, "of_the_sweep": 1}
    owner = {"owner": name, "runs": 1, "seconds_left": 1.0, "has_ended": False}
    found |= {"owners": [owner], "failures": [{"reason": name, "runs": 1}]}
    shown = _status_lines(found)
    assert not hidden(shown)
    assert shown.count("\n") == 3
    assert not hidden(document(found))
    logger = logging.getLogger("privrobust")
    monkeypatch.setattr(logger, "propagate", False)
    before, level = list(logger.handlers), logger.level
    log_to(tmp_path / "log")
    try:
        logger.warning("failed: %s", name)
    finally:
        for handler in set(logger.handlers) - set(before):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
    [line] = (tmp_path / "log").read_text().splitlines()
    assert not hidden(line)


@pytest.mark.filterwarnings("always::privrobust.errors.PrivRobustWarning")
@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
def test_an_error_and_a_warning_are_one_line_of_signs_that_show(name, monkeypatch, capsys):
    def fails(*arguments):
        warnings.warn(name, PrivRobustWarning, stacklevel=2)
        raise PrivRobustError(name)

    monkeypatch.setattr("privrobust.cli.listing._written", fails)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr("sys.argv", ["privrobust", "list"])
    with pytest.raises(SystemExit):
        main()
    _, err = capsys.readouterr()
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["warning", "error"]
    assert not hidden(err)
    monkeypatch.setattr("sys.argv", ["privrobust", "list", "models", name])
    with pytest.raises(SystemExit):
        main()
    assert not hidden(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1", "a;'=1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("a\n=1", r"a\n=1"),
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        ("-inf", "-inf"),
        ("alie(z=-1)", "alie(z=-1)"),
    ],
)
def test_cells_of_csv_are_no_formulas(text, cell):
    assert in_csv(text) == cell


@pytest.fixture
def store_of(tmp_path):
    """Makes one whose names and reasons are these."""

    def made(name):
        with Store(tmp_path / "results.db") as store:
            runs = [RunSpec(steps=2, honest=3, byzantine=1, attack="zero", evaluate_every=1)]
            store.add(train_lanes([*runs, runs[0].model_copy(update={"byzantine": 0})]))
            with store._writing.begin() as connection:
                for field in ("attack", "dataset", "aggregator", "model", "not_private"):
                    connection.exec_driver_sql(
                        f"update runs set {field} = ? where {field} is not null",
                        (name,),
                    )
        return tmp_path / "results.db"

    return made


# databases keep no surrogates
@pytest.mark.parametrize("kind", [*sorted(set(UNSEEN) - {"surrogate"}), "formula"])
def test_no_output_of_a_store_has_signs_that_nobody_sees(kind, store_of, monkeypatch, capsys):
    name = UNSEEN.get(kind, "=1+1")
    path = store_of(name)
    monkeypatch.chdir(path.parent)
    for words in (
        "table results.db --format csv",
        "table results.db --format json",
        "table results.db",
        "report results.db -o page.html",
        "figure epsilon results.db -o epsilon.svg",
        "figure curves results.db -o curves.svg",
        "figure heatmap results.db -o heatmap.svg",
        "figure pareto results.db -o pareto.svg",
        "export results.db --tensorboard events",
    ):
        monkeypatch.setattr("sys.argv", ["privrobust", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == 0, err
        assert not hidden(out + err), words
        if words.endswith("csv"):
            rows = list(csv.reader(io.StringIO(out)))
            assert len(rows) == 4
            assert not [cell for row in rows for cell in row if cell.startswith(("=", "@"))]
    for made in (*path.parent.glob("*.svg"), path.parent / "page.html"):
        text = re.sub("<script.*?</script>", "", made.read_text(), flags=re.DOTALL)
        assert not set(hidden(text)) & set(hidden(name)), made.name
    events = list(path.parent.glob("events/*/events*"))
    is_plain = not hidden(name)
    assert is_plain or name.encode() not in events[0].read_bytes()


def test_no_run_of_a_store_names_another_folder(tmp_path, store_of, monkeypatch, capsys):
    path = store_of("a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.part").mkdir()
    with Store(path) as store, store._writing.begin() as connection:
        connection.exec_driver_sql("update runs set key = '../mine' where byzantine > 0")
    monkeypatch.setattr("sys.argv", ["privrobust", "export", "results.db", "--tensorboard", "e"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "store: '../mine' is no key of a run" in capsys.readouterr().err
    assert (tmp_path / "mine.part").is_dir()


@pytest.mark.parametrize(
    "content",
    [
        "hunter2", "hunter2: 1", "- hunter2", "nosie: hunter2", "a: *hunter2", "a: !hunter2 b",
        "seed: hunter2\napi_key: b", "'hunter2", "\x00hunter2", "? [hunter2]\n: 1", "{hunter2}",
        "seed: 1\nhunter2: 1", "hunter2: &a {b: *a}", "5: hunter2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["", ".yaml", ".env"])
def test_a_file_that_is_no_sweep_is_not_shown(content, ending, tmp_path):
    (tmp_path / f"other{ending}").write_text(content)
    (tmp_path / "sweep.yaml").write_text(f"\nextends: other{ending}")
    said = f"sweep.yaml, line 2: extends: 'other{ending}' is no sweep"
    with pytest.raises(SpecError, match=said) as raised:
        load_sweep(tmp_path / "sweep.yaml")
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_files_are_extended(tmp_path):
    for name in ("/dev/zero", "/dev/stdin", "."):
        (tmp_path / "sweep.yaml").write_text(f"extends: {name}")
        with pytest.raises(SpecError, match="is no file; accepted: a sweep's"):
            load_sweep(tmp_path / "sweep.yaml")


def test_a_field_mistyped_in_the_file_that_is_extended(tmp_path):
    (tmp_path / "base.yaml").write_text("steps: 1\nnoize: laplace")
    (tmp_path / "sweep.yaml").write_text("extends: base.yaml")
    with pytest.raises(SpecError, match=r"base.yaml, line 2: a field .* did you mean 'noise'"):
        load_sweep(tmp_path / "sweep.yaml")
