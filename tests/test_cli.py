import io
import signal
import subprocess
import sys
import tomllib
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from privrobust.cli import main
from privrobust.store import Store

SWEEP = """
honest: 5
steps: {steps}
clip_norm: 1.0
grid:
  noise_scale: [0, 0.1]
  seed: {seeds}
"""


def privrobust(*arguments, **options):
    command = [sys.executable, "-c", "from privrobust.cli import main; main()", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def outcome(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def inside(tmp_path, monkeypatch, capsys, threads):
    """The command in this process, which starts no other, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    at_end = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, at_end)


@pytest.fixture
def sweep(tmp_path):
    def write(steps=4, seeds=(0,), **replaced):
        path = tmp_path / "sweep.yaml"
        text = SWEEP.format(steps=steps, seeds=list(seeds))
        for old, new in replaced.items():
            text = text.replace(f"{old}:", f"{new}\n#")
        path.write_text(text)
        return str(path)

    return write


def test_run_prints_the_table_and_keeps_the_store(tmp_path, sweep):
    code, out, err = outcome(privrobust("run", sweep(), cwd=tmp_path))
    assert code == 0, err
    assert "median" in out
    assert "2/2 runs" in err
    assert (tmp_path / "results.db").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"honest": "honest: 0"}, "honest: 0 is not accepted"),
        ({"honest": "batch_size: 5000"}, "batch_size: 5000 is more than the 125 examples"),
        ({"clip_norm": "clip_norm: 0"}, "clip_norm: 0 is not accepted"),
        ({"clip_norm": "aggregator: medain"}, "did you mean 'median'?"),
        ({"noise_scale": "noise_scale: []"}, "grid.noise_scale: [] is not accepted"),
        ({"clip_norm": "model: 'test_models:batch_norm'"}, "use torch.nn.GroupNorm instead"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path, sweep, bad, message, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["privrobust", "run", sweep(**bad)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_model_beside_the_spec_and_a_warning_on_one_line(tmp_path, sweep):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Linear):\n"
        "    def __init__(self, shape, classes): super().__init__(*shape, classes)\n"
        "    def forward(self, x): return super().forward(x)\n"
    )
    code, _, err = outcome(privrobust("run", sweep(clip_norm="model: mine:Mine"), cwd=tmp_path))
    assert code == 0, err
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: model: Mine's own parameter has no fast")
    assert ".py:" not in err


def test_a_dry_run_tells_and_trains_nothing(tmp_path, sweep, inside):
    code, out, err = inside("run", sweep(), "--dry-run", "--jobs", "2")
    assert (code, err) == (0, "")
    assert "2 runs, 0 of them in a store, 2 to train" in out
    assert "in 2 processes of" in out
    assert "GiB of memory" in out
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]
    inside("run", sweep())
    code, out, err = inside("run", sweep(), "--dry-run")
    assert (code, out, err) == (0, "2 runs, 2 of them in results.db\n", "")


def test_set_changes_a_field_and_quiet_shows_no_progress(tmp_path, sweep, inside):
    command = ["run", sweep(), "--quiet", "--set", "steps=5", "--set", "grid.seed=[3, 4]"]
    code, _, err = inside(*command)
    assert (code, err) == (0, "")
    with Store(tmp_path / "results.db") as store:
        runs = store.runs()
    assert set(runs["steps"]) == {5}
    assert sorted(runs["seed"]) == [3, 3, 4, 4]


def test_tuning_trains_on_validation_and_reports_on_test(tmp_path, inside):
    (tmp_path / "tune.yaml").write_text(
        "{honest: 5, steps: 8, grid: {seed: [0, 1]}, tune: {learning_rate: [1.0e-6, 0.5]}}"
    )
    code, out, err = inside("run", "tune.yaml", "--quiet")
    assert (code, err) == (0, "")
    assert "on test data" in out
    with Store(tmp_path / "results.db") as store:
        runs = store.runs()
    assert runs["evaluate_on"].value_counts().to_dict() == {"validation": 4, "test": 2}
    assert set(runs["learning_rate"][runs["evaluate_on"] == "test"]) == {0.5}
    code, out, err = inside("status", "results.db", "tune.yaml")
    assert out == "6 done, 0 running, 0 failed\n0 of 6 runs of the sweep are missing\n"


def test_a_table_of_one_sweep_of_several_in_a_store(tmp_path, sweep, inside):
    tuned = "honest: 5, steps: 3, tune: {learning_rate: [1.0e-6, 0.5]}"
    for name, fields in {"a": tuned, "b": "honest: 6, steps: 3", "c": "steps: 3"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"{{{fields}}}")
    for name in ("a.yaml", "b.yaml"):
        inside("run", name, "--quiet")
    command = ["table", "results.db", "--format", "csv", "--sweep"]
    code, out, err = inside(*command, "a.yaml")
    assert (code, err) == (0, "")
    with Store(tmp_path / "results.db") as store:
        tested = store.runs().query("honest == 5 and evaluate_on == 'test'")
    assert list(pd.read_csv(io.StringIO(out))["accuracy"]) == list(tested["accuracy"])
    code, out, err = inside("table", "results.db", "--preset", "tuning", "--sweep", "a.yaml")
    assert "1e-06 to 0.5 (2)" in out
    code, out, err = inside(*command, "c.yaml")
    assert (code, out) == (2, "")
    assert "has no finished run of c.yaml yet" in err


def test_failed_runs_make_the_exit_code_1_and_status_says_why(tmp_path, inside):
    (tmp_path / "fails.yaml").write_text("{honest: 5, steps: 3, grad_norm_bound: 0.1}")
    code, out, err = inside("run", "fails.yaml")
    assert code == 1
    assert "failed" in out
    assert "1 of 1 runs failed: see `privrobust status results.db`" in err
    code, out, err = inside("status", "results.db")
    assert (code, err) == (0, "")
    assert out.startswith("0 done, 0 running, 1 failed\nfailed: 1 runs: grad_norm_bound: at step 1")


def test_tables_of_a_store(tmp_path, sweep, inside):
    inside("run", sweep(seeds=range(3)), "--quiet")
    code, out, err = inside("table", "results.db")
    assert (code, err) == (0, "")
    assert "median" in out
    command = ["table", "results.db", "--format", "csv", "-o", "cells.csv"]
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "", "")
    cells = pd.read_csv(tmp_path / "cells.csv")
    with Store(tmp_path / "results.db") as store:
        means = store.runs().groupby("noise_scale")["accuracy"].mean()
    np.testing.assert_allclose(cells.set_index("noise_scale")["accuracy"], means)
    command = ["table", "results.db", "--format", "parquet", "-o", "cells.parquet"]
    inside(*command)
    assert len(pd.read_parquet(tmp_path / "cells.parquet")) == len(cells)
    code, out, err = inside("table", "results.db", "-o", "nowhere/table.txt")
    assert (code, out) == (2, "")
    assert err == (
        "error: output: 'nowhere/table.txt' cannot be written (No such file or directory)\n"
    )
    command = ["table", "results.db", "--preset", "noise", "--where", "noise_scale=0.1"]
    code, out, err = inside(*command)
    assert (code, out) == (2, "")
    assert "preset: noise compares values of noise_scale; all runs have 0.1" in err


def test_export_for_tensorboard(tmp_path, sweep, inside):
    inside("run", sweep())
    command = ["export", "results.db", "--tensorboard", "events"]
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "2 runs are written to events\n", "")
    with Store(tmp_path / "results.db") as store:
        key = store.runs().index[0]
        history = store.history(key)
    events = EventAccumulator(str(tmp_path / "events" / key)).Reload()
    read = [(event.step, event.value) for event in events.Scalars("accuracy")]
    assert read == list(zip(history["step"], history["accuracy"].astype("float32"), strict=True))
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "0 runs are written to events\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "sweep.yaml", "--jobs", "2", "--ray", "local"], "jobs, ray: 2 and 'local'"),
        (["run", "sweep.yaml", "--set", "stepz=3"], "did you mean 'steps'?"),
        (["run", "sweep.yaml", "--store", "mysql://host/db"], "store: mysql://host/db is no store"),
        (["run", "sweep.yaml", "--log", "no/folder/log"], "log: 'no/folder/log' cannot be written"),
        (["status", "missing.db"], "store: 'missing.db' does not exist"),
        (["export", "missing.db", "--tensorboard", "e"], "store: 'missing.db' does not exist"),
        (["table", "missing.db"], "store: 'missing.db' does not exist"),
        (["table", "missing.db", "--format", "docx"], "format: unknown name 'docx'"),
        (
            ["table", "missing.db", "--format", "csv", "--preset", "noise"],
            "preset: 'noise' says nothing of csv, which holds every cell; accepted: with terminal",
        ),
        (
            ["table", "missing.db", "--format", "parquet", "--show", "clean"],
            "show: 'clean' says nothing of parquet",
        ),
    ],
)
def test_what_the_commands_do_not_accept(arguments, message, tmp_path, sweep, inside):
    sweep()
    code, out, err = inside(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_the_version_is_that_of_the_package(inside):
    stated = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert inside("--version") == (0, f"privrobust {stated['project']['version']}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["budget", "--help"], ["run", "--help"]])
def test_help_imports_neither_torch_nor_opacus(arguments):
    program = (
        "import sys\nfrom privrobust.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'opacus'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (
            "attacks",
            "alie(z=None)\n    `mean - z * std` of the honest messages, coordinate-wise.\n"
            "    sees every honest message; Baruch, Baruch, Goldberg 2019, Algorithm 3\n",
        ),
        (
            "aggregators",
            "nnm(f=0)\n    Nearest-neighbour mixing: every message becomes the mean of its n - f "
            "nearest, itself too.\n    comes before a rule, as in nnm + median; "
            "Allouah et al. 2023, Fixing by mixing\n",
        ),
        (
            "datasets",
            "emnist(split='balanced')\n    Handwritten letters and digits, 28 x 28 grey, scaled by "
            "MNIST's constants.\n    Cohen, Afshar, Tapson, van Schaik 2017\n",
        ),
        ("losses", "cross_entropy\n    `-log softmax(s)_y`, in nats.\n"),
        ("models", "logistic(bias=True)\n    Multinomial logistic regression.\n"),
        (
            "partitions",
            "labels(k=2)\n    Each worker holds examples of k labels only, those of a label shared "
            "equally.\n    McMahan et al. 2017, section 3; Li et al. 2022\n",
        ),
        (
            "schedules",
            "cosine(final=0.0)\n    Falls along half a cosine.\n"
            "    Loshchilov, Hutter 2017, equation 5, without restarts\n",
        ),
    ],
)
def test_list_shows_parameters_a_line_and_the_paper(kind, entry, inside):
    code, out, err = inside("list", kind)
    assert (code, err) == (0, "")
    assert entry in out
    known = import_module(f"privrobust.{'data' if kind == 'datasets' else kind}")
    names = known.LOSSES if kind == "losses" else getattr(known, f"available_{kind}")()
    entries = [line.partition("(")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert set(names) <= set(entries)
    assert entries == sorted(entries) or kind == "aggregators"  # pre-aggregators are a second list


def test_partitions_are_drawn_into_a_file(tmp_path, inside):
    command = ("list", "partitions", "--plot", "p.png", "--honest", "4", "--partition", "iid")
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_default_picture_leaves_out_what_cannot_be_made(tmp_path):
    """Of digits, 100 workers cannot hold 10 examples each in Dirichlet proportions."""
    command = ("list", "partitions", "--plot", "p.svg", "--honest", "100")
    code, out, err = outcome(privrobust(*command, cwd=tmp_path))
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert len(lines) == 2
    for line, alpha in zip(lines, ("1.0", "0.1"), strict=True):
        assert line.startswith(f"warning: plot: dirichlet(alpha={alpha}) is left out: partition: ")
    assert (tmp_path / "p.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attack"], "list: unknown name 'attack'; did you mean 'attacks'?"),
        (["models", "--plot", "p.png"], "plot: models have no picture; accepted: partitions"),
        (["partitions", "--honest", "10"], "--honest: says what to draw; accepted: with --plot"),
        (["attacks", "--data-dir", "d"], "--data-dir: says what to draw; accepted: with --plot"),
        (["partitions", "--partition", "iid"], "--partition: says what to draw"),
        (["partitions", "--dataset", "digits"], "--dataset: says what to draw"),
        (["partitions", "--seed", "1"], "--seed: says what to draw"),
        (["partitions", "--plot", "p.png", "--honest", "2000"], "honest: 2000 workers cannot sha"),
        (["partitions", "--plot", "p"], "plot: 'p' is no file name"),
        (["partitions", "--plot", "p.png", "--partition", "labels(k=99)"], "Labels.k: 99"),
    ],
)
def test_what_list_does_not_accept(arguments, message, tmp_path, inside):
    code, out, err = inside("list", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
