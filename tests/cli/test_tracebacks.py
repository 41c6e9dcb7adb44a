"""An error in one's own code: file and line, and with `--traceback` all that led to it."""

import json
import sys
import warnings

import pytest

from privrobust.cli.main import main

OWN = """
from torch import nn
from privrobust.aggregators import Aggregator
from privrobust.attacks import Attack
from privrobust.schedules import Schedule


class Late(Attack):
    "Fails in its thirtieth step."
    calls = 0

    def craft(self, honest, byzantine, generator):
        Late.calls += 1
        if Late.calls > 30:
            return {}["oops"]  # attack
        return honest[..., :byzantine, :]


class Rule(Aggregator):
    "Fails likewise."
    calls = 0

    def aggregate(self, messages):
        Rule.calls += 1
        if Rule.calls > 30:
            raise ValueError("enough of this")  # aggregator
        return messages.mean(-2)


class Falls(Schedule):
    "Fails at once."

    def factor(self, done):
        return 1 / 0  # schedule


def net(shape, classes):
    raise RuntimeError("no weights today")  # model


def data():
    return [][3]  # dataset
"""
RUN = "honest: 3\nsteps: 40\nevaluate_every: 40\n"


def line_of(name):
    return next(at for at, line in enumerate(OWN.splitlines(), 1) if line.endswith(f"# {name}"))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, threads):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    (tmp_path / "late.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "late", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    def write(text):
        (tmp_path / "sweep.yaml").write_text(RUN + text)
        return "sweep.yaml"

    run.write = write
    yield run
    sys.modules.pop("late", None)


@pytest.mark.parametrize(
    ("text", "said", "name"),
    [
        (
            "schedule: late:Falls",
            "Falls: it failed (ZeroDivisionError: division by zero",
            "schedule",
        ),
        ("model: late:net", "(no weights today", "model"),
        ("dataset: late:data", "(IndexError: list index out of range", "dataset"),
    ],
)
def test_before_training_a_line_and_on_demand_a_traceback(command, text, said, name):
    place = f"late.py, line {line_of(name)}"
    code, out, err = command("run", command.write(text))
    assert (code, out) == (2, "")
    assert f"{said}, {place})" in err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: sweep.yaml, line 4: ")
    code, out, err = command("run", "sweep.yaml", "--traceback")
    *trace, line = err.splitlines()
    assert line.startswith("error: ")
    assert trace[0] == "Traceback (most recent call last):"
    assert any(f'late.py", line {line_of(name)}, in ' in each for each in trace)


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("text", "reason", "name"),
    [
        ("byzantine: 1\nattack: late:Late", "Late: it failed (KeyError: 'oops'", "attack"),
        ("aggregator: late:Rule", "Rule: it failed (enough of this", "aggregator"),
    ],
)
def test_failures_in_training_are_kept_with_file_line_and_traceback(
    command, text, reason, name, jobs
):
    place = f"late.py, line {line_of(name)}"
    code, out, err = command("run", command.write(text), "--quiet", "--jobs", jobs)
    assert code == 1
    assert f"failed: {reason}, {place})" in " ".join(out.split())
    assert "privrobust status results.db --traceback" in err
    code, out, _ = command("status", "results.db")
    assert f"failed: 1 runs: {reason}, {place})" in out
    assert "Traceback" not in out
    code, out, _ = command("status", "results.db", "--traceback")
    assert code == 0
    assert f'late.py", line {line_of(name)}, in ' in out
    assert out.rstrip().splitlines()[-1].strip() in (
        "KeyError: 'oops'",
        "ValueError: enough of this",
    )
    code, out, _ = command("status", "results.db", "--traceback", "--format", "json")
    (failure,) = json.loads(out)["failures"]
    assert failure["runs"] == 1
    assert f"line {line_of(name)}" in failure["traceback"]


def test_a_traceback_is_text_that_runs_nothing_in_a_terminal(command, tmp_path):
    (tmp_path / "late.py").write_text(
        "def net(shape, classes):\n    raise ValueError('\\x1b[2J')\n"
    )
    _, _, err = command("run", command.write("model: late:net"), "--traceback")
    assert "\x1b" not in err
    assert "\\x1b[2J" in err


def test_what_is_wrong_with_a_sweep_alone_has_its_place_too(command):
    code, _, err = command("run", command.write("batch_size: 5000"))
    assert code == 2
    assert err.startswith("error: sweep.yaml, line 4: batch_size: 5000 is more than the ")


@pytest.mark.filterwarnings("always::privrobust.errors.PrivRobustWarning")
def test_a_field_that_does_nothing_is_told_in_a_dry_run_and_once(command):
    sweep = command.write("attack: alie\ngrid: {seed: [0, 1]}")
    _, out, err = command("run", sweep, "--dry-run")
    assert err.splitlines() == [
        "warning: sweep.yaml, line 4: attack: does nothing in any run; accepted: with byzantine: 1 "
        "or more"
    ]
    assert "2 runs" in out
