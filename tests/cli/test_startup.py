"""What commands import: a person waits for every module before the first word is printed."""

import subprocess
import sys

import pytest

from privrobust import RunSpec, train
from privrobust.cli.listing import Kind
from privrobust.store import Store

HEAVY = {
    "dp_accounting", "jinja2", "llvmlite", "matplotlib", "numba", "numpy", "opacus", "pandas",
    "scipy", "scipy.signal", "scipy.stats", "sklearn", "sqlalchemy", "sympy", "torch",
    "torchvision",
}  # fmt: skip
RELEASE = "-C 1 -B 32 -n 95 -T 300"
SPEC = {"steps": 2, "aggregator": "nnm + trimmed_mean", "byzantine": 2, "attack": "alie"}
SWEEP = "{steps: 2, aggregator: nnm + trimmed_mean, byzantine: 2, attack: alie}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep, and a store in which nothing of it is left to do."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "sweep.yaml").write_text(SWEEP)
    with Store(folder / "results.db") as store:
        store.add([train(RunSpec(**SPEC))])
    return folder


def imported(code, folder):
    """The heavy modules that are loaded when the code has run."""
    program = f"import sys\n{code}\nprint(*{HEAVY!r} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("--help", ""),
        ("budget --help", ""),
        ("run --help", ""),
        ("audit --help", ""),
        ("list", ""),
        *((f"list {kind.name}", "numpy") for kind in Kind),
        ("list attacks --format json", "numpy"),
        (f"budget -b 0.1 {RELEASE}", "numpy pandas scipy"),
        (f"budget --target-epsilon 8 {RELEASE}", "numpy pandas scipy"),
        (f"budget -b 0.1 {RELEASE} --format json", "numpy pandas scipy"),
        ("status results.db", "numpy pandas sqlalchemy"),
        ("status results.db --format json", "numpy pandas sqlalchemy"),
        ("status results.db sweep.yaml", "numpy pandas sqlalchemy"),
        ("table results.db", "numpy pandas scipy sqlalchemy"),
        ("table results.db --format csv", "numpy pandas scipy sqlalchemy"),
        ("run sweep.yaml", "numpy pandas scipy sqlalchemy"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(command, allowed, folder):
    code = (
        f"from privrobust.cli.main import app\ntry: app({command.split()!r})\n"
        "except SystemExit as end: assert not end.code"
    )
    assert imported(code, folder) <= set(allowed.split())


def test_training_imports_no_sympy(folder):
    """torch does for a second, where gradients are differentiated through something else."""
    code = f"from privrobust import RunSpec, train\ntrain(RunSpec(**{SPEC!r}))"
    assert "sympy" not in imported(code, folder)


def test_naming_a_run_imports_no_torch(folder):
    code = f"from privrobust import RunSpec\nRunSpec(**{SPEC!r})"
    assert imported(code, folder) <= {"numpy"}


def test_estimators_of_audits_import_no_torch(folder):
    code = (
        "from privrobust.audit import Detections, Guesses, clopper_pearson_bound, f_dp_bound\n"
        "clopper_pearson_bound(Detections(9, 9, 9, 0), 0)\n"
        "f_dp_bound(Guesses(9, 9, 9), 1e-5)"
    )
    assert imported(code, folder) <= {"numpy", "scipy"}


def test_a_ledger_imports_no_torch(folder):
    code = (
        "from privrobust.accountants import Release\n"
        "from privrobust.federated import Ledger\n"
        "release = Release(noise_scale=9, clip_norm=1, batch_size=1, dataset_size=9, steps=9)\n"
        "Ledger('ledger.db', 'ward', max_epsilon=9).charge(release)"
    )
    assert imported(code, folder) <= {"numpy", "scipy", "sqlalchemy"}


def test_a_rule_or_an_attack_of_ones_own_is_still_tried(folder):
    (folder / "own.py").write_text(
        "from dataclasses import dataclass\n"
        "from privrobust.aggregators import Median\n"
        "@dataclass(frozen=True)\n"
        "class Broken(Median):\n"
        "    def aggregate(self, messages):\n"
        "        return messages\n"
    )
    code = (
        "from privrobust import RunSpec\n"
        "try: RunSpec(aggregator='own:Broken')\n"
        "except ValueError as error: assert 'Broken' in str(error), error\n"
        "else: raise AssertionError"
    )
    assert "torch" in imported(code, folder)
