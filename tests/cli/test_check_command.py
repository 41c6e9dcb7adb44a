"""`privrobust check`: what it prints, its exit codes, and what it loads."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privrobust.cli.main import app
from privrobust.errors import SpecError
from privrobust.federated.check.settings import SETTINGS

PROJECT = """
[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "client:app"
[tool.flwr.app.config]
num-server-rounds = 100
clipping-norm = 1.0
"""
CLIENT = """
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
def private(message, context, call_next):
    clip = context.run_config["clipping-norm"]
    mod = LocalDpMod(clip, clip, epsilon=1.0, delta=1e-5)
    return mod(message, context, call_next)
app = ClientApp(mods=[private])
"""
HEAVY = {"flwr", "llvmlite", "numba", "opacus", "pandas", "sklearn", "sqlalchemy", "torch"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "server.py").write_text("")
    (tmp_path / "client.py").write_text(CLIENT)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_a_claim_that_does_not_hold_ends_with_1(folder):
    done = run(folder)
    assert done.exit_code == 1
    (row, exchanged) = [line.split() for line in done.stdout.splitlines() if "LocalDpMod  " in line]
    assert row[:3] == ["LocalDpMod", "epsilon", "1"]
    assert {"10.40", "zero-out", "1e-05"} <= set(row)
    assert {"25.45", "replace-one"} <= set(exchanged)
    assert "100 rounds compose" in " ".join(done.stdout.split())
    assert "(client.py, line 6)" in " ".join(done.stdout.split())
    assert done.stderr == "2 claims do not hold\n"


def test_a_claim_that_holds_ends_with_0(folder):
    done = run(folder, "--set", "rounds=1", "--set", "sensitivity=2")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.count("  holds  ") == 3  # the column's name is one


def test_what_cannot_be_told_is_asked_and_ends_with_0(folder):
    (folder / "client.py").write_text(CLIENT.replace("delta=1e-5", "delta=found()"))
    done = run(folder)
    assert done.exit_code == 0
    assert "Not stated, to be answered: --set delta=..." in done.stdout
    assert run(folder, "--set", "delta=1e-5").exit_code == 1


def test_nothing_to_check_is_said(folder):
    (folder / "client.py").write_text("")
    (folder / "pyproject.toml").write_text(PROJECT.replace("clipping-norm", "width"))
    done = run(folder)
    assert (done.exit_code, done.stdout) == (0, "Nothing that claims privacy was found.\n")


def test_json_has_every_digit_and_the_questions(folder):
    (folder / "client.py").write_text(CLIENT.replace("epsilon=1.0", "epsilon=found()"))
    done = run(folder, "--set", "epsilon=1", "--format", "json")
    found = json.loads(done.stdout)
    assert found["kind"] == "Flower app"
    assert found["rows"][0]["holds"] == pytest.approx(10.39388)
    assert found["rows"][0]["verdict"] == "does not hold"
    asked = json.loads(run(folder, "--format", "json").stdout)
    assert asked["rows"][0]["holds"] is None
    assert [question.split("=")[0] for question in asked["questions"]] == ["--set epsilon"]


@pytest.mark.parametrize("form", ["markdown", "latex", "html", "csv"])
def test_other_formats_go_to_files(folder, form):
    target = folder / "out"
    assert run(folder, "--format", form, "--output", target).exit_code == 1
    text = target.read_text()
    assert "LocalDpMod" in text
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["adjacency"] for row in rows] == ["zero-out", "replace-one"]


def test_text_of_others_cannot_command_a_terminal(folder):
    (folder / "pyproject.toml").write_text(
        PROJECT + '"noise-multiplier" = "\\u001b[31mred"\n"epsilon\\u001b[2J" = 1\n'
    )
    (folder / "client.py").write_text("")
    done = run(folder)
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is not there"),
        ([".", "--format", "pdf"], "unknown name 'pdf'"),
        ([".", "--set", "clipping-norm=nan"], "clipping_norm: 'nan' is not a finite number"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    raised = run(*arguments).exception
    assert isinstance(raised, SpecError)
    assert message in str(raised)


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    project, server, shown = re.findall(r"```(?:toml|python|)\n(.+?)\n```", page, re.DOTALL)[1:4]
    (tmp_path / "median").mkdir()
    (tmp_path / "median" / "pyproject.toml").write_text(project)
    (tmp_path / "median" / "server.py").write_text(server)
    (tmp_path / "median" / "client.py").write_text("")
    monkeypatch.chdir(tmp_path)
    command, _, expected = shown.partition("\n")
    done = run(*command.removeprefix("$ privrobust check ").split())
    assert (done.exit_code, done.stdout.rstrip()) == (1, expected)


def test_the_page_lists_every_setting_by_all_its_names():
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"(?m)^\| `(\w+)` \| ([`\w, ]*) \|", page))
    assert set(listed) == set(SETTINGS)
    for name, others in listed.items():
        assert tuple(re.findall(r"\w+", others)) == SETTINGS[name].others


@pytest.mark.parametrize("arguments", ["--help", "{folder}"])
def test_it_loads_neither_torch_nor_what_it_reads_of(folder, arguments):
    code = (
        "import sys\nfrom privrobust.cli.main import app\n"
        f"try: app({['check', *arguments.format(folder=folder).split()]!r})\n"
        f"except SystemExit: print(*{HEAVY!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) <= {"pandas"}
