"""An error in one's own code: file and line, and with `--traceback` all that led to it."""

import json
import sys
import warnings

import pytest

from privrobust.cli.main import main
from privrobust.store import Store

OWN = """
import sys
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


class Ends(Rule):
    "Ends the process, it thinks."

    def aggregate(self, messages):
        Ends.calls += 1
        if Ends.calls > 30:
            sys.exit()  # exit
        return messages.mean(-2)


class Forgets(Rule):
    "Claims a bound when it is tried, and none later."
    has_trained = False

    def aggregate(self, messages):
        Forgets.has_trained |= messages.shape[-1] > 1
        return messages.mean(-2)

    def kappa_bound(self, n, byzantine):
        if Forgets.has_trained:
            raise ValueError("no proof today")  # late bound
        return 1.0


class Unproven(Forgets):
    "Has no bound from the start."

    def kappa_bound(self, n, byzantine):
        raise ValueError("no proof")  # bound


class Public(Forgets):
    "Fails where it is asked what it wants."

    @property
    def public_examples(self):
        raise ValueError("who knows")  # property


class Sees(Attack):
    "Likewise, with an error that pydantic does not take for its own."
    craft = Late.craft

    @property
    def sees(self):
        raise KeyError("eyes")  # sees


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
        ("aggregator: late:Unproven", "Unproven: it failed (no proof", "bound"),
        ("aggregator: late:Public", "Public: it failed (who knows", "property"),
        ("attack: late:Sees\nbyzantine: 1", "Sees: it failed (KeyError: 'eyes'", "sees"),
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
        ("aggregator: late:Ends", "Ends: it failed (SystemExit", "exit"),
        ("aggregator: late:Forgets", "Forgets: it failed (no proof today", "late bound"),
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
    assert f"failed: 1 run: {reason}, {place})" in out
    assert "Traceback" not in out
    code, out, _ = command("status", "results.db", "--traceback")
    assert code == 0
    assert f'late.py", line {line_of(name)}, in ' in out
    assert out.rstrip().splitlines()[-1].strip() in (
        "KeyError: 'oops'",
        "ValueError: enough of this",
        "ValueError: no proof today",
        "SystemExit",
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


def test_what_fails_at_the_end_of_a_run_takes_no_other_with_it(command):
    text = "device: cpu\ngrid: {aggregator: [mean, 'late:Forgets', median]}"
    code, _, _ = command("run", command.write(text), "--quiet")
    assert code == 1
    with Store("results.db", create=False) as store:
        assert set(store.runs()["aggregator"][store.runs()["status"] == "done"]) == {
            "mean", "median"
        }  # fmt: skip


@pytest.mark.parametrize("value", ["'a'", "-1", "float('nan')", "[1.0]"])
def test_a_bound_is_none_or_a_number(command, tmp_path, value):
    (tmp_path / "late.py").write_text(
        OWN.replace('raise ValueError("no proof")  # bound', f"return {value}")
    )
    code, _, err = command("run", command.write("aggregator: late:Unproven"))
    assert code == 2
    assert "Unproven: its kappa_bound is " in err
    assert err.rstrip().endswith(
        "accepted: None, where nothing is proven, or a number of at least 0"
    )


def test_every_command_that_reads_a_sweep_shows_tracebacks(command):
    command("run", command.write("seed: 1"), "--quiet")
    command.write("aggregator: late:Public")
    for of in ("report", "table"):
        code, _, err = command(of, "results.db", "--sweep", "sweep.yaml", "--traceback")
        assert code == 2
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("error: sweep.yaml, line 4: Public: it failed")
