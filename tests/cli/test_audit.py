"""`privrobust audit`: what it prints, its exit codes, and what it refuses."""

import inspect
import io
import json
import math
import sqlite3
import sys
import warnings
from contextlib import contextmanager

import pandas as pd
import pytest
import torch

from privrobust import RunSpec, train
from privrobust.audit.canaries import CANARIES
from privrobust.audit.pipeline import RUNS
from privrobust.audit.tails import audit_tails
from privrobust.audit.watching import OBSERVERS
from privrobust.cli.audit import audit
from privrobust.cli.main import main
from privrobust.gradients.clipping import CLIPPING_RULES
from privrobust.store import Store

RUN = "{honest: 3, steps: 2, clip_norm: 1.0, noise_scale: 0.3}"
QUICK = ("--runs", "100", "--observer", "messages")
LOUD = ("--set", "batch_size=400", "--set", "noise_scale=0.03")


@pytest.fixture
def inside(tmp_path, monkeypatch, capsys):
    """The command in this process, in a folder with a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    (tmp_path / "run.yaml").write_text(RUN)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def no_clipping(monkeypatch):
    """A fault: every gradient is multiplied with one."""
    for rule in CLIPPING_RULES.values():
        monkeypatch.setattr(rule, "factors", lambda self, norms, bound: torch.ones_like(norms))


def test_a_sound_run_stands_for_every_observer(inside):
    code, out, err = inside("run.yaml", "--runs", "100")
    assert (code, err) == (0, "")
    cells = [line.split() for line in out.splitlines() if line.startswith("  median")]
    assert [line[2] for line in cells] == list(OBSERVERS)
    assert "refuted" not in [word for line in cells for word in line]
    assert "all 3 rows hold together with confidence 95 %" in " ".join(out.split())
    assert out.count("the observer knows parameters") == 1


def test_a_broken_run_is_refuted_with_exit_code_1(inside, no_clipping):
    code, out, err = inside("run.yaml", *QUICK, *LOUD)
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("  median")]
    assert "refuted" in row
    assert err == "1 of 1 claim is refuted: an attack tells more than epsilon allows\n"


def test_json_is_what_results_say(inside, no_clipping):
    code, out, _ = inside("run.yaml", *QUICK, "--format", "json", "--seed", "3")

    def refuse(constant):
        raise AssertionError(constant)

    (found,) = json.loads(out, parse_constant=refuse)
    assert code == int(found["is_refuted"])
    assert found["ratio"] == found["epsilon_lower_bound"] / found["claimed"]
    counts = found["counts"]
    assert counts["runs_with"] + counts["runs_without"] == 60  # three fifths are counted
    assert RunSpec(**found["spec"]) == RunSpec(honest=3, steps=2, clip_norm=1.0, noise_scale=0.3)
    assert found["observer"] == "messages"
    assert found["confidence"] == 0.95


def test_a_sweep_is_audited_once_for_all_seeds(inside, tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        RUN.replace("}", ", grid: {aggregator: [mean, krum], seed: [0, 1, 2]}}")
    )
    code, out, _ = inside("sweep.yaml", "--runs", "100", "--observer", "model", "--format", "csv")
    frame = pd.read_csv(io.StringIO(out))
    assert code == 0
    assert list(frame["aggregator"]) == ["mean", "krum"]
    assert list(frame["runs"]) == [100, 100]


def test_helpers_take_the_place_of_attackers(inside, tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        RUN.replace("}", ", byzantine: 1, grid: {attack: [alie, sign_flip]}}")
    )
    _, out, _ = inside("sweep.yaml", *QUICK, "--helpers", "1", "--format", "json")
    (found,) = json.loads(out)
    assert found["helpers"] == 1


def test_names_with_commas_or_repeated(inside):
    options = ["--observer", "model,messages", "--observer", "model", "--canaries", "blank, update"]
    _, out, _ = inside("run.yaml", "--runs", "100", *options, "--format", "json")
    found = [(each["canaries"], each["observer"]) for each in json.loads(out)]
    kinds, observers = ("blank", "update"), ("model", "messages")
    assert found == [(kind, observer) for kind in kinds for observer in observers]


def test_a_stated_epsilon_takes_the_place_of_the_accountants(inside):
    _, out, _ = inside("run.yaml", *QUICK, "--claimed", "7.5", "--adjacency", "replace-one")
    assert "  7.5  " in out
    assert "by stated" in out
    assert "(replace-one)" in out


def test_many_canaries_share_a_run(inside):
    _, out, _ = inside("run.yaml", *QUICK, "--runs", "2", "--per-run", "60", "--format", "json")
    (found,) = json.loads(out)
    assert (found["estimator"], found["counts"]["canaries"]) == ("one_run", 72)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_figure_and_a_table_in_files(inside, tmp_path, ending):
    files = ["--plot", f"figure.{ending}", "-o", "table.md", "--format", "markdown"]
    code, out, _ = inside("run.yaml", *QUICK, *files)
    assert (code, out) == (0, "")
    assert (tmp_path / f"figure.{ending}").stat().st_size > 1000
    assert (tmp_path / "table.md").read_text().startswith("| method | canaries | observer |")


def test_a_finished_run_of_a_store(inside):
    trained = RunSpec(honest=3, steps=2, clip_norm=1.0, target_epsilon=1.0, seed=4)
    with Store("results.db") as store:
        store.add([train(trained), train(RunSpec(honest=3, steps=2))])
    at = ("--store", "results.db", "--run")
    code, out, _ = inside(*at, trained.key[:12], *QUICK, "--format", "json")
    (found,) = json.loads(out)
    assert code == 0
    assert RunSpec(**found["spec"]) == trained.model_copy(update={"seed": 0})
    assert 0.9 < found["claimed"] <= 1.0
    _, out, _ = inside(*at, trained.key, *QUICK, "--set", "delta=1e-3", "--format", "json")
    assert json.loads(out)[0]["delta"] == 1e-3
    code, out, err = inside(*at, "", *QUICK)
    assert (code, out) == (2, "")
    assert err.startswith("error: run: '' starts the keys of 2 finished runs")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [("mine:stripes", "names a module"), ("table(path='there.csv', label='y')", "is a file that")],
)
def test_a_store_of_others_imports_and_opens_nothing(inside, tmp_path, dataset, message):
    """As whoever made it might have written, in a module or a file that is there."""
    (tmp_path / "mine.py").write_text("raise AssertionError")
    trained = RunSpec(honest=3, steps=2)
    with Store("results.db") as store:
        store.add([train(trained)])
    with sqlite3.connect("results.db") as database:
        database.execute("update runs set dataset = ?", [dataset])
    code, out, err = inside("--store", "results.db", "--run", trained.key, *QUICK)
    assert (code, out) == (2, "")
    assert message in err


def test_modules_in_a_file_can_be_refused(inside, tmp_path):
    (tmp_path / "mine.py").write_text("raise AssertionError")
    code, _, err = inside("run.yaml", "--set", "model=mine:net", "--no-plugins", *QUICK)
    assert code == 2
    assert "names a module, which --no-plugins refuses" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "audit: give either a YAML file or --store with --run; neither is given"),
        (["run.yaml", "--store", "a.db", "--run", "a"], "--run; both are given"),
        (["--store", "a.db"], "run: --store and --run go together"),
        (["run.yaml", "--run", "a"], "run: --store and --run go together"),
        (["--store", "a.db", "--run", "a"], "a.db"),
        (["none.yaml"], "none.yaml"),
        (["run.yaml", "--set", "steps=0"], "steps: 0 is not accepted"),
        (["run.yaml", "--set", "clip_nrom=1"], "did you mean 'clip_norm'?"),
        (["run.yaml", "--observer", "server"], "observer: 'server' is not one of messages, "),
        (["run.yaml", "--canaries", "birds"], "canaries: 'birds' is not one of coordinate, "),
        (["run.yaml", "--canaries", "blank", "--set", "unit=worker"], "canaries: blank with unit"),
        (["run.yaml", "--helpers", "-1"], "helpers: -1 "),
        (["run.yaml", "--runs", "99"], "runs, per_run: 99 x 1 canaries; accepted: at least 100"),
        (["run.yaml", "--runs", "0"], "runs: 0 "),
        (["run.yaml", "--per-run", "0"], "per_run: 0 "),
        (["run.yaml", "--per-run", "9999"], "per_run: 9999 canaries; accepted: at most "),
        (["run.yaml", "--per-run", "2", "--canaries", "blank"], "per_run: 2 canaries blank"),
        (["run.yaml", "--adjacency", "zero-out"], "adjacency: 'zero-out' is not accepted"),
        (["run.yaml", "--claimed", "-1"], "claimed: -1"),
        (["run.yaml", "--claimed", "nan"], "claimed: nan"),
        (["run.yaml", "--confidence", "1"], "confidence: 1"),
        (["run.yaml", "--seed", "-1"], "seed: -1 "),
        (["run.yaml", "--format", "tex"], "format: unknown name 'tex'"),
        (["run.yaml", "--format", "parquet"], "format: unknown name 'parquet'"),
        (["run.yaml", "--plot", "figure"], "plot: 'figure' is no file name"),
        (["run.yaml", "--plot", "figure.doc"], "plot: 'figure.doc' cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_trains_nothing(inside, monkeypatch, arguments, message):
    monkeypatch.setattr("privrobust.audit.audited_runs.train_lanes", None)
    code, out, err = inside(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_the_help_says_what_there_is():
    options = {
        name: each.annotation.__metadata__[0].help
        for name, each in inspect.signature(audit).parameters.items()
        if name != "context"
    }
    assert all(name in options["observer"] for name in OBSERVERS)
    assert all(name in options["canaries"] for name in CANARIES)
    assert inspect.signature(audit).parameters["runs"].default == RUNS


@pytest.mark.parametrize("observers", ["messages", "model", "messages,model"])
def test_the_bar_is_full_at_the_end(inside, monkeypatch, observers):
    seen = []

    @contextmanager
    def watched(runs):
        yield seen.append
        assert sum(seen) == pytest.approx(runs)

    monkeypatch.setattr("privrobust.cli.audit._progress", watched)
    assert inside("run.yaml", "--runs", "100", "--observer", observers)[0] == 0
    assert len(seen) > 1


def test_the_bar_counts_tails(inside, monkeypatch):
    seen = []

    @contextmanager
    def watched(runs):
        yield seen.append
        assert runs == 200
        assert sum(seen) == pytest.approx(runs)

    def few(spec, **settings):
        return audit_tails(spec, **settings | {"draws": 10**6})

    monkeypatch.setattr("privrobust.cli.audit._progress", watched)
    monkeypatch.setattr("privrobust.audit.pipeline.audit_tails", few)
    assert inside("run.yaml", *QUICK, "--canaries", "coordinate,tails")[0] == 0


def test_an_estimate_that_is_too_low_is_named_so(inside, no_clipping):
    code, out, err = inside("run.yaml", *QUICK, *LOUD, "--set", "accountant=gdp")
    assert code == 1
    assert "estimate too low" in out or "refuted" in out
    assert err.startswith("1 of 1 claim is refuted, 1 of them estimates: ")


def test_a_counterexample_alone_refutes(inside, monkeypatch):
    monkeypatch.setattr("privrobust.audit.pilot.counterexample", lambda *of: "an example moved it")
    code, out, err = inside("run.yaml", *QUICK)
    assert (code, err) == (1, "1 of 1 claim is refuted: an example moved it\n")
    assert "without any chance: an example moved it" in " ".join(out.split())


def test_no_noise_is_no_claim(inside):
    code, out, _ = inside("run.yaml", *QUICK, "--set", "noise_scale=0", "--format", "json")
    (found,) = json.loads(out)
    assert code == 0
    assert found["claimed"] is None
    assert not math.isinf(found["epsilon_lower_bound"])
