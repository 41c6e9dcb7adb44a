import io
import json
import math
import re
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
from torch import nn

from privrobust import RunSpec
from privrobust.cli.listing import Kind
from privrobust.cli.main import main
from privrobust.core.json_document import document
from privrobust.reporting.findings import findings
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
    command = [sys.executable, "-c", "from privrobust.cli.main import main; main()", *arguments]
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

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


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


def batch_norm(shape, classes):
    return nn.Sequential(nn.Linear(*shape, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"honest": "honest: 0"}, "honest: 0 is not accepted"),
        ({"honest": "batch_size: 5000"}, "batch_size: 5000 is more than the 125 examples"),
        ({"clip_norm": "clip_norm: 0"}, "clip_norm: 0 is not accepted"),
        ({"clip_norm": "aggregator: medain"}, "did you mean 'median'?"),
        ({"noise_scale": "noise_scale: []"}, "grid.noise_scale: [] is not accepted"),
        ({"clip_norm": f"model: '{__name__}:batch_norm'"}, "use torch.nn.GroupNorm instead"),
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


class Cluster:
    """A Ray cluster in which four batches of a core fit, and two of a graphics card."""

    closed = False

    def __init__(self, address, cpus, gpus):
        assert address == "head:6379"
        self.at_once = 2 if gpus else 4 // cpus

    def has(self):
        return "2 nodes of 2 CPUs and 1 GPUs"

    def close(self):
        type(self).closed = True


def test_a_dry_run_tells_what_a_ray_cluster_has(tmp_path, sweep, inside, monkeypatch):
    monkeypatch.setattr("privrobust.sweeps.executors.OnRay", Cluster)
    path = sweep(seeds=(0, 1, 2))
    command = ["run", path, "--dry-run", "--ray", "head:6379"]
    code, out, err = inside(*command)
    assert (code, err) == (0, "")
    told, has, takes = out.splitlines()
    assert told == "6 runs, 0 of them in a store, 6 to train"
    assert has == (
        "the Ray cluster has 2 nodes of 2 CPUs and 1 GPUs: "
        "room for 4 batches at a time, of 1 core each"
    )
    assert re.fullmatch(
        r"about \d+:\d\d with [34] at a time, if its machines are free and as fast as this "
        r"one; \d+\.\d GiB of memory a batch",
        takes,
    )
    assert Cluster.closed
    assert [each.name for each in tmp_path.iterdir()] == ["sweep.yaml"]
    _, out, _ = inside(*command, "--task-cpus", "4")
    assert "room for one batch at a time, of 4 cores each" in out


def test_a_dry_run_says_what_it_cannot_tell_of_graphics_cards(sweep, inside, monkeypatch):
    monkeypatch.setattr("privrobust.sweeps.executors.OnRay", Cluster)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = ["run", sweep(), "--dry-run", "--ray", "head:6379", "--task-gpus", "0.5"]
    code, out, _ = inside(*command)
    assert code == 0
    assert "room for 2 batches at a time, of 1 core and 0.5 GPUs each" in out
    assert out.endswith("how long cannot be told: there is no GPU here to time a step on\n")


def test_a_dry_run_says_that_a_cluster_cannot_be_reached(sweep, inside):
    pytest.importorskip("ray", reason="needs ray: pip install 'privrobust[ray]'")
    code, out, err = inside("run", sweep(), "--dry-run", "--ray", "127.0.0.1:1")
    assert (code, out) == (2, "")
    assert err.startswith("error: ray: '127.0.0.1:1' cannot be reached")
    assert err.count("\n") == 1


def test_every_table_is_one_json_document(tmp_path, sweep, inside):
    path = sweep(seeds=(0, 1))
    _, trained, _ = inside("run", path, "--quiet", "--format", "json")
    code, again, err = inside("table", "results.db", "--format", "json")
    assert (code, err) == (0, "")
    assert again == trained
    table = read_strictly(again)
    csv = pd.read_csv(io.StringIO(inside("table", "results.db", "--format", "csv")[1]))
    assert list(table["rows"][0]) == list(csv)
    with Store("results.db", create=False) as store:
        runs = store.runs()
    for row in table["rows"]:
        alike = runs[runs["noise_scale"] == row["noise_scale"]]
        assert row["accuracy"] == alike["accuracy"].mean()
    assert {row["epsilon"] for row in table["rows"]} == {"Infinity", runs["epsilon"].min()}
    assert [row["gap"] for row in table["rows"]] == [None, None]
    assert any("(zero-out)" in note for note in table["notes"])
    assert table["findings"] == [text.replace("\N{NO-BREAK SPACE}", " ") for text in findings(runs)]
    inside("table", "results.db", "--format", "json", "-o", "t.json")
    assert (tmp_path / "t.json").read_text() == again

    status = read_strictly(inside("status", "results.db", path, "--format", "json")[1])
    assert status == {
        "done": 4, "running": 0, "failed": 0, "missing": 0, "of_the_sweep": 4, "owners": [],
        "failures": [],
    }  # fmt: skip


def test_status_in_json_says_what_failed(tmp_path, inside):
    with Store(tmp_path / "results.db") as store:
        [held, failed] = [RunSpec(seed=seed) for seed in (0, 1)]
        store.claim([held, failed])
        store.fail([failed], 'NaN in "[red]"', "details")
        status = read_strictly(inside("status", "results.db", "--format", "json")[1])
    assert status["failures"] == [{"reason": 'NaN in "[red]"', "runs": 1}]
    [owner] = status["owners"]
    assert (owner["runs"], owner["has_ended"]) == (1, False)
    assert 0 < owner["seconds_left"] < 1000


@pytest.mark.parametrize("kind", [None, *Kind.__members__])
def test_lists_in_json_have_what_the_text_has(kind, inside):
    arguments = ["list"] if kind is None else ["list", kind]
    code, text, err = inside(*arguments)
    assert (code, err) == (0, "")
    found = read_strictly(inside(*arguments, "--format", "json")[1])
    heads = [line.partition("(")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert [each if kind is None else each["name"] for each in found] == heads
    if kind == "attacks":
        [alie] = [each for each in found if each["name"] == "alie"]
        assert alie["parameters"] == [{"name": "z", "default": None}]
    if kind == "datasets":
        [table] = [each for each in found if each["name"] == "table"]
        assert table["parameters"][0] == {"name": "path"}
    if kind == "partitions":
        [dirichlet] = [each for each in found if each["name"] == "dirichlet"]
        assert dirichlet["parameters"][0]["name"] == "alpha"


def test_list_without_a_kind_names_the_kinds(inside):
    assert inside("list") == (0, "\n".join(Kind.__members__) + "\n", "")


def read_strictly(text):
    """Read JSON as RFC 8259 has it, which knows no NaN and no Infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "null"), (math.inf, '"Infinity"'), (-np.inf, '"-Infinity"'), (pd.NA, "null"),
        (np.float32(0.1), "0.10000000149011612"), (0.1 + 0.2, "0.30000000000000004"),
        (np.int64(2**60), str(2**60)), (np.True_, "true"), ("é[/]", '"\\u00e9[/]"'), ((), "[]"),
    ],
)  # fmt: skip
def test_json_has_every_value_as_valid_json(value, written):
    assert document(value) == written


@pytest.mark.parametrize(
    ("command", "text"),
    [("report", "'privrobust[report]'"), ("figure", "field=[a, b]"), ("run", "seed=[0,1]")],
)
def test_help_shows_what_stands_in_brackets(command, text, inside, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = inside(command, "--help")
    assert code == 0
    assert text in out
    assert "\\[" not in out


@pytest.mark.parametrize("word", ["[red]", "[/]", ":x:"])
def test_errors_of_usage_show_words_as_they_are(word, inside):
    assert f"'{word}'" in inside(word)[2]
    assert f"unknown name '{word}'" in inside("list", word)[2]


def test_a_sweep_of_files_whose_names_look_like_markup(tmp_path, inside):
    (tmp_path / "b2[").mkdir()
    for name, period in (("b2[/].csv", 7), ("a[old].csv", 2)):  # the second tells the label
        rows = [f"{place % period},{place % 2}" for place in range(60)]
        (tmp_path / name).write_text("\n".join(["x,label", *rows]))
    (tmp_path / "sweep.yaml").write_text(
        "honest: 2\nsteps: 20\nbatch_size: 8\ngrid:\n  dataset:\n"
        "  - {name: table, path: 'b2[/].csv', label: label}\n"
        "  - {name: table, path: 'a[old].csv', label: label}\n"
    )
    code, out, err = inside("run", "sweep.yaml")
    assert code == 0, err
    for name in ("b2[/].csv", "a[old].csv"):
        assert f"path='{name}'" in out
        assert f"path='{name}'" in err


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
    assert code == 0
    assert err.startswith("Left out: 2 runs on validation data")
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
    assert "1 of 1 run failed: see `privrobust status results.db --traceback`" in err
    code, out, err = inside("status", "results.db")
    assert (code, err) == (0, "")
    assert out.startswith("0 done, 0 running, 1 failed\nfailed: 1 run: grad_norm_bound: at step 1")


def test_tables_of_a_store(tmp_path, sweep, inside):
    inside("run", sweep(seeds=range(3)), "--quiet")
    code, out, err = inside("table", "results.db")
    assert (code, err) == (0, "")
    assert out.startswith("Run: digits, logistic; 5 workers, all honest; no attack; 3 seeds; ")
    assert out.index("against whoever sees every message") < out.index("  method")
    for other in (["--preset", "noise"], ["--show", "clean"], ["--format", "markdown"]):
        assert "Run: digits" not in inside("table", "results.db", *other)[1]
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
    assert (code, out, err) == (0, "2 runs written to events\n", "")
    with Store(tmp_path / "results.db") as store:
        key = store.runs().index[0]
        history = store.history(key)
    events = EventAccumulator(str(tmp_path / "events" / key)).Reload()
    read = [(event.step, event.value) for event in events.Scalars("accuracy")]
    assert read == list(zip(history["step"], history["accuracy"].astype("float32"), strict=True))
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "0 runs written to events\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "sweep.yaml", "--jobs", "2", "--ray", "local"], "jobs, ray: 2 and 'local'"),
        (["run", "sweep.yaml", "--set", "stepz=3"], "did you mean 'steps'?"),
        (["budget", "-b", "0.1", "0.2"], "budget: '0.2' stands alone; accepted: several values"),
        (
            ["run", "sweep.yaml", "--store", "mysql://host/db"],
            "mysql://host/db cannot be opened",
        ),
        (["run", "sweep.yaml", "--log", "no/folder/log"], "log: 'no/folder/log' cannot be written"),
        (["status", "missing.db"], "store: 'missing.db' does not exist"),
        (["export", "missing.db", "--tensorboard", "e"], "store: 'missing.db' does not exist"),
        (["export", "r.db", "--tensorboard", "postgresql://me:secret@h/x"], "accepted: a folder"),
        (["table", "missing.db"], "store: 'missing.db' does not exist"),
        (["list", "attacks", "--format", "csv"], "format: unknown name 'csv' (known: json, term"),
        (["status", "missing.db", "--format", "csv"], "format: unknown name 'csv'"),
        (["run", "sweep.yaml", "--format", "docx"], "format: unknown name 'docx'"),
        (["run", "sweep.yaml", "--format", "parquet"], "format: 'parquet' is not for a terminal"),
        (["run", "sweep.yaml", "--format", "json", "--dry-run"], "'json' is not for a dry run"),
        (["list", "--plot", "p.png"], "plot: kinds have no picture; accepted: partitions"),
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
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert inside("--version") == (0, f"privrobust {stated['project']['version']}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["budget", "--help"], ["run", "--help"]])
def test_help_imports_neither_torch_nor_opacus(arguments):
    program = (
        "import sys\nfrom privrobust.cli.main import app\n"
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
            "accountants",
            "basic\n    Add up what the steps spend: Gaussian and Laplace noise, Poisson-sampled "
            "or not.\n    an upper bound: gaussian and laplace noise (sampling: poisson, "
            "shuffled)\n",
        ),
        (
            "aggregators",
            "nnm(f=0)\n    Nearest-neighbour mixing: every message becomes the mean of its n - f "
            "nearest, itself too.\n    comes before a rule, as in nnm + median; "
            "Allouah et al. 2023, Fixing by mixing\n",
        ),
        (
            "datasets",
            "emnist(split='balanced', validation=0.1)\n    Handwritten letters and digits, 28 x 28 "
            "grey, scaled by MNIST's constants.\n    Cohen, Afshar, Tapson, van Schaik 2017\n",
        ),
        ("losses", "cross_entropy\n    `-log softmax(s)_y`, in nats.\n"),
        ("models", "logistic(bias=True, baseline=False)\n    Multinomial logistic regression.\n"),
        (
            "partitions",
            "labels(k=2)\n    Each worker holds examples of k labels only, those of a label shared "
            "equally.\n    McMahan et al. 2017, section 3; Li et al. 2022\n",
        ),
        ("noise_laws", "laplace\n    Laplace's, of scale parameter 1 (variance 2).\n"),
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
    known = import_module(Kind[kind])
    names = getattr(known, f"available_{kind}")()
    entries = [line.partition("(")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert set(names) <= set(entries)
    # accountants come by how tight they are; pre-aggregators are a second list
    assert entries in (names, sorted(entries)) or kind == "aggregators"


def test_partitions_are_drawn_into_a_file(tmp_path, inside):
    command = ("list", "partitions", "--plot", "p.png", "--honest", "4", "--partition", "iid")
    code, out, err = inside(*command)
    assert (code, out, err) == (0, "", "")
    light = (tmp_path / "p.png").read_bytes()
    assert light.startswith(b"\x89PNG")
    assert inside(*command, "--dark") == (0, "", "")
    assert (tmp_path / "p.png").read_bytes() != light
    code, _, err = inside("list", "partitions", "--dark")
    assert code
    assert "--dark: says what to draw; accepted: with --plot FILE" in err


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
