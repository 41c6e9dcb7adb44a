"""What a person sees: words that are whole, hints before answers, nothing that a screen has not."""

import io
import re
import sys
import warnings
from inspect import signature

import pytest
import typer
from rich.cells import cell_len

from privrobust import RunSpec
from privrobust.cli.commands import app
from privrobust.cli.listing import Kind
from privrobust.cli.main import main
from privrobust.core.escaping import PLAIN, in_encoding
from privrobust.store import Store

RUN = "{honest: 3, steps: 2, clip_norm: 1.0, grid: {noise_scale: [0, 0.1], seed: [0, 1]}}"
BUDGET = ["budget", "-C", "1", "-B", "32", "-n", "95,1000", "-T", "300"]


@pytest.fixture
def screen(tmp_path, monkeypatch, capsys):
    """The command in this process; what it prints, stderr among it as on a screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    (tmp_path / "run.yaml").write_text(RUN)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
        monkeypatch.setattr(sys, "stderr", sys.stdout)  # here, as capsys sets it once more
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize(
    "arguments",
    [
        *(["list", kind] for kind in Kind.__members__),
        [*BUDGET, "-b", "0.1,0.2", "--delta", "1e-5,1e-6"],
        [*BUDGET, "--target-epsilon", "8,2", "--noise", "laplace"],
        ["status", "nowhere.db"],
        ["table", "nowhere.db", "--preset", "tunign", "--where", "agregator=3"],
        ["run", "run.yaml", "--set", "agregator=3"],
    ],
)
def test_nothing_is_wider_than_the_window(arguments, columns, screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = screen(*arguments)
    wide = [line for line in shown.splitlines() if cell_len(line) > columns]
    assert all(" " not in line.strip() for line in wide)  # the path of a folder is one word
    assert len(wide) <= 1
    if shown.startswith("error: "):
        assert all(line.startswith(" " * len("error: ")) for line in shown.splitlines()[1:])
    monkeypatch.delenv("COLUMNS")
    if "budget" not in arguments:  # whose notes are never longer than is good to read
        assert " ".join(shown.split()) == " ".join(screen(*arguments).split())


def test_what_will_be_done_and_what_is_left_out_comes_first(screen):
    trained = screen("run", "run.yaml")
    assert trained.startswith("4 runs, 0 of them in a store, 4 to train; --dry-run says how long ")
    assert trained.index("--dry-run") < trained.index("method") < trained.index("Accuracy in %")
    assert "to train" not in screen("run", "run.yaml")
    shown = screen(*BUDGET, "-b", "0.1")
    assert shown.startswith("Left out: prv, gdp, which take seconds to load; --accountant all ")
    assert "Left out" not in shown.partition("\n")[2]


def test_failures_and_validation_runs_are_told_before_the_table(screen, tmp_path):
    runs = [
        RunSpec(steps=1, seed=seed, evaluate_on=split)
        for seed, split in enumerate(("test", "validation"))
    ]
    (tmp_path / "run.yaml").write_text("{honest: 3, steps: 3, grad_norm_bound: 0.01}")
    shown = screen("run", "run.yaml", "--store", "failed.db", "--quiet")
    told = shown.index("1 of 1 run failed: see `privrobust status failed.db --traceback`; --")
    assert told < shown.index("method")
    assert "1 failed before (--retry-failed trains them, too)" in screen(
        "run", "run.yaml", "--store", "failed.db", "--dry-run"
    )
    from privrobust import train

    with Store("both.db") as store:
        store.add([train(run) for run in runs])
    shown = screen("table", "both.db")
    assert shown.startswith("Left out: 1 run on validation data, there to tune by; --where")
    assert "Left out" not in screen("table", "both.db", "--where", "evaluate_on=validation")
    assert "Left out" not in screen("table", "both.db", "--where", "evaluate_on=test")


def test_what_nothing_was_measured_of_is_said_in_a_line(screen):
    screen("run", "run.yaml", "--quiet")
    assert screen("table", "results.db", "--show", "success,worst") == (
        "error: show: there is nothing to show (success: no run has an attack with a goal of its "
        "own, such as a backdoor; worst: no run has attackers)\n"
    )
    shown = screen("table", "results.db", "--show", "clean,success,gap")
    assert "success: no run has an attack with a goal" in shown
    assert "gap: no run has attackers." in shown
    shown = screen("figure", "curves", "results.db", "--measure", "attack_success_rate")
    assert shown.startswith(
        "error: measure: no run has recorded 'attack_success_rate'; accepted: accuracy, "
    )
    assert shown.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), (None, "")])
def test_the_best_is_bold_where_that_can_be_seen_and_has_a_star_everywhere(
    name, value, screen, monkeypatch, tmp_path
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if name:
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    (tmp_path / "run.yaml").write_text(
        RUN.replace("seed", "aggregator: [median, mean], seed").replace("steps: 2", "steps: 99")
    )
    shown = screen("run", "run.yaml", "--quiet")
    assert shown.count("*") > 1
    assert ("\x1b[1m*" in shown) == (name is None)
    assert (re.search(r"\x1b\[[\d;]*m", shown) is None) == (name is not None)
    assert ("\x1b" in shown) == (name != "TERM")  # of a spinner, which has no colours there


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_screens_without_our_signs_get_a_straight_table(encoding, screen, monkeypatch):
    trained = screen("run", "run.yaml", "--quiet")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    screen("table", "results.db")
    shown = raw.getvalue().decode(encoding)
    assert "?" not in shown
    head, rule, *rows = shown.partition("\n\n")[2].splitlines()[:4]  # findings come before
    assert len({len(head), len(rule), *map(len, rows)}) == 1
    assert rows[0].split()[3] == in_encoding("∞¹", encoding)
    assert in_encoding("¹ not private", encoding) in shown
    assert " ".join(shown.split()[:5]) == " ".join(trained.split()[:5])


def test_stand_ins_keep_the_marks_of_notes_apart():
    marks = ["±", "≥", "∞", "─", "†", "‡", "°", "¹", "²", "³", "~", "*"]
    plain = [in_encoding(mark, "ascii") for mark in marks]
    assert len(set(plain)) == len(marks)
    assert not any("?" in each for each in plain)
    assert in_encoding("漢 ✓ Alptürk", "ascii") == "? ? Alpturk"
    assert "92±1".encode("ascii", PLAIN) == b"92+-1"
    for text in ("∞¹", "naïve", "a\x1b"):
        assert in_encoding(text, "utf-8") == text


def test_help_says_what_every_argument_is(screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in typer.main.get_command(app).commands.values():
        shown = screen(command.name, "--help")
        arguments = {
            name: info
            for name, each in signature(command.callback).parameters.items()
            for info in getattr(each.annotation, "__metadata__", ())
            if isinstance(info, typer.models.ArgumentInfo)
        }
        assert len(re.findall(r"(?mi)^.*arguments:$", shown)) == bool(arguments)
        for info in arguments.values():
            assert info.help in " ".join(shown.split())
