import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

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


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, sweep):
    path = sweep(steps=400, seeds=range(200))
    process = privrobust("run", path, "--store", "kept.db", cwd=tmp_path)
    with Store(tmp_path / "kept.db") as store:
        while not store.keys() and process.poll() is None:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        code, out, err = outcome(process)
        kept = len(store.keys())
    assert (code, out) == (130, "")
    assert 0 < kept < 400
    assert f"{kept} of 400 runs are kept in kept.db; the same command computes the rest" in err
    assert "Traceback" not in err


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
        ("models", "logistic\n    Multinomial logistic regression.\n"),
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
def test_list_shows_parameters_a_line_and_the_paper(kind, entry):
    code, out, err = outcome(privrobust("list", kind))
    assert (code, err) == (0, "")
    assert entry in out
    known = import_module(f"privrobust.{'data' if kind == 'datasets' else kind}")
    names = known.LOSSES if kind == "losses" else getattr(known, f"available_{kind}")()
    entries = [line.partition("(")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert set(names) <= set(entries)
    assert entries == sorted(entries) or kind == "aggregators"  # pre-aggregators are a second list


def test_partitions_are_drawn_into_a_file(tmp_path):
    command = ("list", "partitions", "--plot", "p.png", "--honest", "4", "--partition", "iid")
    code, out, err = outcome(privrobust(*command, cwd=tmp_path))
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
def test_what_list_does_not_accept(arguments, message, tmp_path):
    code, out, err = outcome(privrobust("list", *arguments, cwd=tmp_path))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
